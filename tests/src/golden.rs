//! Texts that are compared with a file, beside which they are written anew with `BLESS=1`.

use std::path::Path;

/// Compares with `tests/fixtures/golden/NAME`.
///
/// # Panics
/// When they differ.
pub fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/golden")
        .join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("it has a folder"))
            .expect("the fixtures are writable");
        std::fs::write(&path, found).expect("the fixtures are writable");
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; BLESS=1 writes it", path.display()));
    assert!(
        expected == found,
        "{} differs\n--- expected\n{expected}\n--- found\n{found}",
        path.display()
    );
}

//! The built plugins: `NAME.wasm` of `plugins/`, `examples/plugins/` and `tests/fixtures/plugins/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the built plugins. `cargo xtask test` names it in `POSTERN_PLUGINS`; without that they are built now.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match std::env::var_os("POSTERN_PLUGINS") {
        Some(folder) => folder.into(),
        None => build(),
    })
}

/// A built plugin.
///
/// # Panics
/// When there is none of this name.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    let path = folder().join(format!("{name}.wasm"));
    assert!(
        path.is_file(),
        "there is no {}; is the plugin in the workspace?",
        path.display()
    );
    path
}

/// Its bytes.
#[must_use]
pub fn bytes(name: &str) -> Vec<u8> {
    fs::read(path(name)).expect("it is readable")
}

/// The same component with other bytes: it behaves the same, and a gateway sees a change.
#[must_use]
pub fn variant(component: &[u8], mark: u8) -> Vec<u8> {
    // A custom section (Component Model, Binary.md): id 0, size, name, content.
    let mut variant = component.to_vec();
    variant.extend_from_slice(&[0, 6, 4, b'm', b'a', b'r', b'k', mark]);
    variant
}

/// The same component with another text in its data: it behaves differently, without a compiler.
///
/// # Panics
/// When the text is not in it exactly once.
#[must_use]
pub fn patched(component: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "data does not move");
    let found: Vec<usize> = component
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    let [at] = found[..] else {
        panic!("{from:?} is in the component {} times", found.len())
    };
    let mut patched = component.to_vec();
    patched[at..at + to.len()].copy_from_slice(to.as_bytes());
    patched
}

/// Names of the fixture guests: the folders beside `tests/fixtures/plugins/README.md`.
#[must_use]
pub fn fixtures() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plugins");
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("the folder is readable").path())
        .filter(|path| path.join("Cargo.toml").is_file())
        .map(|path| {
            path.file_name()
                .expect("it has a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is in a folder of the workspace");
    let target = target(root);
    // Test programs may run side by side.
    let lock = fs::File::create(target.join("guests.lock")).expect("the target folder is writable");
    lock.lock().expect("the file system has locks");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args([
            "run",
            "--quiet",
            "--package",
            "xtask",
            "--",
            "build-plugins",
        ])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "plugins cannot be built:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("plugins")
}

/// The target folder: where this program was built, `TARGET/PROFILE/deps/TEST`.
fn target(root: &Path) -> PathBuf {
    let program = std::env::current_exe().expect("a test is a program");
    let target = program
        .ancestors()
        .nth(3)
        .filter(|target| target.join("CACHEDIR.TAG").is_file());
    target.map_or_else(|| root.join("target"), Path::to_path_buf)
}

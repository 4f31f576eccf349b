//! Paths that nobody thought of.

use super::normalise;
use crate::fuzz::Fuzz;
use crate::types::EncodedInPath;

const EXAMPLES: [&str; 8] = [
    "/",
    "/a/b",
    "/a/../b/./c//d",
    "/%2e%2E/a%2fb%5cc",
    "/caf%C3%A9/{x}",
    "/a;b=c/..;/d",
    "/%252e%252e/%00%7f",
    "/a%",
];
const WORDS: [&str; 16] = [
    "/", "//", ".", "..", "%2e", "%2E.", "%2f", "%5C", "%00", "%25", "%", ";", "\\", "\u{e9}",
    "%zz", "%7e",
];

/// What is not refused is visible ASCII without dot segments, and the same once more.
#[test]
fn fuzz_path() {
    Fuzz::new(EXAMPLES, WORDS).run(|input| {
        let text = String::from_utf8_lossy(input);
        for lenient in [false, true] {
            let allowed = EncodedInPath {
                slash: lenient,
                backslash: lenient,
                nul: lenient,
                control: lenient,
            };
            let Ok(path) = normalise(&text, allowed) else {
                continue;
            };
            assert!(
                path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()),
                "{path}"
            );
            assert!(!path.contains("//"), "{path}");
            assert!(
                !path.split('/').any(|segment| matches!(segment, "." | "..")),
                "{path}"
            );
            assert_eq!(normalise(&path, allowed).as_deref(), Ok(&*path));
        }
    });
}

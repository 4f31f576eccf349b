//! Normal forms by example, and what holds for all of them.

use std::borrow::Cow;

use proptest::prelude::*;

use super::{PathError, normalise};
use crate::types::EncodedInPath;

const NOTHING: EncodedInPath = EncodedInPath {
    slash: false,
    backslash: false,
    nul: false,
    control: false,
};
const EVERYTHING: EncodedInPath = EncodedInPath {
    slash: true,
    backslash: true,
    nul: true,
    control: true,
};

fn normal(path: &str) -> String {
    normalise(path, NOTHING)
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .into_owned()
}

#[test]
fn normal_paths_are_not_copied() {
    for path in [
        "/",
        "/orders",
        "/orders/",
        "/a;b=c,d/(e)!$&'*+~:@",
        "/%20%C3%84%3B",
        "/.well-known/x",
        "/a.b/..c/d..",
        "/...",
    ] {
        assert!(
            matches!(normalise(path, NOTHING), Ok(Cow::Borrowed(same)) if same == path),
            "{path}"
        );
    }
}

#[test]
fn dot_segments_are_resolved() {
    // The first two are the examples of RFC 3986, 5.2.4.
    for (path, expected) in [
        ("/a/b/c/./../../g", "/a/g"),
        ("/mid/content=5/../6", "/mid/6"),
        ("/.", "/"),
        ("/..", "/"),
        ("/../a", "/a"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/../../../b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
    ] {
        assert_eq!(normal(path), expected, "{path}");
    }
}

#[test]
fn slashes_in_a_row_are_one() {
    for (path, expected) in [
        ("//", "/"),
        ("//a///b//", "/a/b/"),
        ("/a//../b", "/b"),
        ("/a/.//b", "/a/b"),
    ] {
        assert_eq!(normal(path), expected, "{path}");
    }
}

#[test]
fn encoding_has_one_form() {
    for (path, expected) in [
        ("/%7Euser/%41%2d%5f%30", "/~user/A-_0"),
        ("/%c3%a4%3a", "/%C3%A4%3A"),
        ("/ä", "/%C3%A4"),
        ("/{a}|b^\"<c>`", "/%7Ba%7D%7Cb%5E%22%3Cc%3E%60"),
        ("/%252e%252E/%25%32%65", "/%252e%252E/%252e"),
    ] {
        assert_eq!(normal(path), expected, "{path}");
    }
}

#[test]
fn what_readers_disagree_about_is_refused() {
    for (path, error) in [
        ("", PathError::NotAbsolute),
        ("a/b", PathError::NotAbsolute),
        ("/%", PathError::Percent),
        ("/%4", PathError::Percent),
        ("/%zz", PathError::Percent),
        ("/%+1", PathError::Percent),
        ("/a%2Fb", PathError::Slash),
        ("/a%2fb", PathError::Slash),
        ("/a\\b", PathError::Backslash),
        ("/a%5cb", PathError::Backslash),
        ("/a%00", PathError::Nul),
        ("/a%0d%0a", PathError::Control),
        ("/a%7F", PathError::Control),
        ("/a/..;/b", PathError::Dots),
        ("/a/.;x=1", PathError::Dots),
        ("/a/%2e%2E;x/b", PathError::Dots),
    ] {
        assert_eq!(normalise(path, NOTHING), Err(error), "{path}");
    }
    assert_eq!(normal("/a;..;/b..;c"), "/a;..;/b..;c");
}

#[test]
fn a_listener_can_allow_it_but_for_hidden_dots() {
    let allowed = |path| normalise(path, EVERYTHING).map(Cow::into_owned);
    assert_eq!(
        allowed("/a%2fb\\c%00%1F").unwrap(),
        "/a%2Fb%5Cc%00%1F",
        "a literal backslash is encoded"
    );
    for path in ["/a/..%2fb", "/a%2F..", "/a%5c..\\b", "/.\\b", "/b%2F..;%2F"] {
        assert_eq!(allowed(path), Err(PathError::Dots), "{path}");
    }
    let slash = EncodedInPath {
        slash: true,
        ..NOTHING
    };
    assert_eq!(normalise("/a%2fb", slash).unwrap(), "/a%2Fb");
    assert_eq!(normalise("/a%5cb", slash), Err(PathError::Backslash));
}

fn is_normal(path: &str) -> bool {
    let clean = path
        .split(['/', '\\'])
        .all(|segment| segment != "." && segment != "..");
    path.starts_with('/') && !path.contains("//") && clean && path.is_ascii()
}

/// Decodes everything, as a careless service would, and as often as it likes.
fn decoded(path: &str) -> String {
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn paths() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "/", "/", "//", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5C", "\\", "%00", "%1f", "%25",
        "%", "2e", "a", "b;", ";", "%41", "%c3", "ä", "{", " ", "?", "~", "%7e",
    ]);
    prop::collection::vec(part, 0..14).prop_map(|parts| format!("/{}", parts.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_normal_path_stays_and_has_no_dot_segments(path in paths(), lenient in any::<bool>()) {
        let allowed = if lenient { EVERYTHING } else { NOTHING };
        if let Ok(normal) = normalise(&path, allowed) {
            prop_assert!(is_normal(&normal), "{path} became {normal}");
            prop_assert_eq!(normalise(&normal, allowed).unwrap(), normal.clone());
            prop_assert!(is_normal(&normal) && !decoded(&normal).split(['/', '\\']).any(|segment| {
                matches!(segment.split(';').next(), Some("." | ".."))
            }), "{path} became {normal}");
            // Nothing is both allowed and refused: the strict form, where there is one, is the same.
            if let Ok(strict) = normalise(&path, NOTHING) {
                prop_assert_eq!(strict, normal);
            }
        }
    }

    #[test]
    fn any_text_is_refused_or_normal(path in any::<String>()) {
        if let Ok(normal) = normalise(&path, EVERYTHING) {
            prop_assert!(is_normal(&normal), "{path} became {normal}");
        }
    }
}

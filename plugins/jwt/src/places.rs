//! Where a request may carry a token: finding it, and removing it from there.

use std::borrow::Cow;

use postern_plugin::{RequestEdits, RequestHead, query};

use crate::config::Config;
use crate::refusal::Refusal;

const AUTHORIZATION: &str = "authorization";
const COOKIE: &str = "cookie";

/// The headers to ask the host for.
pub(crate) fn headers(config: &Config) -> impl Iterator<Item = &'static str> {
    let cookie = (!config.cookie.is_empty()).then_some(COOKIE);
    std::iter::once(AUTHORIZATION).chain(cookie)
}

/// The one token of a request. The same token in several places is one; two are refused, because which of them counts
/// would be a guess.
pub(crate) fn find<'a>(head: &'a RequestHead, config: &'a Config) -> Result<Cow<'a, str>, Refusal> {
    // Bytes that are not UTF-8 turn into a character that no token holds.
    let in_header = head
        .header_values(AUTHORIZATION)
        .filter_map(bearer)
        .map(String::from_utf8_lossy);
    let in_query = config
        .query
        .iter()
        .flat_map(|name| query::values(head.query().unwrap_or_default(), name));
    let in_cookie = config.cookie.iter().flat_map(|name| {
        cookies(head)
            .filter(|(_, key, _)| *key == name.as_bytes())
            .map(|(_, _, value)| String::from_utf8_lossy(value))
    });
    let mut candidates = in_header
        .chain(in_query)
        .chain(in_cookie)
        .filter(|token| !token.is_empty());
    let token = candidates.next().ok_or(Refusal::Missing)?;
    match candidates.any(|other| other != token) {
        true => Err(Refusal::Ambiguous),
        false => Ok(token),
    }
}

/// Removes the token wherever it may stand. An `Authorization` of another scheme stays.
pub(crate) fn hide(mut edits: RequestEdits, head: &RequestHead, config: &Config) -> RequestEdits {
    if head
        .header_values(AUTHORIZATION)
        .any(|value| bearer(value).is_some())
    {
        edits = edits.remove(AUTHORIZATION);
    }
    let is_token = |key: &[u8]| config.cookie.iter().any(|name| key == name.as_bytes());
    if !config.cookie.is_empty() && cookies(head).any(|(_, key, _)| is_token(key)) {
        let others = cookies(head).filter(|(_, key, _)| !is_token(key));
        let others: Vec<&[u8]> = others.map(|(cookie, _, _)| cookie).collect();
        edits = match others.is_empty() {
            true => edits.remove(COOKIE),
            false => edits.set(COOKIE, others.join(&b"; "[..])),
        };
    }
    match query::without(&head.path_and_query, &config.query) {
        Some(rest) => edits.path_and_query(rest),
        None => edits,
    }
}

/// What follows the scheme, whose name has no case (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii_start())
}

/// All cookies: as they were sent, name, and value without its quotes (RFC 6265, 4.2.1).
fn cookies(head: &RequestHead) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
    let cookies = head
        .header_values(COOKIE)
        .flat_map(|value| value.split(|&byte| byte == b';'));
    let cookies = cookies
        .map(<[u8]>::trim_ascii)
        .filter(|cookie| !cookie.is_empty());
    cookies.map(|cookie| {
        let equals = cookie.iter().position(|&byte| byte == b'=');
        let (key, value) = cookie.split_at(equals.unwrap_or(cookie.len()));
        let value = value.strip_prefix(b"=").unwrap_or(value);
        let unquoted = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""));
        (cookie, key, unquoted.unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_plugin::testing::Host;
    use postern_plugin::{HeaderEdit, Interest};

    fn head(path: &str, headers: &[(&str, &str)]) -> RequestHead {
        let host = Host::new();
        host.request("GET", path);
        for (name, value) in headers {
            host.request_header(name, value);
        }
        host.request_head(&Interest::new().request_headers([AUTHORIZATION, COOKIE]))
    }

    fn everywhere() -> Config {
        let json = r#"{"query": ["jwt", "token"], "cookie": ["session"]}"#;
        postern_plugin::config::parse(json).expect("is read")
    }

    #[track_caller]
    fn check(
        config: &Config,
        path: &str,
        headers: &[(&str, &str)],
        expected: Result<&str, Refusal>,
    ) {
        let head = head(path, headers);
        assert_eq!(
            find(&head, config).as_deref().map_err(|refusal| *refusal),
            expected,
            "{path} {headers:?}"
        );
    }

    #[test]
    fn the_header_has_the_scheme_bearer() {
        let config = Config::default();
        for value in ["Bearer abc", "bearer abc", "BEARER    abc"] {
            check(&config, "/", &[("authorization", value)], Ok("abc"));
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearerabc",
            "Bearer\tabc",
            "Basic abc",
            "abc",
            "Token abc",
        ] {
            check(
                &config,
                "/",
                &[("authorization", value)],
                Err(Refusal::Missing),
            );
        }
        check(
            &config,
            "/",
            &[("authorization", "Bearer a, Bearer b")],
            Ok("a, Bearer b"),
        );
        check(
            &config,
            "/",
            &[("authorization", "Basic x"), ("authorization", "Bearer a")],
            Ok("a"),
        );
    }

    #[test]
    fn other_places_count_only_where_they_are_wanted() {
        let cookie = [("cookie", "a=b; session=abc; c")];
        check(
            &Config::default(),
            "/?jwt=abc",
            &cookie,
            Err(Refusal::Missing),
        );
        check(&everywhere(), "/?jwt=abc&x", &[], Ok("abc"));
        check(&everywhere(), "/", &cookie, Ok("abc"));
        check(
            &everywhere(),
            "/",
            &[("cookie", "session=\"abc\"")],
            Ok("abc"),
        );
        check(
            &everywhere(),
            "/",
            &[("cookie", "xsession=abc; session2=abc; SESSION=abc")],
            Err(Refusal::Missing),
        );
        check(
            &everywhere(),
            "/?jwt=",
            &[("cookie", "session=")],
            Err(Refusal::Missing),
        );
    }

    #[test]
    fn two_tokens_are_none_and_one_twice_is_one() {
        let bearer = ("authorization", "Bearer a");
        check(
            &Config::default(),
            "/",
            &[bearer, ("authorization", "Bearer b")],
            Err(Refusal::Ambiguous),
        );
        check(&Config::default(), "/", &[bearer, bearer], Ok("a"));
        check(&Config::default(), "/?jwt=b", &[bearer], Ok("a"));
        check(&everywhere(), "/?jwt=b", &[bearer], Err(Refusal::Ambiguous));
        check(
            &everywhere(),
            "/?jwt=a&token=b",
            &[],
            Err(Refusal::Ambiguous),
        );
        check(&everywhere(), "/?jwt=a&jwt=b", &[], Err(Refusal::Ambiguous));
        check(
            &everywhere(),
            "/?jwt=a",
            &[bearer, ("cookie", "session=a"), ("cookie", "session=b")],
            Err(Refusal::Ambiguous),
        );
        check(
            &everywhere(),
            "/?jwt=%61&token=a",
            &[bearer, ("cookie", "session=a")],
            Ok("a"),
        );
    }

    #[test]
    fn a_hidden_token_is_gone_and_the_rest_stays() {
        let bearer = ("authorization", "Bearer a");
        let head = head(
            "/p?x=%20&jwt=a&y",
            &[
                bearer,
                ("cookie", "a=b; session=a;c"),
                ("cookie", "d=\"e\""),
            ],
        );
        let edits = hide(RequestEdits::new(), &head, &everywhere());
        let expected = [
            HeaderEdit::remove("authorization"),
            HeaderEdit::set("cookie", "a=b; c; d=\"e\""),
        ];
        assert_eq!(edits.headers, expected);
        assert_eq!(edits.path_and_query.as_deref(), Some("/p?x=%20&y"));
        assert_eq!(
            hide(RequestEdits::new(), &head, &Config::default()).headers,
            [HeaderEdit::remove("authorization")]
        );
    }

    #[test]
    fn what_is_no_token_is_not_hidden() {
        let basic = head("/?x", &[("authorization", "Basic a"), ("cookie", "a=b")]);
        assert!(hide(RequestEdits::new(), &basic, &everywhere()).is_empty());
        let alone = head("/?x", &[("cookie", "session=a")]);
        assert_eq!(
            hide(RequestEdits::new(), &alone, &everywhere()).headers,
            [HeaderEdit::remove("cookie")]
        );
    }
}

//! The whole plugin against a fake host.

use super::*;
use postern_plugin::testing::{Host, configure};

const CONFIG: &str = r#"{"realm": "shop", "rules": [
    {"methods": ["GET", "HEAD"], "path": "/orders/{*rest}", "any-scope": ["orders:read", "orders:all"]},
    {"path": "/orders/{*rest}", "scopes": ["orders:write", "payments"], "claims": {"role": ["admin", "ops"]}},
    {"path": "/health", "public": true},
    {"path": "/roles", "claims": {"role": ["ops"]}}
]}"#;

/// The code of the refusal and its challenge, with what the token says.
fn run(config: &str, request: (&str, &str), notes: &[(&str, &str)]) -> (String, Option<String>) {
    let host = Host::new();
    host.request(request.0, request.1);
    for (key, value) in notes {
        exchange::set_note(key, value.as_bytes());
    }
    let plugin: Scopes = configure(config).expect("config is right");
    let verdict = host.on_request(&plugin);
    verdict.reply().map_or_else(
        || (String::from("ok"), None),
        |reply| {
            assert_eq!(reply.status, 403);
            let challenge = reply.header_text("www-authenticate");
            (reply.code.clone(), challenge.map(str::to_owned))
        },
    )
}

#[test]
fn the_first_rule_that_fits_decides() {
    let (read, write) = (("GET", "/orders/7?x=1"), ("POST", "/orders/7"));
    for (request, notes, expected) in [
        (read, &[("claim.scope", "orders:read")][..], "ok"),
        (read, &[("claim.scope", "a orders:all b")], "ok"),
        (read, &[("claim.scope", "a\norders:all\nb")], "ok"),
        (
            read,
            &[("claim.scope", "orders:reader orders")],
            "scope-missing",
        ),
        (read, &[("claim.scope", "")], "scope-missing"),
        (read, &[("scope", "orders:read")], "scope-missing"),
        (read, &[], "scope-missing"),
        (
            write,
            &[
                ("claim.scope", "payments orders:write"),
                ("claim.role", "user\nops"),
            ],
            "ok",
        ),
        (
            write,
            &[
                ("claim.scope", "payments orders:write"),
                ("claim.role", "op"),
            ],
            "claim-missing",
        ),
        (
            write,
            &[("claim.scope", "payments orders:write")],
            "claim-missing",
        ),
        (
            write,
            &[("claim.scope", "orders:write"), ("claim.role", "ops")],
            "scope-missing",
        ),
        (
            ("GET", "/roles"),
            &[("claim.role", "a ops")],
            "claim-missing",
        ),
        (("GET", "/roles"), &[("claim.role", "ops")], "ok"),
        (("DELETE", "/health"), &[], "ok"),
        (
            ("GET", "/else"),
            &[("claim.scope", "orders:all")],
            "scope-unmatched",
        ),
        (
            ("GET", "/orders/"),
            &[("claim.scope", "orders:all")],
            "scope-unmatched",
        ),
    ] {
        let (code, _) = run(CONFIG, request, notes);
        assert_eq!(code, expected, "{request:?} {notes:?}");
    }
}

#[test]
fn the_challenge_names_what_is_needed() {
    let (_, challenge) = run(CONFIG, ("POST", "/orders/7"), &[]);
    let expected =
        r#"Bearer realm="shop",error="insufficient_scope",scope="orders:write payments""#;
    assert_eq!(challenge.as_deref(), Some(expected));
    let (_, challenge) = run(CONFIG, ("GET", "/roles"), &[]);
    assert_eq!(challenge, None, "no scope would help");
}

#[test]
fn other_requests_pass_where_that_is_wanted_and_scopes_may_have_another_claim() {
    let config = r#"{"unmatched": "allow", "scope-claim": "scp", "rules": [{"methods": ["POST"], "scopes": ["w"]}]}"#;
    assert_eq!(run(config, ("GET", "/a"), &[]).0, "ok");
    assert_eq!(run(config, ("POST", "/a"), &[("claim.scp", "w")]).0, "ok");
    let (code, challenge) = run(config, ("POST", "/a"), &[("claim.scope", "w")]);
    assert_eq!(code, "scope-missing");
    let expected = r#"Bearer error="insufficient_scope",scope="w""#;
    assert_eq!(challenge.as_deref(), Some(expected));
}

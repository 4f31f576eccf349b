//! The whole plugin against a fake host.

use std::time::Duration;

use super::*;
use postern_plugin::testing::{Host, configure};
use postern_plugin::{IpAddress, identity};

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const CONFIG: &str = r#"{"deny": ["^curl/", "badbot"], "require-headers": ["User-Agent", "Accept"], "crawlers": [
    {"user-agent": "Goodbot", "addresses": ["192.0.2.0/28"]},
    {"user-agent": "goodbot/2", "addresses": ["198.51.100.1"]}
]}"#;

/// What becomes of a request with these headers from this address.
fn code(config: &str, client: IpAddress, headers: &[(&str, &str)]) -> String {
    let host = Host::new();
    for (name, value) in headers {
        host.request_header(name, value);
    }
    let plugin: BotDetection = configure(config).expect("config is right");
    let head = RequestHead {
        client,
        ..host.request_head(&plugin.interest())
    };
    let verdict = plugin.on_request(head);
    assert_eq!(identity::current(), None);
    verdict.reply().map_or_else(String::new, |reply| {
        format!("{} {}", reply.status, reply.code)
    })
}

#[test]
fn user_agents_and_headers_decide() {
    let (home, near, far) = (
        IpAddress::V4((203, 0, 113, 9)),
        IpAddress::V4((192, 0, 2, 15)),
        IpAddress::V4((198, 51, 100, 1)),
    );
    let long = "a".repeat(1_025);
    for (client, agent, accept, expected) in [
        (home, BROWSER, "text/html", ""),
        (home, BROWSER, "", "403 bot-suspected"),
        (home, "", "text/html", "403 bot-suspected"),
        (home, &long, "text/html", "403 bot-suspected"),
        (home, "curl/8.5", "*/*", "403 bot-denied"),
        (home, "libcurl/8.5", "*/*", ""),
        (home, "Mozilla (BadBot)", "*/*", "403 bot-denied"),
        (home, "SQLMap/1.8", "*/*", "403 bot-denied"),
        // Crawlers need no headers but the one that names them.
        (near, "Mozilla (goodbot/1)", "", ""),
        (home, "Mozilla (goodbot/1)", "*/*", "403 crawler-pretended"),
        (far, "goodbot/2", "", ""),
        (far, "goodbot/1", "", "403 crawler-pretended"),
    ] {
        let headers = [("user-agent", agent), ("accept", accept)];
        assert_eq!(
            code(CONFIG, client, &headers),
            expected,
            "{client:?} {agent} {accept}"
        );
    }
    assert_eq!(
        code(CONFIG, home, &[("accept", "*/*")]),
        "403 bot-suspected"
    );
}

#[test]
fn without_settings_scanners_and_nameless_programs_are_refused() {
    let home = IpAddress::V4((203, 0, 113, 9));
    assert_eq!(code("{}", home, &[("user-agent", "curl/8.5")]), "");
    assert_eq!(
        code("{}", home, &[("user-agent", "Nikto/2.5")]),
        "403 bot-denied"
    );
    assert_eq!(code("{}", home, &[]), "403 bot-suspected");
    let open = r#"{"scanners": false, "require-headers": []}"#;
    assert_eq!(code(open, home, &[("user-agent", "Nikto/2.5")]), "");
    assert_eq!(code(open, home, &[]), "");
}

#[test]
fn addresses_that_send_too_much_wait() {
    let host = Host::new();
    host.request_header("user-agent", BROWSER);
    let plugin: BotDetection =
        configure(r#"{"burst": 2, "burst-window": "5s"}"#).expect("config is right");
    let status = |client| {
        let head = RequestHead {
            client,
            ..host.request_head(&plugin.interest())
        };
        let verdict = plugin.on_request(head);
        verdict.reply().map_or((200, None), |reply| {
            (
                reply.status,
                reply.header_text("retry-after").map(str::to_owned),
            )
        })
    };
    let v6 = |network, host| IpAddress::V6((0x2001, 0xdb8, 0, network, 0, 0, 0, host));
    let four = IpAddress::V4((192, 0, 2, 1));
    assert_eq!(
        [status(v6(1, 1)), status(v6(1, 2))],
        [(200, None), (200, None)]
    );
    assert_eq!(
        status(v6(1, 3)),
        (429, Some(String::from("5"))),
        "one network is one client"
    );
    assert_eq!([status(v6(2, 1)), status(four)], [(200, None), (200, None)]);
    host.advance(Duration::from_secs(5));
    assert_eq!(status(v6(1, 3)), (200, None));
    host.state_unavailable("gone");
    assert_eq!(status(four).0, 503);
}

#[test]
fn errors_name_the_field() {
    for (json, expected) in [
        (
            r#"{"deny": ["a", "("]}"#,
            "deny[1]: \"(\" is no regular expression",
        ),
        (r#"{"deny": [""]}"#, "deny[0]: "),
        (
            r#"{"crawlers": [{"user-agent": "a", "addresses": []}]}"#,
            "crawlers[0].addresses: name them",
        ),
        (
            r#"{"crawlers": [{"user-agent": "a", "addresses": ["x"]}]}"#,
            "crawlers[0].addresses[0]: ",
        ),
        (
            r#"{"crawlers": [{"user-agent": "[", "addresses": ["::1"]}]}"#,
            "crawlers[0].user-agent: ",
        ),
        (r#"{"require-headers": ["a b"]}"#, "require-headers: "),
        (r#"{"burst": 0}"#, "burst: "),
        (r#"{"burst-window": "10ms"}"#, "burst-window: "),
        (r#"{"allow": []}"#, "unknown field `allow`"),
    ] {
        let error = configure::<BotDetection>(json).map(|_| ()).expect_err(json);
        assert!(error.starts_with(expected), "{json}: {error}");
    }
}

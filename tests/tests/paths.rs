//! What becomes of a request's path: one form, which is matched and forwarded.

use postern_tests::{Gateway, Raw, Upstream, eventually};

const ROUTES: &str = r#"
    route = [
        { name = "admin", path = "/admin/{*rest}", upstream = "admin" },
        { name = "public", path = "/public/{*rest}", upstream = "public" },
        { name = "braces", path = "/b/{{x}}%7e", upstream = "public" },
    ]
"#;

/// Sends a request line as it is; a client library would tidy it up.
async fn status(gateway: &Gateway, listener: &str, path: &[u8]) -> u16 {
    let mut raw = Raw::connect(gateway.listener(listener)).await;
    let request = [b"GET ", path, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    raw.send(request).await;
    raw.answer().await.expect("there is an answer").status
}

#[tokio::test]
async fn the_path_that_is_matched_is_the_path_that_is_sent() {
    let (admin, public) = (Upstream::says("admin"), Upstream::says("public"));
    let fragment = format!(
        "upstream.admin.targets = [\"{admin}\"]\nupstream.public.targets = [\"{public}\"]\n{ROUTES}"
    );
    let gateway = Gateway::with(fragment).start().await;
    for (path, upstream, sent) in [
        ("/public/../admin/x?a=/../b", &admin, "/admin/x?a=/../b"),
        ("/public/%2e%2E/admin/x", &admin, "/admin/x"),
        ("//public//.//..//admin/x/.", &admin, "/admin/x/"),
        ("/%61dmin/%7ex%3a", &admin, "/admin/~x%3A"),
        (
            "/admin/../public/%252e%252e/",
            &public,
            "/public/%252e%252e/",
        ),
        ("/b/{x}~", &public, "/b/%7Bx%7D~"),
        ("/b/%7bx%7d%7E?", &public, "/b/%7Bx%7D~?"),
    ] {
        let status = status(&gateway, "public", path.as_bytes()).await;
        assert_eq!(
            (status, upstream.last().target.as_str()),
            (200, sent),
            "{path}"
        );
    }
    eventually!(gateway.access_log(), |lines| {
        lines.iter().any(|line| line["path"] == "/admin/~x%3A")
    });
}

#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_is_refused() {
    let upstream = Upstream::says("read");
    let fragment = format!(
        "upstream.admin.targets = [\"{upstream}\"]\nupstream.public.targets = [\"{upstream}\"]\n{ROUTES}"
    );
    let gateway = Gateway::with(fragment).start().await;
    for path in [
        "/public/%2fadmin",
        "/public%2Fx",
        "/public/\\admin",
        "/public/..%5Cadmin",
        "/public/%00",
        "/public/%0d%0aX:y",
        "/public/%7f",
        "/public/..;/admin/x",
        "/public/%2e%2e;a=b/admin",
        "/public/%",
        "/public/%a",
        "/public/%gg",
    ] {
        assert_eq!(
            status(&gateway, "public", path.as_bytes()).await,
            400,
            "{path}"
        );
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_listener_may_let_through_what_others_refuse() {
    let upstream = Upstream::says("read");
    let fragment = format!(
        r#"
        upstream.admin.targets = ["{upstream}"]
        upstream.public.targets = ["{upstream}"]
        {ROUTES}
        [listen.strict]
        address = "127.0.0.1:0"
        [listen.lenient]
        address = "127.0.0.1:0"
        allow-encoded = ["slash", "nul"]
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    assert_eq!(status(&gateway, "lenient", b"/public/a%2fb%00").await, 200);
    assert_eq!(upstream.last().target, "/public/a%2Fb%00");
    for path in ["/public/..%2fadmin/x", "/public/a%5cb", "/public/%1f"] {
        assert_eq!(
            status(&gateway, "lenient", path.as_bytes()).await,
            400,
            "{path}"
        );
    }
    assert_eq!(status(&gateway, "strict", b"/public/a%2fb").await, 400);
    assert_eq!(upstream.count(), 1);
}

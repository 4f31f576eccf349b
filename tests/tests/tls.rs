//! TLS of listeners, spoken with curl and OpenSSL.

use postern_tests::pki::{Authority, Identity};
use postern_tests::setup::{Finished, Setup};
use postern_tests::{Gateway, Raw, Upstream, eventually, tool};

/// A gateway whose listener has this `tls` table. `ca.pem` is the authority's certificate.
fn gateway(upstream: &Upstream, authority: &Authority, tls: &str) -> Setup {
    Gateway::with(format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        [listen.public]
        address = "127.0.0.1:0"
        tls = {{ {tls} }}
        "#
    ))
    .file("ca.pem", authority.pem())
}

/// A certificate that is in `NAME.pem` together with its key.
fn certificate(name: &str) -> String {
    format!(r#"{{ cert = "{name}.pem", key = "file:{name}.pem" }}"#)
}

/// Calls `https://HOST:PORT/` with curl, and these arguments more. The answer is `STATUS VERSION BODY`.
fn curl(gateway: &Gateway, host: &str, arguments: &[&str]) -> Finished {
    let port = gateway.address().port();
    let resolve = format!("{host}:{port}:127.0.0.1");
    let url = format!("https://{host}:{port}/x");
    let common = [
        "--silent",
        "--show-error",
        "--cacert",
        "ca.pem",
        "--resolve",
        &resolve,
        "--write-out",
        " %{http_code} %{http_version}",
        &url,
    ];
    let all: Vec<&str> = common.iter().chain(arguments).copied().collect();
    tool::run(gateway.folder(), "curl", &all, "")
}

/// Connects with OpenSSL and sends a request.
fn s_client(gateway: &Gateway, host: &str, arguments: &[&str]) -> String {
    let address = gateway.address().to_string();
    let common = [
        "s_client",
        "-connect",
        &address,
        "-servername",
        host,
        "-CAfile",
        "ca.pem",
        "-ign_eof",
    ];
    let all: Vec<&str> = common.iter().chain(arguments).copied().collect();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let finished = tool::run(gateway.folder(), "openssl", &all, &request);
    finished.stdout + &finished.stderr
}

fn shop(authority: &Authority) -> Identity {
    authority.issue(&["a.example", "b.example"])
}

#[tokio::test]
async fn curl_speaks_http_1_and_2_and_the_upstream_learns_that_it_was_tls() {
    if !tool::is_there("curl") {
        return;
    }
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let tls = format!("certificates = [{}]", certificate("shop"));
    let gateway = gateway(&upstream, &authority, &tls).file("shop.pem", shop(&authority).both());
    let gateway = gateway.start().await;
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let answer = curl(&gateway, "a.example", &[flag]);
        assert_eq!(answer.stdout, format!("served 200 {version}"), "{answer:?}");
    }
    for request in upstream.requests() {
        assert_eq!(
            request.header("x-forwarded-proto").as_deref(),
            Some("https")
        );
        let forwarded = request.header("forwarded").unwrap_or_default();
        assert!(forwarded.ends_with(";proto=https"), "{forwarded}");
    }
    assert_eq!(upstream.requests().len(), 2);
    let done = r#"postern_tls_handshakes_total{listener="public",outcome="done"}"#;
    assert_eq!(gateway.metric(done).await, Some(2.0));
    let page = gateway.metrics().await;
    assert!(
        page.contains("postern_certificate_expiry_seconds{certificate=\""),
        "{page}"
    );
}

#[tokio::test]
async fn the_certificate_is_that_of_the_host_that_the_client_names() {
    if !tool::is_there("openssl") {
        return;
    }
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let names = ["default", "wild", "exact"].map(certificate).join(", ");
    let gateway = gateway(&upstream, &authority, &format!("certificates = [{names}]"))
        .file("default.pem", authority.issue(&["default.example"]).both())
        .file("wild.pem", authority.issue(&["*.shop.example"]).both())
        .file("exact.pem", authority.issue(&["a.shop.example"]).both());
    let gateway = gateway.start().await;
    for (host, subject) in [
        ("a.shop.example", "a.shop.example"),
        ("b.shop.example", "*.shop.example"),
        ("x.b.shop.example", "default.example"),
        ("other.example", "default.example"),
    ] {
        let shown = s_client(&gateway, host, &[]);
        assert!(
            shown.contains(&format!("subject=CN = {subject}\n")),
            "{host}: {shown}"
        );
    }
}

#[tokio::test]
async fn an_older_version_than_the_oldest_is_refused() {
    if !tool::is_there("openssl") {
        return;
    }
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    for (oldest, is_refused) in [("1.2", false), ("1.3", true)] {
        let tls = format!(
            "certificates = [{}], min-version=\"{oldest}\"",
            certificate("shop")
        );
        let gateway = gateway(&upstream, &authority, &tls)
            .file("shop.pem", shop(&authority).both())
            .start()
            .await;
        let shown = s_client(&gateway, "a.example", &["-tls1_2"]);
        assert_eq!(
            shown.contains("alert protocol version"),
            is_refused,
            "{shown}"
        );
        assert_eq!(shown.contains("HTTP/1.1 200"), !is_refused, "{shown}");
        assert!(s_client(&gateway, "a.example", &["-tls1_3"]).contains("HTTP/1.1 200"));
        let old = s_client(
            &gateway,
            "a.example",
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        );
        assert!(!old.contains("HTTP/1.1"), "{old}");
    }
}

#[tokio::test]
async fn sessions_are_resumed_across_a_new_certificate_unless_tickets_are_off() {
    if !tool::is_there("openssl") {
        return;
    }
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    for (tickets, is_resumed) in [(true, true), (false, false)] {
        let tls = format!(
            "certificates = [{}], session-tickets = {tickets}",
            certificate("shop")
        );
        let gateway = gateway(&upstream, &authority, &tls)
            .file("shop.pem", shop(&authority).both())
            .start()
            .await;
        for version in ["-tls1_2", "-tls1_3"] {
            let first = s_client(&gateway, "a.example", &[version, "-sess_out", "session"]);
            assert!(first.contains("New, TLSv1."), "{first}");
            if tickets {
                let generation = gateway.generation().await;
                gateway.replace("shop.pem", shop(&authority).both().as_bytes());
                eventually!(gateway.generation().await, |now| *now > generation);
            }
            let second = s_client(&gateway, "a.example", &[version, "-sess_in", "session"]);
            assert_eq!(second.contains("Reused, TLSv1."), is_resumed, "{second}");
        }
    }
}

#[tokio::test]
async fn an_ocsp_response_is_stapled() {
    if !tool::is_there("openssl") {
        return;
    }
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let shop = shop(&authority);
    let tls =
        r#"certificates = [{ cert = "shop.pem", key = "file:shop.pem", ocsp = "shop.ocsp" }]"#;
    let setup = gateway(&upstream, &authority, tls)
        .file("shop.pem", shop.both())
        .file("ca.key", authority.key());
    let run = |arguments: &[&str]| tool::run(setup.path(), "openssl", arguments, "");
    let serial = run(&["x509", "-in", "shop.pem", "-noout", "-serial"]).stdout;
    let serial = serial.trim().trim_start_matches("serial=");
    let index = format!("V\t490101000000Z\t\t{serial}\tunknown\t/CN=a.example\n");
    let setup = setup.file("index.txt", index);
    let made = tool::run(
        setup.path(),
        "openssl",
        &[
            "ocsp",
            "-index",
            "index.txt",
            "-rsigner",
            "ca.pem",
            "-rkey",
            "ca.key",
            "-CA",
            "ca.pem",
            "-issuer",
            "ca.pem",
            "-cert",
            "shop.pem",
            "-respout",
            "shop.ocsp",
            "-ndays",
            "1",
        ],
        "",
    );
    assert!(setup.path().join("shop.ocsp").exists(), "{made:?}");
    let gateway = setup.start().await;
    let shown = s_client(&gateway, "a.example", &["-status"]);
    assert!(
        shown.contains("OCSP Response Status: successful"),
        "{shown}"
    );
    assert!(shown.contains("Cert Status: good"), "{shown}");
}

#[tokio::test]
async fn clients_show_certificates_and_plugins_read_them() {
    if !tool::is_there("curl") {
        return;
    }
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let (client, stranger) = (
        authority.issue(&["client.example"]),
        Authority::new("Other"),
    );
    for kind in ["optional", "required"] {
        let tls = format!(
            r#"certificates = [{}], client-auth = "{kind}", client-ca = "ca.pem""#,
            certificate("shop")
        );
        let gateway = Gateway::with(format!(
            r#"
            upstream.u.targets = ["{upstream}"]
            plugin.header-transform = {{ file = "header-transform.wasm", config = {{ request.add = {{ x-client = "{{tls.client.subject}} {{tls.sni}} {{tls.version}}" }} }} }}
            route = [{{ name = "r", path = "/{{*rest}}", plugins = ["header-transform"], upstream = "u" }}]
            [listen.public]
            address = "127.0.0.1:0"
            tls = {{ {tls} }}
            "#
        ))
        .file("ca.pem", authority.pem())
        .file("shop.pem", shop(&authority).both())
        .file("client.pem", client.both())
        .file("stranger.pem", stranger.issue(&["client.example"]).both())
        .start()
        .await;
        let before = upstream.requests().len();
        let known = curl(&gateway, "a.example", &["--cert", "client.pem"]);
        assert_eq!(known.stdout, "served 200 2", "{known:?}");
        let unknown = curl(&gateway, "a.example", &["--cert", "stranger.pem"]);
        assert!(unknown.stdout.starts_with(" 000"), "{unknown:?}");
        let nobody = curl(&gateway, "a.example", &[]);
        assert_eq!(
            nobody.stdout == "served 200 2",
            kind == "optional",
            "{nobody:?}"
        );
        let seen: Vec<_> = upstream
            .requests()
            .iter()
            .skip(before)
            .map(|request| request.header("x-client"))
            .collect();
        let expected = ["CN=client.example a.example TLSv1.3", " a.example TLSv1.3"];
        let expected = expected.iter().take(if kind == "optional" { 2 } else { 1 });
        let expected: Vec<_> = expected.map(|text| Some(text.trim().to_owned())).collect();
        assert_eq!(seen, expected, "{kind}");
        // Clients are known by connection here, so each host has connections of its own.
        let misdirected = curl(
            &gateway,
            "a.example",
            &["--cert", "client.pem", "--header", "Host: b.example"],
        );
        assert!(misdirected.stdout.ends_with(" 421 2"), "{misdirected:?}");
    }
}

#[tokio::test]
async fn a_request_for_a_host_of_another_certificate_is_misdirected() {
    if !tool::is_there("curl") {
        return;
    }
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let names = ["shop", "other"].map(certificate).join(", ");
    let gateway = gateway(&upstream, &authority, &format!("certificates = [{names}]"))
        .file("shop.pem", shop(&authority).both())
        .file(
            "other.pem",
            authority.issue(&["other.example", "127.0.0.1"]).both(),
        )
        .start()
        .await;
    for version in ["--http1.1", "--http2"] {
        let status = |sni: &str, host: &str| {
            let answer = curl(
                &gateway,
                sni,
                &[version, "--insecure", "--header", &format!("Host: {host}")],
            );
            answer
                .stdout
                .split(' ')
                .rev()
                .nth(1)
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(status("a.example", "b.example"), "200");
        assert_eq!(status("a.example", "A.Example:443"), "200");
        assert_eq!(status("a.example", "other.example"), "421");
        assert_eq!(status("other.example", "a.example"), "421");
        // Whoever names no host gets what it asks for.
        assert_eq!(status("127.0.0.1", "a.example"), "200");
    }
    let log = gateway.access_log();
    assert!(
        log.iter().any(|line| line["code"] == "misdirected-request"),
        "{log:?}"
    );
}

#[tokio::test]
async fn handshakes_are_bounded_in_number_and_time() {
    if !tool::is_there("curl") {
        return;
    }
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let tls = format!(
        r#"certificates = [{}], handshake-timeout = "1s", max-handshakes = 1"#,
        certificate("shop")
    );
    let gateway = gateway(&upstream, &authority, &tls)
        .file("shop.pem", shop(&authority).both())
        .start()
        .await;
    let outcome = async |outcome: &str| {
        let series =
            format!("postern_tls_handshakes_total{{listener=\"public\",outcome=\"{outcome}\"}}");
        gateway.metric(&series).await.unwrap_or_default()
    };
    let silent = Raw::connect(gateway.address()).await;
    eventually!(
        gateway
            .metric("postern_connections{listener=\"public\"}")
            .await,
        |open| *open == Some(1.0)
    );
    let refused = curl(&gateway, "a.example", &[]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert_eq!(outcome("refused").await, 1.0);
    eventually!(outcome("timeout").await, |timeouts| *timeouts == 1.0);
    drop(silent);
    assert_eq!(curl(&gateway, "a.example", &[]).stdout, "served 200 2");
}

#[tokio::test]
async fn what_is_not_tls_ends_the_connection_only() {
    if !tool::is_there("curl") {
        return;
    }
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let tls = format!(
        r#"certificates = [{}], handshake-timeout = "500ms""#,
        certificate("shop")
    );
    let gateway = gateway(&upstream, &authority, &tls)
        .file("shop.pem", shop(&authority).both())
        .start()
        .await;
    for bytes in [
        "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{0}\u{1}x",
    ] {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(bytes).await;
        let answer = String::from_utf8_lossy(&raw.rest().await).into_owned();
        assert!(!answer.contains("HTTP"), "{answer:?}");
    }
    assert!(upstream.requests().is_empty());
    assert_eq!(curl(&gateway, "a.example", &[]).stdout, "served 200 2");
}

#[tokio::test]
async fn a_broken_certificate_leaves_the_old_one() {
    if !tool::is_there("curl") {
        return;
    }
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let tls = format!("certificates = [{}]", certificate("shop"));
    let gateway = gateway(&upstream, &authority, &tls)
        .file("shop.pem", shop(&authority).both())
        .start()
        .await;
    let mismatched = format!("{}{}", shop(&authority).certificate, shop(&authority).key);
    for (broken, why) in [
        (
            mismatched.as_str(),
            "the key is not that of the first certificate",
        ),
        ("hello\n", "expected certificates in PEM form"),
    ] {
        gateway.replace("shop.pem", broken.as_bytes());
        let problem = eventually!(
            gateway.status().await["config_problem"].to_string(),
            |problem| problem.contains(why)
        );
        assert!(
            problem.contains("listen.public.tls.certificates[0]"),
            "{problem}"
        );
        assert_eq!(curl(&gateway, "a.example", &[]).stdout, "served 200 2");
    }
    gateway.replace("shop.pem", shop(&authority).both().as_bytes());
    eventually!(gateway.status().await["config_problem"].is_null(), |gone| {
        *gone
    });
}

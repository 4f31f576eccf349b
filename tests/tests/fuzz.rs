//! Bytes that nobody thought of, sent to a whole gateway: it stays up, and what reaches the upstream is whole.

#[path = "../../host/src/fuzz.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the gateway's own tests"
)]
mod fuzz;

#[path = "raw_http1/table.rs"]
#[allow(dead_code, reason = "only what is sent is of interest here")]
mod table;

use std::time::Duration;

use fuzz::Fuzz;
use postern_tests::setup::one_route;
use postern_tests::{Gateway, Raw, Upstream, reply};

const WORDS: [&[u8]; 18] = [
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: b\r\n",
    b"GET /b HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    b"\0\0\x04\x01\x05\0\0\0\x01\x82\x86\x84\x41",
    b"\0",
    b"\xff",
    b"%00",
    b"://",
];
/// How long the gateway may take to end a connection on which nothing more comes.
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn fuzz_listener() {
    let upstream = Upstream::start(|request| reply(200).body(request.target.clone()).into());
    let listener = r#"
        header-timeout = "500ms"
        idle-timeout = "500ms"
        body-timeout = "500ms"
    "#;
    let gateway = Gateway::with(one_route(&upstream, listener))
        .process()
        .await;
    let files = [
        "framing.txt",
        "chunks.txt",
        "lines.txt",
        "targets.txt",
        "fields.txt",
    ];
    let corpus = files
        .into_iter()
        .flat_map(table::load)
        .map(|case| case.sent);
    let mut fuzz = Fuzz::new(corpus, WORDS);
    while let Some(input) = fuzz.next() {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(&input).await;
        raw.finish().await;
        let ended = tokio::time::timeout(LIMIT, raw.rest()).await;
        let mut probe = Raw::connect(gateway.address()).await;
        probe.send("GET /probe HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = probe.answer().await.map(|answer| answer.text());
        if ended.is_err() || answer.as_deref() != Some("/probe") {
            fuzz.found(&input);
            panic!(
                "ended: {}, and then another client gets {answer:?}",
                ended.is_ok()
            );
        }
    }
    // The upstream's own reader panics on a message that it cannot follow, and would have answered nothing since.
    for request in upstream.requests() {
        let fine = |byte: u8| byte.is_ascii_graphic();
        assert!(
            request.target.starts_with('/') && request.target.bytes().all(fine),
            "{}",
            request.head
        );
        let twice = |name: &str| {
            request
                .headers
                .iter()
                .filter(|(found, _)| found.eq_ignore_ascii_case(name))
                .count()
                > 1
        };
        assert!(
            !twice("host") && !twice("content-length") && !twice("transfer-encoding"),
            "{}",
            request.head
        );
        let both = request
            .header("content-length")
            .and(request.header("transfer-encoding"));
        assert!(both.is_none(), "{}", request.head);
    }
}

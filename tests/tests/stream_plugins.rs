//! The standard plugins that change bodies: `compress` and `response-mask`, alone and together, checked with the tools of
//! others.

use std::io::Write;
use std::process::{Command, Stdio};

use bytes::Bytes;
use http_body_util::BodyExt;
use postern_tests::client::RequestBody;
use postern_tests::{Answer, Call, Connection, Gate, Gateway, Script, Upstream, reply};

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
/// Coding, and the program that decodes it from standard input.
const CODINGS: [(&str, &str); 3] = [("gzip", "gzip"), ("br", "brotli"), ("zstd", "zstd")];

async fn gateway(upstream: &Upstream, plugins: &[&str]) -> Gateway {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", plugins = {plugins:?}, upstream = "u" }}]
        [plugin.compress]
        file = "compress.wasm"
        budget = {{ cpu = "1s" }}
        [plugin.mask]
        file = "response-mask.wasm"
        budget = {{ cpu = "1s" }}
        config = {{ fields = ["password", "$.*.card"], patterns = [{{ pattern = '[a-z]+@[a-z.]+' }}] }}
        "#
    );
    Gateway::with(fragment).start().await
}

/// What a program makes of bytes; none, and a line that says so, where there is no such program.
fn decoded(program: &str, bytes: &[u8]) -> Option<String> {
    let child = Command::new(program)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: there is no program {program:?}; Debian has a package of this name");
        return None;
    };
    let mut stdin = child.stdin.take().expect("it is a pipe");
    let bytes = bytes.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().expect("it ends");
    writing
        .join()
        .expect("it does not panic")
        .expect("it reads");
    assert!(output.status.success(), "{program} refuses the bytes");
    Some(String::from_utf8(output.stdout).expect("it is text"))
}

fn text() -> String {
    (0..40_000)
        .map(|number| format!("line {number}\n"))
        .collect()
}

fn html() -> Upstream {
    Upstream::start(|_| {
        let answer = reply(200)
            .header("content-type", "text/html")
            .header("etag", "\"1\"")
            .header("accept-ranges", "bytes");
        answer.body(text()).into()
    })
}

#[tokio::test]
async fn answers_are_compressed_as_the_client_prefers() {
    let upstream = html();
    let gateway = gateway(&upstream, &["compress"]).await;
    for mut connection in [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ] {
        for (coding, program) in CODINGS {
            let call =
                Call::get("/").header("accept-encoding", &format!("{coding}, identity;q=0.5"));
            let answer = connection.call(&call).await;
            assert_eq!(answer.header("content-encoding").as_deref(), Some(coding));
            assert_eq!(answer.header("vary").as_deref(), Some("Accept-Encoding"));
            assert_eq!(answer.header("etag").as_deref(), Some("W/\"1\""));
            assert_eq!(answer.header("content-length"), None);
            assert_eq!(answer.header("accept-ranges"), None);
            assert!(
                answer.body.len() < text().len() / 3,
                "{coding}: {}",
                answer.body.len()
            );
            if let Some(decoded) = decoded(program, &answer.body) {
                assert!(decoded == text(), "{program} reads something else");
            }
        }
        let answer = connection.call(&Call::get("/")).await;
        assert_eq!(answer.header("content-encoding"), None);
        assert_eq!(answer.header("vary").as_deref(), Some("Accept-Encoding"));
        assert_eq!(answer.header("etag").as_deref(), Some("\"1\""));
        assert_eq!(answer.text(), text());
    }
}

#[tokio::test]
async fn heads_say_the_same_without_a_body() {
    let upstream = Upstream::start(|request| match request.method.as_str() {
        "HEAD" => Script::after_body()
            .send("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5000\r\n\r\n"),
        _ => reply(304).header("etag", "\"1\"").into(),
    });
    let gateway = gateway(&upstream, &["compress"]).await;
    let head = Call::new("HEAD", "/").header("accept-encoding", "gzip");
    let answer = gateway.call(&head).await;
    assert_eq!(answer.header("content-encoding").as_deref(), Some("gzip"));
    assert_eq!(answer.header("content-length"), None);
    let again = Call::get("/").header("if-none-match", "W/\"1\"");
    let answer = gateway.call(&again).await;
    assert_eq!(
        (answer.status, answer.header("etag").as_deref()),
        (304, Some("W/\"1\""))
    );
}

#[tokio::test]
async fn compressed_events_arrive_one_by_one() {
    for (coding, program) in CODINGS {
        let gate = Gate::default();
        let script = gate.clone();
        let upstream = Upstream::start(move |_| {
            Script::after_body()
                .send(CHUNKED)
                .chunk("data: first\n\n")
                .wait(&script)
                .chunk("data: second\n\n")
                .send("0\r\n\r\n")
        });
        let gateway = gateway(&upstream, &["compress"]).await;
        let mut connection = gateway.connect().await;
        let call = Call::get("/").header("accept-encoding", coding);
        let response = connection.begin(&call, RequestBody::whole(Bytes::new()));
        let mut body = response.await.expect("the head").into_body();
        let first = body.frame().await.expect("a frame").expect("of data");
        let mut all = first.into_data().expect("data").to_vec();
        assert!(
            !all.is_empty(),
            "{coding}: something came before the gate was opened"
        );
        gate.open();
        all.extend(body.collect().await.expect("the rest").to_bytes());
        if let Some(decoded) = decoded(program, &all) {
            assert_eq!(decoded, "data: first\n\ndata: second\n\n");
        }
    }
}

/// An upstream that sends JSON byte by byte.
fn json(text: &'static str) -> Upstream {
    Upstream::start(move |_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let begun = Script::after_body().send(head);
        let bytes = text
            .char_indices()
            .map(|(at, c)| &text[at..at + c.len_utf8()]);
        bytes.fold(begun, Script::chunk).send("0\r\n\r\n")
    })
}

const SECRETS: &str = r#"{"user":{"card":"4711","password":{"a":[1,"]"]},"mail":"me\u0040example.com"},"pass\u0077ord":"x","n":"ü"}"#;
const MASKED: &str =
    r#"{"user":{"card":"***","password":"***","mail":"***"},"pass\u0077ord":"***","n":"ü"}"#;

#[tokio::test]
async fn fields_and_patterns_are_masked_wherever_the_body_is_cut() {
    let upstream = json(SECRETS);
    let gateway = gateway(&upstream, &["mask"]).await;
    for mut connection in [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ] {
        let call = Call::get("/")
            .header("accept-encoding", "gzip")
            .header("range", "bytes=5-");
        let answer: Answer = connection.call(&call).await;
        assert_eq!(answer.text(), MASKED);
        let received = upstream.last();
        assert_eq!(
            received.header("accept-encoding").as_deref(),
            Some("identity")
        );
        assert_eq!(received.header("range"), None);
    }
}

#[tokio::test]
async fn what_is_masked_can_be_compressed() {
    let upstream = json(SECRETS);
    let gateway = gateway(&upstream, &["compress", "mask"]).await;
    let call = Call::get("/").header("accept-encoding", "gzip");
    let answer = gateway.call(&call).await;
    assert_eq!(answer.header("content-encoding").as_deref(), Some("gzip"));
    if let Some(decoded) = decoded("gzip", &answer.body) {
        assert_eq!(decoded, MASKED);
    }
}

#[tokio::test]
async fn what_cannot_be_masked_is_not_sent() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/gzip" => reply(200)
            .header("content-type", "application/json")
            .header("content-encoding", "gzip")
            .body("whatever")
            .into(),
        _ => reply(200)
            .header("content-type", "application/json")
            .body("<html>password</html>")
            .into(),
    });
    let gateway = gateway(&upstream, &["mask"]).await;
    let answer = gateway.get("/gzip").await;
    assert_eq!(answer.status, 502);
    assert!(!answer.text().contains("whatever"));
    let mut connection = gateway.connect().await;
    let broken = connection.try_call(&Call::get("/html")).await;
    assert!(broken.is_err(), "{broken:?}");
}

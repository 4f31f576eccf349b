//! HTTP/1 as bytes: what no honest client sends is refused before anything of it reaches the upstream, and what is passed
//! on reaches it as one message, framed by us. Each case names the rule that it comes from.

#[path = "raw_http1/table.rs"]
mod table;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_tests::raw::RawAnswer;
use postern_tests::upstream::Received;
use postern_tests::{Gateway, Raw, Script, Upstream, reply};

use table::{Case, gateway, get};

const REQUESTS: [&str; 6] = [
    "framing.txt",
    "chunks.txt",
    "lines.txt",
    "targets.txt",
    "fields.txt",
    "limits.txt",
];
const RESPONSES: &str = "responses.txt";

/// Longer than any answer takes, shorter than any timeout of the gateway.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request as the upstream saw it, without what the gateway adds: the request line, the sorted fields, the body.
fn seen(request: &Received) -> String {
    let mut lines = request.head.trim_end().split("\r\n");
    let line = lines.next().unwrap_or_default();
    let added = |line: &&str| {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        match name {
            "via" => matches!(value, "1.1 postern" | "1.0 postern"),
            "x-forwarded-for" => value == "127.0.0.1",
            "x-forwarded-proto" => value == "http",
            "x-forwarded-host" => true,
            "forwarded" => value.starts_with("for=127.0.0.1;") && !value.contains(','),
            _ => false,
        }
    };
    let mut fields: Vec<&str> = lines
        .filter(|line| !added(line))
        .map(str::trim_end)
        .collect();
    fields.sort_unstable();
    let body = request.body.escape_ascii();
    format!("{line} | {} | {body}", fields.join(" | "))
}

/// The same of the table's text.
fn wanted(bytes: &[u8]) -> String {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = bytes.split_at(end.expect("a head ends with an empty line") + 4);
    seen(&Received {
        head: String::from_utf8_lossy(head).into_owned(),
        body: body.to_vec(),
        ..Received::default()
    })
}

/// What is not as the case wants it.
async fn mistakes(case: &Case, gateway: &Gateway, upstream: &Upstream) -> Vec<String> {
    let before = upstream.count();
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send(&case.sent).await;
    let mut mistakes = Vec::new();
    for wanted in &case.want.statuses {
        match answer(&mut raw, &case.sent).await {
            Ok(Some(answer)) if wanted.contains(&answer.status) => {}
            Ok(None) if case.want.silent => break,
            Ok(other) => {
                let got = other.map(|answer| (answer.status, answer.text()));
                mistakes.push(format!("wanted {wanted:?}, got {got:?}"));
                break;
            }
            Err(()) => {
                mistakes.push(format!("wanted {wanted:?}, got nothing"));
                break;
            }
        }
    }
    if mistakes.is_empty() {
        match case.want.close {
            true => match tokio::time::timeout(PATIENCE, raw.rest()).await {
                Ok(rest) if rest.is_empty() => {}
                Ok(rest) => mistakes.push(format!("then it says {}", rest.escape_ascii())),
                Err(_) => mistakes.push("the connection stays open".into()),
            },
            false => {
                raw.send(get("/after")).await;
                let after = answer(&mut raw, b"GET").await.ok().flatten();
                let text = after.map(|answer| answer.text());
                if text.as_deref() != Some("/after") {
                    mistakes.push(format!("the next request gets {text:?}"));
                }
            }
        }
    }
    drop(raw);
    // One worker serves one after the other: what the case leads to is there when this has been answered.
    let mut probe = Raw::connect(gateway.address()).await;
    probe.send(get("/probe")).await;
    let text = probe.answer().await.map(|answer| answer.text());
    if text.as_deref() != Some("/probe") {
        mistakes.push(format!("another client gets {text:?}"));
    }
    let requests: Vec<Received> = upstream.requests().split_off(before);
    let came: Vec<&Received> = requests
        .iter()
        .filter(|request| !matches!(request.target.as_str(), "/after" | "/probe"))
        .collect();
    if case.want.partial {
        if came.len() > 1 || came.iter().any(|request| request.complete) {
            mistakes.push(format!("the upstream got {came:?}"));
        }
        return mistakes;
    }
    let came: Vec<String> = came.into_iter().map(seen).collect();
    let should: Vec<String> = case.beyond.iter().map(|bytes| wanted(bytes)).collect();
    if came != should {
        mistakes.push(format!("the upstream got {came:#?}, not {should:#?}"));
    }
    mistakes
}

async fn answer(raw: &mut Raw, sent: &[u8]) -> Result<Option<RawAnswer>, ()> {
    let method = if sent.starts_with(b"HEAD") {
        "HEAD"
    } else {
        "GET"
    };
    loop {
        let answer = tokio::time::timeout(PATIENCE, raw.answer_to(method)).await;
        match answer.map_err(|_| ())? {
            Some(answer) if answer.status == 100 => {}
            answer => return Ok(answer),
        }
    }
}

fn report(all: usize, failed: &[(String, String, Vec<String>)]) {
    let text: Vec<String> = failed
        .iter()
        .map(|(name, source, mistakes)| format!("{name} ({source}): {}", mistakes.join("; ")))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {all} cases:\n{}",
        failed.len(),
        text.join("\n")
    );
}

#[tokio::test]
async fn requests_are_passed_on_as_one_message_or_refused() {
    let upstream = Upstream::start(|request| {
        let body = if request.method == "HEAD" {
            ""
        } else {
            &request.target
        };
        reply(200).body(body).into()
    });
    let gateway = gateway(&upstream).await;
    let mut failed = Vec::new();
    let mut all = 0;
    for case in REQUESTS.into_iter().flat_map(table::load) {
        all += 1;
        let mistakes = mistakes(&case, &gateway, &upstream).await;
        if !mistakes.is_empty() {
            failed.push((case.name, case.source, mistakes));
        }
    }
    report(all, &failed);
    assert!(all >= 150, "only {all} cases");
}

/// What is not as the case wants it.
async fn response_mistakes(case: &Case, gateway: &Gateway) -> Vec<String> {
    let method = case.method.as_deref().unwrap_or("GET");
    let mut mistakes = Vec::new();
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send(format!("{method} /case HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    let answered = tokio::time::timeout(PATIENCE, raw.answer_to(method)).await;
    let Ok(Some(mut answer)) = answered else {
        return vec!["there is no answer".into()];
    };
    // What is passed on before the final response is another test's.
    while matches!(answer.status, 102 | 103) {
        let Some(next) = raw.answer_to(method).await else {
            return vec!["there is no final answer".into()];
        };
        answer = next;
    }
    if !case.want.statuses[0].contains(&answer.status) {
        mistakes.push(format!("got {} {}", answer.status, answer.text()));
    }
    if answer.complete == case.want.partial {
        mistakes.push(format!("complete: {}", answer.complete));
    }
    let body = case.beyond.first().cloned().unwrap_or_default();
    if answer.status < 400 && answer.body != body {
        mistakes.push(format!("the body is {}", answer.text()));
    }
    for name in &case.lack {
        if let Some(value) = answer.header(name) {
            mistakes.push(format!("there is {name}: {value}"));
        }
    }
    // Whoever is next, on a connection of its own or on this one, gets its own answer.
    let mut other = Raw::connect(gateway.address()).await;
    for raw in [&mut other, &mut raw] {
        raw.send(get("/next")).await;
        match raw.answer().await {
            Some(next) if next.text() == "/next" => {}
            None if case.want.partial => {}
            next => mistakes.push(format!("the next request gets {next:?}")),
        }
    }
    mistakes
}

#[tokio::test]
async fn what_an_upstream_sends_wrongly_reaches_nobody_else() {
    let script: Arc<Mutex<Script>> = Arc::default();
    let current = Arc::clone(&script);
    let upstream = Upstream::start(move |request| match request.target.as_str() {
        "/case" => current.lock().expect("no panic").clone(),
        target => reply(200).body(target).into(),
    });
    let gateway = gateway(&upstream).await;
    let mut failed = Vec::new();
    let cases = table::load(RESPONSES);
    for case in &cases {
        let steps = Script::after_body().send(&case.sent);
        *script.lock().expect("no panic") = if case.end { steps.close() } else { steps };
        let mistakes = response_mistakes(case, &gateway).await;
        if !mistakes.is_empty() {
            failed.push((case.name.clone(), case.source.clone(), mistakes));
        }
    }
    report(cases.len(), &failed);
}

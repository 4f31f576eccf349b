//! Whether a proxy really does the work that it is about to be measured at.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::{Value, json};

use super::documents::{self, PARTS};
use super::peer::Site;
use super::scenario::{Kind, ORIGIN, Peer};
use crate::call::{Answer, Call, Client};
use crate::token;

/// A limit that a few quick calls reach.
const LOW_LIMIT: u32 = 5;
/// A few quick calls.
const QUICK_CALLS: usize = 40;

/// An error when one of the answers is not what the kind of work calls for.
pub(super) fn check(kind: Kind, proxy: SocketAddr) -> Result<()> {
    let checked = match kind {
        Kind::Plain => plain(proxy).and_then(|()| untouched(proxy)),
        Kind::Transform => plain(proxy).and_then(|()| transform(proxy)),
        Kind::Chain => chain(proxy),
        Kind::Aggregate => aggregate(proxy),
    };
    checked.context("it does not do the work")
}

fn plain(proxy: SocketAddr) -> Result<()> {
    let json = ask(&Call::get(proxy, "/json"))?;
    ensure!(
        json.body == documents::one_kib(),
        "another body at /json: {}",
        json.body
    );
    let large = ask(&Call::get(proxy, "/64k"))?;
    ensure!(large.body == documents::large(), "another body at /64k");
    let posted = ask(&Call::post(proxy, "/post", documents::large()))?;
    ensure!(
        posted.body == r#"{"ok":true}"#,
        "another body at /post: {}",
        posted.body
    );
    Ok(())
}

fn untouched(proxy: SocketAddr) -> Result<()> {
    let answer = ask(&Call::get(proxy, "/echo").header("X-Remove-Me", "secret"))?;
    expect_echo(
        &answer,
        &json!({ "added": "", "removed": "secret", "consumer": "" }),
    )
}

fn transform(proxy: SocketAddr) -> Result<()> {
    let answer = ask(&Call::get(proxy, "/echo").header("X-Remove-Me", "secret"))?;
    expect_echo(
        &answer,
        &json!({ "added": "1", "removed": "", "consumer": "" }),
    )?;
    expect_header(&answer, "x-bench-response", "1")
}

fn chain(proxy: SocketAddr) -> Result<()> {
    let claims = documents::claims("consumer-03");
    let altered = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        token::sign(&claims, documents::SECRET)
    };
    let bad = [
        ("of garbage", "x.y.z".to_owned()),
        (
            "with another secret",
            token::sign(&claims, &"no".repeat(20)),
        ),
        ("that has expired", altered("exp", token::LONG_AGO.into())),
        ("of another issuer", altered("iss", "other".into())),
        ("without a signature", token::unsigned(&claims)),
    ];
    let json = || Call::get(proxy, "/json");
    expect_refused(&json(), "no token")?;
    for (what, token) in bad {
        expect_refused(&json().bearer(&token), &format!("a token {what}"))?;
    }

    let good = Call::get(proxy, "/echo").bearer(&documents::token("consumer-03"));
    let answer = ask(&good
        .header("Origin", ORIGIN)
        .header("X-Remove-Me", "secret"))?;
    expect_echo(
        &answer,
        &json!({ "added": "1", "removed": "", "consumer": "consumer-03" }),
    )?;
    expect_header(&answer, "x-bench-response", "1")?;
    expect_header(&answer, "access-control-allow-origin", ORIGIN)?;
    expect_header(&answer, "access-control-expose-headers", "x-bench-response")?;

    let preflight = Call::options(proxy, "/json")
        .header("Origin", ORIGIN)
        .header("Access-Control-Request-Method", "POST");
    expect_header(&ask(&preflight)?, "access-control-allow-origin", ORIGIN)
}

fn aggregate(proxy: SocketAddr) -> Result<()> {
    let answer = ask(&Call::get(proxy, "/agg"))?;
    let body: Value = serde_json::from_str(&answer.body).context("/agg is not JSON")?;
    let mut expected = json!({});
    for name in PARTS {
        expected[name] = serde_json::from_str(&documents::part(name))?;
    }
    ensure!(body == expected, "another body at /agg: {}", answer.body);
    Ok(())
}

/// Starts a proxy with a low limit: a consumer must get into it, and another one must not.
pub(super) fn check_limit(site: &Site<'_>, peer: Peer) -> Result<()> {
    let proxy = site.start(peer, Kind::Chain, LOW_LIMIT)?;
    let client = Client::new();
    let call = |number| {
        let token = documents::token(&documents::consumer(number));
        client.send(&Call::get(proxy.address, "/json").bearer(&token))
    };
    ensure!(
        call(1)?.status == StatusCode::OK,
        "the first call is not answered"
    );
    let mut limited = 0;
    for _ in 0..QUICK_CALLS {
        limited += usize::from(call(1)?.status == StatusCode::TOO_MANY_REQUESTS);
    }
    ensure!(
        limited > 0,
        "{QUICK_CALLS} calls pass a limit of {LOW_LIMIT} a second"
    );
    ensure!(
        call(2)?.status == StatusCode::OK,
        "a consumer is limited for another's calls"
    );
    proxy.stop()
}

fn ask(call: &Call) -> Result<Answer> {
    let answer = Client::new().send(call)?;
    ensure!(
        answer.status.is_success(),
        "status {}: {}",
        answer.status,
        answer.body
    );
    Ok(answer)
}

fn expect_refused(call: &Call, what: &str) -> Result<()> {
    let status = Client::new().send(call)?.status;
    ensure!(
        matches!(status.as_u16(), 401 | 403),
        "{what}: status {status}"
    );
    Ok(())
}

fn expect_echo(answer: &Answer, expected: &Value) -> Result<()> {
    let arrived: Value = serde_json::from_str(&answer.body).context("/echo is not JSON")?;
    ensure!(
        arrived == *expected,
        "the upstream got {arrived} and not {expected}"
    );
    Ok(())
}

fn expect_header(answer: &Answer, name: &str, expected: &str) -> Result<()> {
    let value = answer
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok());
    ensure!(
        value.is_some_and(|value| value.eq_ignore_ascii_case(expected)),
        "header {name} is {value:?} and not {expected}"
    );
    Ok(())
}

//! Services that do anything at any time, by a seed: what reaches them, and what clients are told.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use postern_tests::client::{RequestBody, whole};
use postern_tests::upstream::Refusing;
use postern_tests::{Call, Connection, Gateway, Script, Upstream, eventually, reply};

use super::fragment;

const SEEDS: u64 = 100;
const CLIENTS: u64 = 4;
const CALLS: u64 = 10;
const RETRIES: usize = 2;

/// What a service does with a request that it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Answers,
    AnswersInChunks,
    /// Answers, and closes the connection without having said that it would.
    AnswersAndLeaves,
    Fails,
    HangsUp,
    Resets,
    BreaksOff,
    LeavesOutTheLastChunk,
    ResetsMidBody,
}

impl Deed {
    /// Whether it begins an answer and does not end it.
    fn is_half(self) -> bool {
        matches!(
            self,
            Self::BreaksOff | Self::LeavesOutTheLastChunk | Self::ResetsMidBody
        )
    }

    fn script(self, body: &str) -> Script {
        let length = body.len();
        let known = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let (first, second) = body.split_at(length / 2);
        let script = Script::after_body();
        match self {
            Self::Answers => script.send(known + body),
            Self::AnswersInChunks => {
                let script = script.send(chunked).chunk(first).chunk(second);
                script.send("0\r\n\r\n")
            }
            Self::AnswersAndLeaves => script.send(known + body).close(),
            Self::Fails => reply(503).body("busy").into(),
            Self::HangsUp => script.close(),
            Self::Resets => script.reset(),
            Self::BreaksOff => script.send(known + first).close(),
            Self::LeavesOutTheLastChunk => script.send(chunked).chunk(first).chunk(second).close(),
            Self::ResetsMidBody => script.send(chunked).chunk(first).reset(),
        }
    }
}

fn chance(of: impl Hash) -> u64 {
    // Always the same: its keys are constant.
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn deed(seed: u64, name: &str, before: usize) -> Deed {
    match chance((seed, name, before)) % 20 {
        0 => Deed::Fails,
        1 => Deed::HangsUp,
        2 => Deed::Resets,
        3 => Deed::BreaksOff,
        4 => Deed::LeavesOutTheLastChunk,
        5 => Deed::ResetsMidBody,
        6..=8 => Deed::AnswersAndLeaves,
        9..=12 => Deed::AnswersInChunks,
        _ => Deed::Answers,
    }
}

/// What every service did with each request, by its name.
#[derive(Default)]
struct Deeds(Mutex<HashMap<String, Vec<Deed>>>);

impl Deeds {
    fn next(&self, seed: u64, name: &str) -> Deed {
        let mut deeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = deeds.entry(name.to_owned()).or_default();
        let deed = deed(seed, name, done.len());
        done.push(deed);
        deed
    }

    fn of(&self, name: &str) -> Vec<Deed> {
        let deeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        deeds.get(name).cloned().unwrap_or_default()
    }

    fn count(&self) -> usize {
        let deeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        deeds.values().map(Vec::len).sum()
    }
}

/// What the answer to the request of this name says: no other answer could be taken for it.
fn expected(name: &str) -> String {
    name.repeat(1 + usize::try_from(chance(name) % 40).unwrap_or_default())
}

/// What a client was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Whole,
    Error(u16),
    /// The answer broke off, and the client has seen that.
    BrokenOff,
    /// It broke off before the client had anything of it.
    Nothing,
}

async fn ask(connection: &mut Connection, method: &str, name: &str) -> Told {
    let call = Call::new(method, &format!("/{name}"));
    let body = match method {
        "GET" => RequestBody::whole(bytes::Bytes::new()),
        _ => RequestBody::whole(name.to_owned().into()),
    };
    let Ok(response) = connection.begin(&call, body).await else {
        return Told::Nothing;
    };
    match whole(response).await {
        Ok(answer) if answer.status == 200 => {
            assert_eq!(answer.text(), expected(name), "{method} {name}");
            Told::Whole
        }
        Ok(answer) => Told::Error(answer.status),
        Err(_) => Told::BrokenOff,
    }
}

fn check(seed: u64, method: &str, name: &str, told: &Told, done: &[Deed]) {
    let context =
        format!("seed {seed}: {method} {name}: {done:?}, and the client was told {told:?}");
    let most = match method {
        "POST" => 1,
        _ => 1 + RETRIES,
    };
    assert!(done.len() <= most, "{context}");
    let failed = matches!(told, Told::Error(502 | 503));
    let halves = done.iter().filter(|deed| deed.is_half()).count();
    match done.last() {
        // Once begun, an answer is never taken back.
        Some(last) if last.is_half() => {
            // A reset may overtake the head.
            let may_fail = *last == Deed::ResetsMidBody && failed;
            let broke_off = matches!(told, Told::BrokenOff | Told::Nothing);
            assert!(broke_off || may_fail, "{context}");
        }
        Some(Deed::HangsUp | Deed::Resets | Deed::Fails) | None => assert!(failed, "{context}"),
        Some(_) => assert_eq!(*told, Told::Whole, "{context}"),
    }
    let overtaken = done
        .iter()
        .filter(|deed| **deed == Deed::ResetsMidBody)
        .count();
    let is_last = usize::from(done.last().is_some_and(|last| last.is_half()));
    assert!(halves <= is_last + overtaken, "{context}");
}

async fn storm(seed: u64) -> [usize; 3] {
    let deeds = Arc::new(Deeds::default());
    let service = || {
        let deeds = Arc::clone(&deeds);
        Upstream::start(move |request| {
            let name = request.target.trim_start_matches('/');
            deeds.next(seed, name).script(&expected(name))
        })
    };
    let (services, gone) = ([service(), service(), service()], Refusing::default());
    let mut targets: Vec<&dyn Display> = services.iter().map(|it| it as &dyn Display).collect();
    if seed.is_multiple_of(3) {
        targets.push(&gone);
    }
    let retry = match seed % 2 {
        0 => format!(
            "retry = {{ retries = {RETRIES}, on = [\"connect-failure\", \"reset\"], statuses = [503], backoff = \"1ms\" }}"
        ),
        _ => String::new(),
    };
    let outlier = match seed % 5 {
        0 => {
            "outlier = { consecutive-5xx = 2, base-ejection-time = \"100ms\", max-ejected = \"50%\" }"
        }
        _ => "",
    };
    let tables = format!("retry-budget = \"20%\"\nretry-budget-min = 0\n{retry}\n{outlier}");
    let gateway = Gateway::with(fragment(&targets, &tables)).start().await;
    let address = gateway.address();
    let clients = (0..CLIENTS).map(|client| {
        tokio::spawn(async move {
            let mut connection = Connection::h1(address).await;
            let mut told = Vec::new();
            for number in 0..CALLS {
                let name = format!("{seed}-{client}-{number}.");
                let method = ["GET", "PUT", "POST"][(chance(&name) % 3) as usize];
                let answer = ask(&mut connection, method, &name).await;
                if answer != Told::Whole {
                    connection = Connection::h1(address).await;
                }
                told.push((method, name, answer));
            }
            told
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut counts = [0; 3];
    for client in clients {
        for (method, name, told) in client.await.expect("a client does not fail") {
            let done = deeds.of(&name);
            check(seed, method, &name, &told, &done);
            counts[0] += usize::from(done.len() > 1);
            counts[1] += usize::from(matches!(told, Told::BrokenOff | Told::Nothing));
            counts[2] += usize::from(matches!(told, Told::Error(_)));
        }
    }
    let all = (CLIENTS * CALLS) as usize;
    assert!(
        deeds.count() * 10 <= all * 12,
        "seed {seed}: {} of {all}",
        deeds.count()
    );
    let lines = eventually!(gateway.access_log().len(), |lines| *lines >= all);
    assert_eq!(lines, all, "seed {seed}: each is answered once");
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_nothing_is_done_twice_and_nothing_is_lost() {
    let mut sums = [0; 3];
    for seed in 0..SEEDS {
        for (sum, count) in sums.iter_mut().zip(storm(seed).await) {
            *sum += count;
        }
    }
    // A storm in which nothing happens shows nothing.
    let [repeated, broken_off, failed] = sums;
    assert!(
        repeated > 100 && broken_off > 100 && failed > 100,
        "{sums:?}"
    );
}

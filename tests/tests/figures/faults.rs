//! The same faults behind Postern, HAProxy and Envoy, each with what it has against them; `docs/reliability.md` has the
//! command and the results. Programs that are not there are left out.

#[path = "faults/gateways.rs"]
mod gateways;
#[path = "faults/service.rs"]
mod service;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postern_tests::{Call, Connection};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, timeout};

use gateways::{KINDS, Kind};
use service::{Mood, Service};

/// 500 calls a second, of which every fifth is an order.
const PACE: Duration = Duration::from_millis(2);
const ORDERS: usize = 5;
const BEFORE: Duration = Duration::from_secs(1);
const FAULT: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(2);
/// Clients wait no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// What happens to one service of three for a while.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Killed,
    Stopped,
    Slow,
    Failing,
    Resetting,
    ResettingMidBody,
}

const FAULTS: [Fault; 6] = [
    Fault::Killed,
    Fault::Stopped,
    Fault::Slow,
    Fault::Failing,
    Fault::Resetting,
    Fault::ResettingMidBody,
];

impl Fault {
    async fn begin(self, service: &mut Service) {
        match self {
            Self::Killed => service.kill(),
            Self::Stopped => service.stop(),
            Self::Slow => service.put_into(Mood::Slow).await,
            Self::Failing => service.put_into(Mood::Failing).await,
            Self::Resetting => service.put_into(Mood::Resetting).await,
            Self::ResettingMidBody => service.put_into(Mood::ResettingMidBody).await,
        }
    }

    async fn end(self, service: &mut Service) {
        match self {
            Self::Killed => service.start_again().await,
            Self::Stopped => service.go_on(),
            _ => service.put_into(Mood::Well).await,
        }
    }
}

/// What came of one call.
struct Called {
    is_order: bool,
    /// Since the beginning of the load.
    at: Duration,
    took: Duration,
    good: bool,
}

/// Connections that are idle.
type Idle = Arc<Mutex<Vec<Connection>>>;

async fn call(address: SocketAddr, idle: &Idle, call: &Call) -> Option<()> {
    let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut connection = match kept.filter(|connection| !connection.is_closed()) {
        Some(connection) => connection,
        None => Connection::over(TcpStream::connect(address).await.ok()?).await,
    };
    let answer = connection.try_call(call).await.ok()?;
    let is_kept = answer.header("connection").as_deref() != Some("close");
    if is_kept {
        idle.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }
    (answer.text() == service::BODY).then_some(())
}

/// Calls at a steady pace, whatever becomes of those before, until the other future has ended.
async fn load(address: SocketAddr, run: &str, script: impl Future<Output = ()>) -> Vec<Called> {
    let (idle, begun) = (Idle::default(), Instant::now());
    let (mut calls, mut ticks) = (Vec::new(), tokio::time::interval(PACE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut script = std::pin::pin!(script);
    loop {
        tokio::select! {
            due = ticks.tick() => {
                let number = calls.len();
                let is_order = number.is_multiple_of(ORDERS);
                let method = if is_order { "POST" } else { "GET" };
                let made = Call::new(method, &format!("/{run}-{number}")).body(if is_order { "order" } else { "" });
                let idle = Arc::clone(&idle);
                calls.push(tokio::spawn(async move {
                    // Since it was due: who is late must not make others look fast.
                    let due = due.into_std();
                    let called = timeout(PATIENCE, call(address, &idle, &made)).await;
                    let good = called.ok().flatten().is_some();
                    Called { is_order, at: due.saturating_duration_since(begun), took: due.elapsed(), good }
                }));
            }
            () = &mut script => break,
        }
    }
    let mut called = Vec::with_capacity(calls.len());
    for call in calls {
        called.push(call.await.expect("a call does not panic"));
    }
    called
}

/// One row of the table.
fn row(kind: Kind, fault: Fault, called: &[Called], twice: usize) -> String {
    let failed = |is_order: bool, late: bool| {
        let failed = called
            .iter()
            .filter(|call| !call.good && call.is_order == is_order);
        failed
            .filter(|call| (call.at >= BEFORE + Duration::from_secs(1)) == late)
            .count()
    };
    let good = called.iter().filter(|call| call.good);
    let mut times: Vec<Duration> = good.map(|call| call.took).collect();
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        let time = times.get(index).or(times.last()).copied();
        format!("{:.1}", time.unwrap_or_default().as_secs_f64() * 1e3)
    };
    format!(
        "| {fault:?} | {kind:?} | {} | {} / {} | {} / {} | {} | {} | {twice} |",
        called.len(),
        failed(false, false),
        failed(false, true),
        failed(true, false),
        failed(true, true),
        at(0.99),
        at(1.0),
    )
}

/// Orders that services got more than once.
fn twice(services: &[Service], run: &str) -> usize {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for service in services {
        for line in service.seen() {
            if line.starts_with(&format!("POST /{run}-")) {
                *counts.entry(line).or_default() += 1;
            }
        }
    }
    counts.values().filter(|count| **count > 1).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: it needs a quiet machine"]
async fn the_same_faults_behind_other_gateways() {
    let mut rows = Vec::new();
    for kind in KINDS {
        let mut services = Vec::new();
        for _ in 0..3 {
            services.push(Service::start().await);
        }
        let targets = [0, 1, 2].map(|number: usize| services[number].address());
        let Some(gateway) = kind.start(targets).await else {
            continue;
        };
        for fault in FAULTS {
            let run = format!("{kind:?}-{fault:?}");
            let faulty = &mut services[1];
            let script = async {
                tokio::time::sleep(BEFORE).await;
                fault.begin(faulty).await;
                tokio::time::sleep(FAULT).await;
                fault.end(faulty).await;
                tokio::time::sleep(AFTER).await;
            };
            let called = load(gateway.address(), &run, script).await;
            let row = row(kind, fault, &called, twice(&services, &run));
            println!("{row}");
            rows.push(row);
        }
    }
    rows.sort();
    println!(
        "\n| fault | gateway | calls | GET failed: first second / later | POST failed: first second / later | p99, ms | longest, ms | POST twice |\n\
         |---|---|---|---|---|---|---|---|\n{}",
        rows.join("\n")
    );
    let postern = rows.iter().filter(|row| row.contains("Postern"));
    for row in postern {
        assert!(row.ends_with("| 0 |"), "an order was given twice: {row}");
    }
}

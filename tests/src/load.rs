//! Requests without a pause, while something else happens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::client::{Answer, Call, Connection};

/// Clients that make the same calls again and again.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Report>>,
}

/// What clients saw.
#[derive(Debug, Default)]
pub struct Report {
    /// How many calls were answered.
    pub answered: usize,
    /// The first calls that failed, with what came instead.
    pub failures: Vec<String>,
    /// The longest time of a call.
    pub longest: Duration,
    /// The time of each call, in no order.
    times: Vec<Duration>,
}

impl Report {
    /// The time within which this share of the calls was answered.
    ///
    /// # Panics
    /// Without calls.
    #[must_use]
    pub fn quantile(&mut self, share: f64) -> Duration {
        let at = ((self.times.len() as f64 * share) as usize).min(self.times.len() - 1);
        *self.times.select_nth_unstable(at).1
    }
}

/// More than these are not told one by one.
const MAX_FAILURES: usize = 10;

impl Load {
    /// Starts as many clients, each with a connection of its own. `good` says whether an answer is as it should be.
    pub fn start(
        address: SocketAddr,
        clients: usize,
        calls: Vec<Call>,
        good: impl Fn(&Answer) -> bool + Clone + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            tokio::spawn(work(
                address,
                calls.clone(),
                good.clone(),
                Arc::clone(&stop),
            ))
        };
        Self {
            clients: (0..clients).map(client).collect(),
            stop: Arc::clone(&stop),
        }
    }

    /// Ends the calls and adds up what the clients saw.
    pub async fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Report::default();
        for client in self.clients {
            let report = client.await.expect("a client does not panic");
            all.answered += report.answered;
            all.failures.extend(report.failures);
            all.longest = all.longest.max(report.longest);
            all.times.extend(report.times);
        }
        all
    }
}

async fn work(
    address: SocketAddr,
    calls: Vec<Call>,
    good: impl Fn(&Answer) -> bool,
    stop: Arc<AtomicBool>,
) -> Report {
    let mut report = Report::default();
    let mut connection = Connection::h1(address).await;
    for call in calls.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        let failure = match connection.try_call(call).await {
            Ok(answer) if good(&answer) => {
                // It says that it takes no more requests (RFC 9112, 9.6).
                if answer.header("connection").as_deref() == Some("close") {
                    connection = Connection::h1(address).await;
                }
                None
            }
            Ok(answer) => Some(format!("{call:?}: {answer:?}")),
            Err(error) => {
                connection = Connection::h1(address).await;
                Some(format!("{call:?}: {error}"))
            }
        };
        let took = begun.elapsed();
        report.longest = report.longest.max(took);
        report.times.push(took);
        match failure {
            None => report.answered += 1,
            Some(failure) if report.failures.len() < MAX_FAILURES => report.failures.push(failure),
            Some(_) => {}
        }
    }
    report
}

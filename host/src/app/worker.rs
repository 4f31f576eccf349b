//! Workers: one thread each, with its own runtime, connections and plugin instances.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use super::services::WorkerUpstreams;
use crate::body::Arriving;
use crate::clock::Clock;
use crate::listener::{Acceptor, Handler, Listener, QuicAcceptor};
use crate::plugin;
use crate::proxy::{self, ExchangeBody, Snapshot, View};
use crate::shutdown::{DrainSignal, Tasks};
use crate::types::Peer;

/// How often it is seen to that there are connections before they are needed.
const WARM: Duration = Duration::from_secs(1);

/// The views of all workers: publishing a snapshot gives each a new one.
#[derive(Clone)]
pub(super) struct Views(Arc<[ArcSwap<View>]>);

impl Views {
    pub(super) fn new(snapshot: &Arc<Snapshot>, workers: usize) -> Self {
        Self(
            (0..workers)
                .map(|worker| ArcSwap::from_pointee(view(snapshot, worker)))
                .collect(),
        )
    }

    /// From here on, exchanges that begin are served by this snapshot.
    pub(super) fn publish(&self, snapshot: &Arc<Snapshot>) {
        for (worker, current) in self.0.iter().enumerate() {
            current.store(Arc::new(view(snapshot, worker)));
        }
    }
}

impl Views {
    /// The upstreams that serve now.
    pub(super) fn upstreams(&self) -> Arc<crate::upstream::Upstreams> {
        let view = self.0.first().expect("there is at least one worker").load();
        Arc::clone(&view.snapshot.upstreams)
    }
}

fn view(snapshot: &Arc<Snapshot>, worker: usize) -> View {
    let upstreams = Arc::clone(&snapshot.upstreams);
    let outbound = Arc::new(WorkerUpstreams { worker, upstreams });
    View {
        snapshot: Arc::clone(snapshot),
        worker: plugin::Worker {
            index: worker,
            outbound,
        },
    }
}

/// Serves requests on behalf of one worker.
#[derive(Clone)]
struct WorkerHandler {
    views: Views,
    index: usize,
    clock: Clock,
}

impl Handler for WorkerHandler {
    async fn handle(&self, request: Request<Arriving>, peer: Arc<Peer>) -> Response<ExchangeBody> {
        let view = self
            .views
            .0
            .get(self.index)
            .expect("there is a view for each worker")
            .load_full();
        proxy::handle(view, &self.clock, request, &peer).await
    }
}

/// What a worker is made of.
pub(super) struct WorkerPlan {
    pub(super) index: usize,
    /// Listeners that it accepts from, as they are opened.
    pub(super) listeners: mpsc::UnboundedReceiver<Arc<Listener>>,
    pub(super) views: Views,
    pub(super) clock: Clock,
    pub(super) drain: DrainSignal,
    pub(super) drain_timeout: Duration,
}

/// Starts a worker. Its thread ends when it has been drained.
pub(super) fn spawn(plan: WorkerPlan) -> std::io::Result<JoinHandle<std::io::Result<()>>> {
    std::thread::Builder::new()
        .name(format!("postern-worker-{}", plan.index))
        .spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work(plan))
        })
}

/// Keeps connections ready that requests will need, whoever comes or goes meanwhile.
async fn warm(views: Views, worker: usize) {
    loop {
        let upstreams = views.upstreams();
        upstreams.warm(worker).await;
        drop(upstreams);
        tokio::time::sleep(WARM).await;
    }
}

async fn work(plan: WorkerPlan) -> std::io::Result<()> {
    let WorkerPlan {
        index,
        mut listeners,
        views,
        clock,
        mut drain,
        drain_timeout,
    } = plan;
    let warming = tokio::spawn(warm(views.clone(), index));
    let handler = WorkerHandler {
        views,
        index,
        clock,
    };
    let tasks = Tasks::default();
    loop {
        let listener = tokio::select! {
            // What was opened before the drain has connections in its queue.
            biased;
            Some(listener) = listeners.recv() => listener,
            () = drain.draining() => break,
        };
        // The first worker serves HTTP/3 for all.
        let quic = (index == 0).then(|| QuicAcceptor::new(Arc::clone(&listener)));
        if let Some(quic) = quic.flatten() {
            let (serving, guard) = (quic.run(handler.clone(), drain_timeout), tasks.guard());
            tokio::spawn(async move {
                serving.await;
                drop(guard);
            });
        }
        let name = Arc::clone(listener.name());
        match Acceptor::new(listener) {
            Ok(acceptor) => {
                let (serving, guard) =
                    (acceptor.run(handler.clone(), drain_timeout), tasks.guard());
                tokio::spawn(async move {
                    serving.await;
                    drop(guard);
                });
            }
            Err(error) => {
                tracing::error!(worker = index, listener = %name, %error, "a worker does not accept connections");
            }
        }
    }
    tasks.finished().await;
    warming.abort();
    Ok(())
}

//! A world to try attempts in: its time passes when nobody has anything to do, and its services do what a seed says.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::{Either, select};

/// Time, and everybody who waits for it.
#[derive(Default)]
pub(super) struct Time {
    now: Cell<Duration>,
    sleepers: RefCell<BinaryHeap<Reverse<(Duration, u64)>>>,
    wakers: RefCell<BTreeMap<u64, Waker>>,
    next: Cell<u64>,
}

impl Time {
    pub(super) fn now(&self) -> Duration {
        self.now.get()
    }

    pub(super) async fn sleep(&self, time: Duration) {
        let until = self.now() + time;
        let number = self.next.get();
        self.next.set(number + 1);
        self.sleepers.borrow_mut().push(Reverse((until, number)));
        std::future::poll_fn(|cx| {
            if self.now() >= until {
                return Poll::Ready(());
            }
            self.wakers.borrow_mut().insert(number, cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(super) async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        match select(pin!(future), pin!(self.sleep(limit))).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(_) => None,
        }
    }

    /// Goes on to when the next sleeper wakes. Whether there was one.
    fn pass(&self) -> bool {
        let Some(Reverse((until, number))) = self.sleepers.borrow_mut().pop() else {
            return false;
        };
        self.now.set(self.now().max(until));
        if let Some(waker) = self.wakers.borrow_mut().remove(&number) {
            waker.wake();
        }
        true
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Runs tasks until all have ended; `check` is called after every step.
///
/// Panics when tasks are left that nothing will ever wake.
pub(super) fn run(time: &Rc<Time>, tasks: Vec<Task>, check: impl Fn()) {
    let mut tasks: Vec<(Task, Arc<Flag>)> = tasks
        .into_iter()
        .map(|task| (task, Arc::new(Flag(AtomicBool::new(true)))))
        .collect();
    loop {
        let mut is_idle = true;
        tasks.retain_mut(|(task, flag)| {
            if !flag.0.swap(false, Ordering::Relaxed) {
                return true;
            }
            is_idle = false;
            let waker = Waker::from(Arc::clone(flag));
            let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
            check();
            polled.is_pending()
        });
        if tasks.is_empty() {
            return;
        }
        assert!(
            !is_idle || time.pass(),
            "{} tasks wait for nothing",
            tasks.len()
        );
    }
}

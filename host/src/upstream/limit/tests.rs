use proptest::prelude::*;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;

fn limiter(max_requests: usize, max_queue: usize) -> Arc<Limiter> {
    Arc::new(Limiter::new(ConcurrencyConfig {
        max_requests,
        max_queue,
        queue_timeout: Duration::from_secs(1),
        adaptive: false,
        min_requests: 1,
    }))
}

fn permit(entry: Entry) -> Option<Permit> {
    match entry {
        Entry::Permit(permit) => Some(permit),
        Entry::Turn(_) | Entry::Full => None,
    }
}

fn turn(entry: Entry) -> Option<Turn> {
    match entry {
        Entry::Turn(turn) => Some(turn),
        Entry::Permit(_) | Entry::Full => None,
    }
}

#[test]
fn those_who_wait_are_called_in_their_order() {
    let limiter = limiter(1, 4);
    let first = permit(limiter.enter(Importance::Normal)).unwrap();
    let importances = [
        Importance::Low,
        Importance::Normal,
        Importance::High,
        Importance::Normal,
    ];
    let [mut low, mut normal, mut high, mut late] =
        importances.map(|importance| turn(limiter.enter(importance)).unwrap());
    assert_eq!(limiter.waiting(), 4);
    drop(first);
    for next in [&mut high, &mut normal, &mut late, &mut low] {
        let permit = next.try_recv().unwrap();
        assert_eq!(limiter.taken(), 1);
        drop(permit);
    }
    assert_eq!((limiter.taken(), limiter.waiting()), (0, 0));
}

#[test]
fn the_less_important_give_way_when_the_queue_is_full() {
    let limiter = limiter(1, 2);
    let _first = permit(limiter.enter(Importance::Low)).unwrap();
    let mut older = turn(limiter.enter(Importance::Low)).unwrap();
    let mut newer = turn(limiter.enter(Importance::Low)).unwrap();
    assert!(matches!(limiter.enter(Importance::Low), Entry::Full));
    let normal = turn(limiter.enter(Importance::Normal)).unwrap();
    assert!(
        matches!(newer.try_recv(), Err(TryRecvError::Closed)),
        "the last of them leaves"
    );
    assert!(matches!(older.try_recv(), Err(TryRecvError::Empty)));
    let high = turn(limiter.enter(Importance::High)).unwrap();
    assert!(matches!(older.try_recv(), Err(TryRecvError::Closed)));
    assert!(matches!(limiter.enter(Importance::Low), Entry::Full));
    assert_eq!(limiter.waiting(), 2);
    drop((normal, high));
}

#[test]
fn who_leaves_the_queue_makes_room() {
    let limiter = limiter(1, 1);
    let first = permit(limiter.enter(Importance::Normal)).unwrap();
    drop(turn(limiter.enter(Importance::Normal)).unwrap());
    let mut second = turn(limiter.enter(Importance::Normal)).unwrap();
    drop(first);
    assert!(second.try_recv().is_ok());
    drop(second);
    assert_eq!(
        limiter.taken(),
        0,
        "also a permit that nobody took is given back"
    );
}

#[test]
fn without_a_queue_there_is_room_or_not() {
    let limiter = limiter(2, 0);
    let _both = [(); 2].map(|()| permit(limiter.enter(Importance::Low)).unwrap());
    assert!(matches!(limiter.enter(Importance::High), Entry::Full));
}

/// Threads that come and go: never too many, and nobody is forgotten in the queue.
#[test]
fn threads_never_take_too_many_places_and_all_are_called() {
    let limiter = limiter(3, 100);
    let most = AtomicUsize::new(0);
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for index in 0..8_usize {
            let (limiter, most, inside) = (&limiter, &most, &inside);
            scope.spawn(move || {
                for round in 0..2_000 {
                    let importance = match (index + round) % 3 {
                        0 => Importance::Low,
                        1 => Importance::Normal,
                        _ => Importance::High,
                    };
                    let permit = match limiter.enter(importance) {
                        Entry::Permit(permit) => permit,
                        Entry::Turn(turn) if round % 7 == 0 => {
                            drop(turn);
                            continue;
                        }
                        Entry::Turn(turn) => turn.blocking_recv().unwrap(),
                        Entry::Full => panic!("there is room for all of them"),
                    };
                    most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, SeqCst);
                    drop(permit);
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
    assert_eq!(limiter.taken(), 0);
    drop(permit(limiter.enter(Importance::Low)).unwrap());
}

proptest! {
    /// Against a list: nobody is called while somebody more important, or as important and earlier, waits.
    #[test]
    fn the_queue_is_fair(steps in prop::collection::vec((0_usize..5, 0_usize..3), 1..200)) {
        const ALL: [Importance; 3] = [Importance::Low, Importance::Normal, Importance::High];
        let limiter = limiter(2, 5);
        let mut inside = Vec::new();
        let mut waiting: Vec<(usize, Turn)> = Vec::new();
        for (action, importance) in steps {
            match action {
                0 | 1 => {
                    inside.pop();
                }
                _ => match limiter.enter(ALL[importance]) {
                    Entry::Permit(permit) => {
                        prop_assert!(waiting.is_empty());
                        inside.push(permit);
                    }
                    Entry::Turn(turn) => waiting.push((importance, turn)),
                    Entry::Full => prop_assert!(waiting.iter().all(|(other, _)| *other >= importance)),
                },
            }
            let mut called = None;
            let mut left = Vec::new();
            for (importance, mut turn) in std::mem::take(&mut waiting) {
                match turn.try_recv() {
                    Ok(permit) => {
                        prop_assert!(called.is_none(), "one leaves, one is called");
                        called = Some(importance);
                        inside.push(permit);
                    }
                    Err(TryRecvError::Empty) => left.push((importance, turn)),
                    Err(TryRecvError::Closed) => {}
                }
            }
            if let Some(called) = called {
                prop_assert!(left.iter().all(|(other, _)| *other <= called));
            }
            waiting = left;
            prop_assert!(inside.len() <= 2 && waiting.len() <= 5);
            prop_assert_eq!(limiter.taken(), inside.len());
            prop_assert_eq!(limiter.waiting(), waiting.len());
            prop_assert!(waiting.is_empty() || inside.len() == 2, "nobody waits for nothing");
        }
    }
}

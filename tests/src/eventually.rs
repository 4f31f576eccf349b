//! Waiting for what happens elsewhere: with a deadline, and the last value in the message.

use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// How long a test waits for what must happen. `POSTERN_TEST_PATIENCE` (seconds) makes it longer on slow machines.
#[must_use]
pub fn patience() -> Duration {
    let seconds = std::env::var("POSTERN_TEST_PATIENCE")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(15))
}

/// Waits a moment before the next look.
pub async fn pause() {
    tokio::time::sleep(PAUSE).await;
}

/// Fails if something that must happen does not, within the harness' patience.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(patience(), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {:?}", patience()),
    }
}

/// Evaluates `value` until `holds` is true of it, and returns it. Panics with the last value when patience is over.
///
/// ```ignore
/// let log = eventually!(gateway.access_log(), |lines| lines.len() == 2);
/// ```
#[macro_export]
macro_rules! eventually {
    ($value:expr, $holds:expr) => {{
        let deadline = std::time::Instant::now() + $crate::eventually::patience();
        loop {
            let value = $value;
            if $crate::eventually::holds(&value, $holds) {
                break value;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "not within {:?}: {}\nlast value: {value:#?}",
                $crate::eventually::patience(),
                stringify!($holds),
            );
            $crate::eventually::pause().await;
        }
    }};
}

/// Tells the compiler the type of the macro's closure.
pub fn holds<T>(value: &T, holds: impl FnOnce(&T) -> bool) -> bool {
    holds(value)
}

//! What the service manager is told (sd_notify(3)). Without one, nobody is told anything.

use sd_notify::NotifyState;

/// We serve.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// We load a configuration; `ready` says when that is over, however it went.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "there is no monotonic clock"),
    }
}

/// We finish what has begun, and end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process serves in our place.
pub fn replaced_by(process: u32) {
    tell(&[NotifyState::MainPid(process), NotifyState::Ready]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

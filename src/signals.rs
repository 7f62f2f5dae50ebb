//! Ending: SIGTERM and SIGINT.

use tokio::signal::unix::{SignalKind, signal};

/// Returns when the process is told to end.
pub(crate) async fn terminated() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

//! The signals that end a server.
//!
//! What lives here: SIGTERM and SIGINT as a value. What must not: what stopping means. Invariant: the
//! first signal asks for an orderly stop; a second one ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Turns true at the first SIGTERM or SIGINT.
pub fn on_signal() -> watch::Receiver<bool> {
    let (send, receive) = watch::channel(false);
    tokio::spawn(async move {
        wait().await;
        tracing::info!("stopping: requests under way may end, a second signal cuts them");
        // Nobody listens any more: the process is ending anyway.
        let _ = send.send(true);
        wait().await;
        std::process::exit(i32::from(crate::exit::Part::Finding as u8));
    });
    receive
}

async fn wait() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without signal handlers the default action ends the process, which is a stop too.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

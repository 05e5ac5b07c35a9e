//! The signals by which a user or a supervisor ends the program.

use tokio::signal;

/// Ends at the first SIGINT, or SIGTERM where there is one, that comes after this call: neither
/// ends the program by itself from then on.
pub(super) fn interrupted() -> impl Future<Output = ()> {
    #[cfg(unix)]
    {
        use signal::unix::{SignalKind, signal};
        let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        async move {
            let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
                return std::future::pending().await;
            };
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
        }
    }
    #[cfg(not(unix))]
    async {
        if signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

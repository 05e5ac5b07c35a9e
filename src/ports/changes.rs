//! Word of changes in the store, whichever process made them.

use tokio::sync::watch;

/// Hears that the store may have changed. What is read after it was made, or after
/// [`Changes::next`], is followed by another `next` if it changes again.
#[derive(Debug)]
pub struct Changes(watch::Receiver<u64>);

impl Changes {
    /// Wraps a counter of changes; what it counted so far is known.
    pub fn new(mut counter: watch::Receiver<u64>) -> Self {
        counter.mark_unchanged();
        Self(counter)
    }

    /// Waits until the store may have changed. Never ends once the store is closed. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

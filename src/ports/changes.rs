//! Word of changes in the store, whichever process made them.

use tokio::sync::watch;

/// Hears that the store may have changed. What is read after it was made, or after
/// [`Changes::next`], is followed by another `next` if it changes again.
#[derive(Debug)]
pub struct Changes(watch::Receiver<()>);

impl Changes {
    /// Wraps what a store sends to at each change; what it has sent so far is known.
    pub fn new(mut word: watch::Receiver<()>) -> Self {
        word.mark_unchanged();
        Self(word)
    }

    /// Waits until the store may have changed. Never ends once the store is closed. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn is_heard(changes: &mut Changes) -> bool {
        changes.next().now_or_never().is_some()
    }

    #[test]
    fn what_changed_before_is_known_and_what_changes_later_is_heard_of_once() {
        let sender = watch::Sender::new(());
        let receiver = sender.subscribe();
        sender.send_replace(());
        let mut changes = Changes::new(receiver);
        assert!(!is_heard(&mut changes));
        sender.send_replace(());
        sender.send_replace(());
        assert!(is_heard(&mut changes));
        assert!(!is_heard(&mut changes));
    }

    #[test]
    fn of_a_closed_store_nothing_is_heard() {
        let sender = watch::Sender::new(());
        let mut changes = Changes::new(sender.subscribe());
        drop(sender);
        assert!(!is_heard(&mut changes));
    }
}

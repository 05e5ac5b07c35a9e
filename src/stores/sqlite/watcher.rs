//! The thread that sees the commits of every process, while somebody wants to know of them.
//!
//! `PRAGMA data_version` reads memory that the processes share; nothing is read from the disk.

use std::{
    fmt,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::watch;

use super::{
    database::{Database, Use, number},
    trouble::Trouble,
};
use crate::ports::{Changes, StoreError};

/// How often the thread looks; whoever waits for another process hears of it that much later.
const INTERVAL: Duration = Duration::from_millis(25);

/// The watching side of an open store.
pub(super) struct Watcher {
    orders: mpsc::Sender<Order>,
    word: Arc<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    /// Somebody wants to know.
    Look,
    Close,
}

/// What the thread knows.
struct Seat {
    database: Database,
    connection: Option<Connection>,
    version: Option<i64>,
}

impl Watcher {
    pub(super) fn start(database: &Database) -> Result<Self, StoreError> {
        let (orders, inbox) = mpsc::channel();
        let word = Arc::new(watch::Sender::new(()));
        let mut seat = Seat { database: database.clone(), connection: None, version: None };
        let thread = std::thread::Builder::new().name("store-watcher".to_owned());
        let told = Arc::clone(&word);
        let thread = thread.spawn(move || seat.run(&inbox, &told)).map_err(|error| {
            StoreError::Unavailable { action: "open", reason: error.to_string() }
        })?;
        Ok(Self { orders, word, thread: Some(thread) })
    }

    pub(super) fn changes(&self) -> Changes {
        let changes = Changes::new(self.word.subscribe());
        // A thread that is gone leaves a store that is closed.
        self.orders.send(Order::Look).ok();
        changes
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.orders.send(Order::Close).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Seat {
    fn run(&mut self, inbox: &mpsc::Receiver<Order>, word: &watch::Sender<()>) {
        while let Ok(Order::Look) = inbox.recv() {
            while word.receiver_count() > 0 {
                match inbox.recv_timeout(INTERVAL) {
                    Ok(Order::Look) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Ok(Order::Close) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
                if self.has_changed() {
                    word.send_replace(());
                }
            }
        }
    }

    /// Whether anybody committed since the last look, however long ago that was. What cannot be
    /// found out counts as a change.
    fn has_changed(&mut self) -> bool {
        let found = self.look();
        if found.is_err() {
            self.connection = None;
        }
        let version = found.ok();
        let has_changed = version.is_none() || version != self.version;
        self.version = version;
        has_changed
    }

    fn look(&mut self) -> Result<i64, Trouble> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.connect(Use::Read)?,
        };
        number(self.connection.insert(connection), "data_version")
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn seat(space: &TempDir) -> Seat {
        let database = Database::open(&space.path().join("store.db"), INTERVAL).unwrap();
        Seat { database, connection: None, version: None }
    }

    /// Whether the thread looks at the store when it is asked to.
    fn looks(is_watched: bool) -> bool {
        let space = TempDir::new().unwrap();
        let mut seat = seat(&space);
        let word = watch::Sender::new(());
        let _watcher = is_watched.then(|| word.subscribe());
        let (orders, inbox) = mpsc::channel();
        for order in [Order::Look, Order::Look, Order::Close] {
            orders.send(order).unwrap();
        }
        seat.run(&inbox, &word);
        seat.version.is_some()
    }

    #[test]
    fn it_looks_only_while_somebody_wants_to_know() {
        assert!(looks(true));
        assert!(!looks(false));
    }

    #[test]
    fn a_commit_is_one_change() {
        let space = TempDir::new().unwrap();
        let mut seat = seat(&space);
        let writer = seat.database.connect(Use::Write).unwrap();
        assert_eq!([seat.has_changed(), seat.has_changed()], [true, false]);
        writer.execute_batch("INSERT INTO plans VALUES ('plan', 1, '{}', NULL)").unwrap();
        assert_eq!([seat.has_changed(), seat.has_changed()], [true, false]);
    }

    #[test]
    fn a_store_that_cannot_be_looked_at_may_have_changed() {
        let space = TempDir::new().unwrap();
        let mut seat = seat(&space);
        std::fs::remove_file(space.path().join("store.db")).unwrap();
        assert_eq!([seat.has_changed(), seat.has_changed()], [true, true]);
    }
}

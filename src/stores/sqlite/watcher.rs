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
    counter: Arc<watch::Sender<u64>>,
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
        let counter = Arc::new(watch::Sender::new(0));
        let mut seat = Seat { database: database.clone(), connection: None, version: None };
        let thread = std::thread::Builder::new().name("store-watcher".to_owned());
        let told = Arc::clone(&counter);
        let thread = thread.spawn(move || seat.run(&inbox, &told)).map_err(|error| {
            StoreError::Unavailable { action: "open", reason: error.to_string() }
        })?;
        Ok(Self { orders, counter, thread: Some(thread) })
    }

    pub(super) fn changes(&self) -> Changes {
        let changes = Changes::new(self.counter.subscribe());
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
    fn run(&mut self, inbox: &mpsc::Receiver<Order>, counter: &watch::Sender<u64>) {
        while let Ok(Order::Look) = inbox.recv() {
            while counter.receiver_count() > 0 {
                match inbox.recv_timeout(INTERVAL) {
                    Ok(Order::Look) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Ok(Order::Close) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
                if self.has_changed() {
                    counter.send_modify(|it| *it += 1);
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

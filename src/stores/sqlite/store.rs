//! The store as the rest of the program sees it: queues in front of threads.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot};

use super::{
    database::{Database, Use, VERSION},
    glance::Glance,
    reader::Readers,
    trouble::{Trouble, closed},
    upkeep,
    watcher::Watcher,
    writer::{self, Commit, Order},
};
use crate::{
    model::{DispatchId, Millis},
    ports::{
        Answer, Changes, Committed, EndedDispatch, Journal, Query, Snapshot, StoreError,
        StoreUsage, Swept, Upkeep, Write,
    },
};

/// How long a commit waits for another process before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many commits may wait for the writer; more wait in front of the queue.
const QUEUED_COMMITS_MAX: usize = 1_024;

/// A store in a `SQLite` file.
///
/// Commits take effect in the order in which their futures are first polled. Dropping such a future
/// does not take the commit back. Dropping the store finishes the commits that were asked for, and
/// closes the file.
#[derive(Debug)]
pub struct SqliteStore {
    orders: mpsc::Sender<Order>,
    writer: Option<JoinHandle<()>>,
    places: Arc<Semaphore>,
    glance: Glance,
    readers: Readers,
    watcher: Watcher,
}

impl SqliteStore {
    /// The version of the tables.
    pub const SCHEMA_VERSION: i64 = VERSION;

    /// Opens the store in the file `path`, and makes it first where it is missing: the file with
    /// mode 0600, its directory with 0700, whatever the umask. Blocks.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, BUSY_TIMEOUT)
    }

    pub(super) fn open_with(path: &Path, busy_timeout: Duration) -> Result<Self, StoreError> {
        let database = Database::open(path, busy_timeout)?;
        let glance = Glance::start(&database).map_err(|it| it.to_error("open"))?;
        let readers = Readers::start(&database)?;
        let watcher = Watcher::start(&database)?;
        let connection = database.connect(Use::Write).map_err(|it| it.to_error("open"))?;
        let (orders, writer) = writer::start(database, connection).map_err(|error| {
            StoreError::Unavailable { action: "open", reason: error.to_string() }
        })?;
        let places = Arc::new(Semaphore::new(QUEUED_COMMITS_MAX));
        Ok(Self { orders, writer: Some(writer), places, glance, readers, watcher })
    }

    /// Runs `work` on the thread that writes.
    fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let orders = self.orders.clone();
        Box::pin(async move {
            let (answer, heard) = oneshot::channel();
            let order = Order::Work(Box::new(move |connection| {
                let done = work(connection);
                let is_in_doubt = done.as_ref().is_err_and(Trouble::is_in_doubt);
                // Whoever asked may have gone.
                answer.send(done.map_err(|it| it.to_error("write"))).ok();
                is_in_doubt
            }));
            orders.send(order).map_err(|_| closed("write"))?;
            heard.await.unwrap_or_else(|_| Err(closed("write")))
        })
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // The readers end after the writer: as long as one of them holds the log's index, what a
        // failed commit left in the log stays out of it.
        self.orders.send(Order::Close).ok();
        if let Some(writer) = self.writer.take() {
            writer.join().ok();
        }
    }
}

impl Journal for SqliteStore {
    fn commit(&self, writes: Arc<[Write]>) -> Answer<Committed> {
        let (orders, places) = (self.orders.clone(), Arc::clone(&self.places));
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(|_| closed("write"))?;
            let (answer, heard) = oneshot::channel();
            let order = Order::Commit(Commit { writes, answer, place });
            orders.send(order).map_err(|_| closed("write"))?;
            heard.await.unwrap_or_else(|_| Err(closed("write")))
        })
    }

    fn glance(&self, question: &mut dyn FnMut(&dyn Snapshot)) -> bool {
        self.glance.read(question)
    }

    fn read(&self, query: Query) {
        self.readers.read(query);
    }

    fn changes(&self) -> Changes {
        self.watcher.changes()
    }
}

impl Upkeep for SqliteStore {
    fn usage(&self) -> BoxFuture<'static, Result<StoreUsage, StoreError>> {
        self.readers.ask(upkeep::usage)
    }

    fn ended(
        &self,
        before: Millis,
        after: Option<(Millis, DispatchId)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<EndedDispatch>, StoreError>> {
        self.readers.ask(move |it| upkeep::ended(it, before, after, limit))
    }

    fn size_of(&self, dispatch: DispatchId) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.readers.ask(move |it| upkeep::size_of(it, dispatch))
    }

    fn forget(&self, dispatches: Vec<DispatchId>) -> BoxFuture<'static, Result<(), StoreError>> {
        self.work(move |it| upkeep::forget(it, &dispatches))
    }

    fn sweep(&self, plans_before: Millis) -> BoxFuture<'static, Result<Swept, StoreError>> {
        self.work(move |it| upkeep::sweep(it, plans_before))
    }

    fn shrink(&self) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.work(upkeep::shrink)
    }
}

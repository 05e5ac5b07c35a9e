//! Answers short questions where they are asked: the way to a reading thread and back takes longer
//! than they do.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rusqlite::{Connection, limits::Limit};

use super::{
    database::{Database, Use},
    snapshot::{Seen, SqliteSnapshot},
    trouble::Trouble,
};
use crate::ports::Snapshot;

/// How many instructions of the database's machine one look may take, in parts: under a
/// millisecond, for the caller is a thread on which others wait.
const PARTS_MAX: u32 = 40;
const PART_INSTRUCTIONS: i32 = 250;
/// A longer text is for the reading threads, in bytes.
const TEXT_BYTES_MAX: i32 = 64 * 1024;

/// A connection for looks that are soon over.
pub(super) struct Glance {
    database: Database,
    /// Held for one look. Whoever finds it taken goes to the reading threads. Empty after trouble.
    connection: Mutex<Option<Connection>>,
    /// What the look that goes on may still take.
    parts_left: Arc<AtomicU32>,
}

impl Glance {
    pub(super) fn start(database: &Database) -> Result<Self, Trouble> {
        let parts_left = Arc::default();
        let connection = Mutex::new(Some(connect(database, &parts_left)?));
        Ok(Self { database: database.without_waiting(), connection, parts_left })
    }

    /// Runs `question` on one snapshot; whether all that it asked was answered.
    pub(super) fn read(&self, question: &mut dyn FnMut(&dyn Snapshot)) -> bool {
        let Some(mut place) = self.connection.try_lock() else { return false };
        let opened = place.take().map(Ok);
        let opened = opened.unwrap_or_else(|| connect(&self.database, &self.parts_left));
        let Ok(connection) = opened else { return false };
        self.parts_left.store(PARTS_MAX, Ordering::Relaxed);
        // After a fault of who asks the connection is closed.
        let look = AssertUnwindSafe(|| {
            let snapshot = SqliteSnapshot::take(&connection)?;
            question(&snapshot);
            Ok::<_, Trouble>(snapshot.end())
        });
        let Ok(Ok(seen)) = catch_unwind(look) else { return false };
        if seen != Seen::InDoubt {
            *place = Some(connection);
        }
        seen == Seen::All
    }
}

fn connect(database: &Database, parts_left: &Arc<AtomicU32>) -> Result<Connection, Trouble> {
    let mut connection = database.connect(Use::Read)?;
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, TEXT_BYTES_MAX)?;
    let left = Arc::clone(parts_left);
    let is_spent = move || {
        let before = left.load(Ordering::Relaxed);
        left.store(before.saturating_sub(1), Ordering::Relaxed);
        before == 0
    };
    connection.progress_handler(PART_INSTRUCTIONS, Some(is_spent))?;
    Ok(connection)
}

impl fmt::Debug for Glance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Glance").field("parts_left", &self.parts_left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{
        ports::{Journal, StoreError},
        stores::{
            contract::{accepted, commit, id, output, task},
            sqlite::SqliteStore,
        },
    };

    type Store = Arc<dyn Journal>;

    async fn store() -> (tempfile::TempDir, Store) {
        let space = tempfile::TempDir::new().unwrap();
        let store: Store = Arc::new(SqliteStore::open(&space.path().join("store.db")).unwrap());
        commit(&store, vec![accepted(1, 2)]).await;
        (space, store)
    }

    /// Whether a short question is answered at once.
    fn is_quick(store: &Store) -> bool {
        let mut found = None;
        let is_answered = store.glance(&mut |it| found = Some(it.dispatch(id(1))));
        assert!(!is_answered || matches!(found, Some(Ok(Some(_)))));
        is_answered
    }

    #[tokio::test]
    async fn what_is_long_is_left_to_a_reading_thread() {
        let (_space, store) = store().await;
        let long = format!("\"{}\"", "x".repeat(100_000));
        commit(&store, vec![output(1, 0, &long), output(1, 1, "1")]).await;
        let is_whole = |at| store.glance(&mut |it| drop(it.outputs(id(1), &[task(at)])));
        assert_eq!([is_whole(0), is_whole(1)], [false, true]);
        let found = store.outputs(id(1), vec![task(0), task(1)]).await;
        assert_eq!(found, Ok(vec![Some(long), Some("1".to_owned())]));
        assert!(is_quick(&store));
    }

    #[tokio::test]
    async fn what_is_much_is_left_to_a_reading_thread() {
        let (_space, store) = store().await;
        commit(&store, vec![accepted(2, 5_000)]).await;
        let mut found = None;
        assert!(!store.glance(&mut |it| found = Some(it.tasks(id(2)))));
        assert!(matches!(found, Some(Err(StoreError::Unavailable { action: "read", .. }))));
        assert_eq!(store.tasks(id(2)).await.unwrap().len(), 5_000);
        assert!(is_quick(&store));
    }

    #[tokio::test]
    async fn a_look_within_a_look_and_one_after_a_fault_find_an_answer() {
        let (_space, store) = store().await;
        assert!(store.glance(&mut |_| assert!(!is_quick(&store))));
        assert!(!store.glance(&mut |_| panic!("a fault")));
        assert!(is_quick(&store));
    }
}

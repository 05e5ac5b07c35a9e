//! The database file: opening connections to it, and bringing its tables up to date.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{place, trouble::Trouble};
use crate::ports::StoreError;

/// How each version's tables are made from those of the version before.
const MIGRATIONS: [&str; 8] = [
    include_str!("schema.sql"),
    include_str!("migration_2.sql"),
    include_str!("migration_3.sql"),
    include_str!("migration_4.sql"),
    include_str!("migration_5.sql"),
    include_str!("migration_6.sql"),
    include_str!("migration_7.sql"),
    include_str!("migration_8.sql"),
];

/// The newest version that this program reads and writes.
pub(super) const VERSION: i64 = 8;

/// Up to this size an older store is rewritten once, so that it can give room back to the disk.
const REWRITE_PAGES_MAX: i64 = 16_384;

/// `pdsp`, in the header of our files.
const APPLICATION_ID: i64 = 0x7064_7370;

/// Before this version several processes could damage a database in WAL mode.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// A database file that is ours and up to date.
#[derive(Clone, Debug)]
pub(super) struct Database {
    path: PathBuf,
    busy_timeout: Duration,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    Read,
    Write,
}

impl Database {
    /// Makes the file if it is missing, and its tables.
    pub(super) fn open(path: &Path, busy_timeout: Duration) -> Result<Self, StoreError> {
        check_library(rusqlite::version_number())?;
        let (path, _lock) = place::prepare(path)?;
        let database = Self { path, busy_timeout };
        database.update().map_err(|it| it.to_error("open"))?;
        Ok(database)
    }

    /// The same file, for whoever has no time to wait for another process.
    pub(super) fn without_waiting(&self) -> Self {
        Self { path: self.path.clone(), busy_timeout: Duration::ZERO }
    }

    /// Opens a connection that has read once, so that it holds the index of the write-ahead log.
    pub(super) fn connect(&self, purpose: Use) -> Result<Connection, Trouble> {
        let connection = self.connect_raw()?;
        connection.execute_batch(match purpose {
            Use::Read => READER_SETTINGS,
            Use::Write => WRITER_SETTINGS,
        })?;
        match version(&connection)? {
            VERSION => Ok(connection),
            found => Err(StoreError::Version { found, known: VERSION }.into()),
        }
    }

    fn connect_raw(&self) -> Result<Connection, Trouble> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        // Else a LIMIT that is bound has a say in how a statement is run, which is compiled anew.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(connection)
    }

    fn update(&self) -> Result<(), Trouble> {
        let connection = self.connect_raw()?;
        if check_ours(&connection)? == Age::New {
            // It has to be said before anything is written.
            connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
        }
        let mode: String =
            connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0))?;
        if mode != "wal" {
            let reason = format!("its file system cannot share a write-ahead log ({mode})");
            return Err(StoreError::Unavailable { action: "open", reason }.into());
        }
        connection.execute_batch(WRITER_SETTINGS)?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let first = usize::try_from(version(&connection)?).unwrap_or(MIGRATIONS.len());
        for migration in MIGRATIONS.iter().skip(first) {
            connection.execute_batch(migration)?;
        }
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        connection.pragma_update(None, "user_version", VERSION)?;
        connection.execute_batch("COMMIT")?;
        if number(&connection, "auto_vacuum")? == 0
            && number(&connection, "page_count")? <= REWRITE_PAGES_MAX
        {
            // Where another process is in the way, the next start does it.
            connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM").ok();
        }
        Ok(())
    }
}

const READER_SETTINGS: &str = "
    PRAGMA query_only = ON;
    PRAGMA mmap_size = 0;
    PRAGMA temp_store = MEMORY;
";

/// The log is folded into the database about every 16 MB, and does not stay larger than 64 MB.
const WRITER_SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA mmap_size = 0;
    PRAGMA temp_store = MEMORY;
    PRAGMA foreign_keys = OFF;
    PRAGMA cache_size = -8000;
    PRAGMA wal_autocheckpoint = 4000;
    PRAGMA journal_size_limit = 67108864;
";

fn check_library(version: i32) -> Result<(), StoreError> {
    if version >= SQLITE_VERSION_MIN {
        return Ok(());
    }
    let reason = format!("SQLite {} is too old; 3.51.3 is needed", rusqlite::version());
    Err(StoreError::Unavailable { action: "open", reason })
}

/// Whether a store was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    New,
    Known,
}

/// Refuses a newer program's file, and one that another program made.
fn check_ours(connection: &Connection) -> Result<Age, Trouble> {
    let found = version(connection)?;
    let application = number(connection, "application_id")?;
    let n_tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if application == 0 && found == 0 && n_tables == 0 {
        return Ok(Age::New);
    }
    if application == APPLICATION_ID && (1..=VERSION).contains(&found) {
        return Ok(Age::Known);
    }
    Err(StoreError::Version { found, known: VERSION }.into())
}

fn version(connection: &Connection) -> Result<i64, Trouble> {
    number(connection, "user_version")
}

/// What a pragma that answers one number says.
pub(super) fn number(connection: &Connection, pragma: &str) -> Result<i64, Trouble> {
    Ok(connection.query_row(&format!("PRAGMA {pragma}"), (), |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    /// No test can cut the power; the settings that make a commit survive it can be looked at.
    #[test]
    fn every_commit_is_synced() {
        let space = tempfile::TempDir::new().unwrap();
        let database = Database::open(&space.path().join("store.db"), Duration::ZERO).unwrap();
        let writer = database.connect(Use::Write).unwrap();
        let setting = |name: &str| {
            let sql = format!("SELECT * FROM pragma_{name}");
            writer.query_row(&sql, (), |row| row.get::<_, rusqlite::types::Value>(0)).unwrap()
        };
        assert_eq!(setting("synchronous"), 2.into());
        assert_eq!(setting("journal_mode"), "wal".to_owned().into());
        assert_eq!(setting("application_id"), APPLICATION_ID.into());
        assert_eq!(setting("auto_vacuum"), 2.into());
    }

    #[test]
    fn the_store_of_an_older_program_is_brought_up_to_date() {
        let space = tempfile::TempDir::new().unwrap();
        let path = space.path().join("store.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(&format!("PRAGMA journal_mode = WAL; {}", MIGRATIONS[0])).unwrap();
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        let accept = "INSERT INTO dispatches (uuid, owner, status, created_at, n_tasks, meta) \
                      VALUES (x'01', x'02', 'running', 0, 1, '{}')";
        old.execute_batch(accept).unwrap();
        drop(old);
        let database = Database::open(&path, Duration::ZERO).unwrap();
        let writer = database.connect(Use::Write).unwrap();
        let epoch: i64 =
            writer.query_row("SELECT epoch FROM dispatches", (), |row| row.get(0)).unwrap();
        let settings = ["user_version", "auto_vacuum"].map(|it| number(&writer, it).unwrap());
        assert_eq!((epoch, settings), (1, [VERSION, 2]));
    }

    #[test]
    fn what_a_program_without_callers_left_belongs_to_nobody() {
        let space = tempfile::TempDir::new().unwrap();
        let path = space.path().join("store.db");
        let old = Connection::open(&path).unwrap();
        let tables = MIGRATIONS[..7].concat();
        old.execute_batch(&format!("PRAGMA journal_mode = WAL; {tables}")).unwrap();
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.pragma_update(None, "user_version", 7).unwrap();
        old.execute_batch(
            "INSERT INTO dispatches (uuid, owner, status, created_at, n_tasks, meta) \
             VALUES (x'01', x'02', 'running', 0, 1, '{}'); \
             INSERT INTO plans VALUES ('one', 1, '{}')",
        )
        .unwrap();
        drop(old);
        let database = Database::open(&path, Duration::ZERO).unwrap();
        let reader = database.connect(Use::Read).unwrap();
        for table in ["dispatches", "plans"] {
            let sql = format!("SELECT count(*) FROM {table} WHERE caller IS NULL");
            assert_eq!(reader.query_row(&sql, (), |row| row.get::<_, i64>(0)), Ok(1), "{table}");
        }
    }

    #[test]
    fn no_statement_is_compiled_again_for_what_is_bound() {
        let space = tempfile::TempDir::new().unwrap();
        let database = Database::open(&space.path().join("store.db"), Duration::ZERO).unwrap();
        for purpose in [Use::Read, Use::Write] {
            let connection = database.connect(purpose).unwrap();
            let sql = "SELECT body FROM records WHERE key > ?1 ORDER BY key LIMIT ?2";
            let mut statement = connection.prepare(sql).unwrap();
            for limit in [1, 100, 1] {
                assert!(!statement.exists((1, limit)).unwrap());
            }
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{purpose:?}");
        }
    }

    /// Else each page of one caller's list would read all dispatches of the others.
    #[test]
    fn the_lists_of_one_caller_are_read_from_an_index() {
        let made = Connection::open_in_memory().unwrap();
        made.execute_batch(&MIGRATIONS.concat()).unwrap();
        let lists = [
            (
                "SELECT meta FROM dispatches WHERE caller = ?3 AND uuid < ?1 \
                 ORDER BY uuid DESC LIMIT ?2",
                "SEARCH dispatches USING INDEX dispatches_by_caller (caller=? AND uuid<?)",
            ),
            (
                "SELECT id, at FROM plans WHERE caller = ?3 AND id < ?1 ORDER BY id DESC LIMIT ?2",
                "SEARCH plans USING INDEX plans_by_caller (caller=? AND id<?)",
            ),
        ];
        for (sql, wanted) in lists {
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            let plan: String = made.query_row(&sql, [1, 2, 3], |row| row.get("detail")).unwrap();
            assert_eq!(plan, wanted);
        }
    }

    #[test]
    fn a_store_is_rewritten_neither_when_it_is_made_nor_when_it_is_opened_again() {
        let schema_version = |it: &Connection| number(it, "schema_version").unwrap();
        let made = Connection::open_in_memory().unwrap();
        made.execute_batch(&MIGRATIONS.concat()).unwrap();
        let space = tempfile::TempDir::new().unwrap();
        for _ in 0..2 {
            let database = Database::open(&space.path().join("store.db"), Duration::ZERO).unwrap();
            let writer = database.connect(Use::Write).unwrap();
            // Rewriting counts as a change of the schema.
            assert_eq!(schema_version(&writer), schema_version(&made));
        }
    }

    #[test]
    fn a_link_that_took_the_place_of_the_file_is_not_followed() {
        let space = tempfile::TempDir::new().unwrap();
        let (path, moved) = (space.path().join("store.db"), space.path().join("moved.db"));
        let database = Database::open(&path, Duration::ZERO).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, &path).unwrap();
        assert!(database.connect(Use::Read).is_err());
    }

    #[test]
    fn a_library_that_damages_stores_is_refused() {
        assert_eq!(check_library(SQLITE_VERSION_MIN), Ok(()));
        assert!(check_library(SQLITE_VERSION_MIN - 1).is_err());
    }

    #[test]
    fn a_reader_cannot_write() {
        let space = tempfile::TempDir::new().unwrap();
        let database = Database::open(&space.path().join("store.db"), Duration::ZERO).unwrap();
        let reader = database.connect(Use::Read).unwrap();
        assert!(reader.execute_batch("DELETE FROM plans").is_err());
    }
}

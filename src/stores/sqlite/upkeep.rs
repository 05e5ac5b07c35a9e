//! Taking what is old out of the file, a little at a time.
//!
//! A dispatch is forgotten by moving its number to the table `forgotten`; from then on nobody finds
//! it. Its rows are swept later, a bounded number in one transaction.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{
    database::number,
    query::{all, one},
    row::{count, key, named, only, read_count, read_time},
    trouble::Trouble,
};
use crate::{
    model::{DispatchId, Millis},
    ports::{EndedDispatch, StoreUsage, Swept},
};

/// How many rows one transaction removes at most, and about how many bytes.
const ROWS_MAX: usize = 1_000;
const BYTES_MAX: u64 = 1 << 20;

/// How many pages one transaction gives back.
const PAGES_MAX: u32 = 128;

/// A table with rows for tasks or records: its name, the column of their keys, and what is large.
type Table = (&'static str, &'static str, &'static str);
const TABLES: [Table; 4] = [
    ("results", "output", "evidence"),
    ("tasks", "key", "failure_message"),
    ("outputs", "key", "json"),
    ("records", "key", "body"),
];

/// What one transaction may still remove.
struct Budget {
    rows: usize,
    bytes: u64,
}

impl Budget {
    fn new() -> Self {
        Self { rows: ROWS_MAX, bytes: BYTES_MAX }
    }

    fn is_spent(&self) -> bool {
        self.rows == 0 || self.bytes == 0
    }

    fn spend(&mut self, bytes: u64) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

pub(super) fn usage(connection: &Connection) -> Result<StoreUsage, Trouble> {
    let sql = "SELECT count(*) FROM dispatches WHERE ended_at IS NOT NULL";
    let n_ended = connection.query_row(sql, (), |row| row.get::<_, i64>(0))?;
    let read = |pragma| Ok::<_, Trouble>(number(connection, pragma)?.max(0).cast_unsigned());
    let (page, n_pages, n_free) =
        (read("page_size")?, read("page_count")?, read("freelist_count")?);
    Ok(StoreUsage {
        n_ended: usize::try_from(n_ended).unwrap_or(0),
        bytes_used: n_pages.saturating_sub(n_free).saturating_mul(page),
        bytes_taken: n_pages.saturating_mul(page),
    })
}

pub(super) fn ended(
    connection: &Connection,
    before: Millis,
    after: Option<(Millis, DispatchId)>,
    limit: usize,
) -> Result<Vec<EndedDispatch>, Trouble> {
    let sql = "SELECT uuid, status, created_at, ended_at, n_tasks, meta FROM dispatches \
               WHERE ended_at IS NOT NULL AND ended_at < ?1 AND (ended_at, uuid) > (?2, ?3) \
               ORDER BY ended_at, uuid LIMIT ?4";
    let (at, id) = match &after {
        Some((at, id)) => (ordered(*at), id.as_bytes().as_slice()),
        None => (i64::MIN, [].as_slice()),
    };
    all(connection, sql, params![ordered(before), at, id, count(limit)], ended_row)
}

pub(super) fn size_of(connection: &Connection, dispatch: DispatchId) -> Result<u64, Trouble> {
    let sql = "SELECT id FROM dispatches WHERE uuid = ?1";
    let Some(id) = one(connection, sql, [dispatch.as_bytes()], only::<i64>)? else { return Ok(0) };
    let sql = "SELECT coalesce(sum(octet_length(json)), 0) FROM documents WHERE dispatch = ?1";
    let mut bytes: i64 = connection.query_row(sql, [id], |row| row.get(0))?;
    for (table, key_column, large) in TABLES {
        // About what a row takes besides what is large in it.
        let sql = format!(
            "SELECT coalesce(sum(64 + coalesce(octet_length({large}), 0)), 0) FROM {table} \
             WHERE {key_column} BETWEEN ?1 AND ?2"
        );
        let range = [key(id, 0), key(id, u32::MAX)];
        bytes += connection.query_row(&sql, range, |row| row.get::<_, i64>(0))?;
    }
    Ok(bytes.max(0).cast_unsigned())
}

pub(super) fn forget(connection: &Connection, dispatches: &[DispatchId]) -> Result<(), Trouble> {
    in_transaction(connection, || {
        let sql = "SELECT id FROM dispatches WHERE uuid = ?1 AND status <> 'running'";
        let mut find = connection.prepare(sql)?;
        for dispatch in dispatches {
            let id = find.query_row([dispatch.as_bytes()], |row| row.get::<_, i64>(0));
            let Some(id) = id.optional()? else { continue };
            connection.execute("INSERT INTO forgotten (id) VALUES (?1)", [id])?;
            connection.execute("DELETE FROM dispatches WHERE id = ?1", [id])?;
        }
        Ok(())
    })
}

pub(super) fn sweep(connection: &Connection, plans_before: Millis) -> Result<Swept, Trouble> {
    in_transaction(connection, || {
        let mut budget = Budget::new();
        while !budget.is_spent() {
            let id = one(connection, "SELECT id FROM forgotten LIMIT 1", (), only::<i64>)?;
            let Some(id) = id else {
                let n_plans = sweep_plans(connection, plans_before, &mut budget)?;
                sweep_owners(connection, plans_before)?;
                return Ok(Swept { n_plans, is_done: !budget.is_spent() });
            };
            sweep_dispatch(connection, id, &mut budget)?;
        }
        Ok(Swept::default())
    })
}

/// Moves pages from the end of the file into free ones; at the end, empties the log into it.
pub(super) fn shrink(connection: &Connection) -> Result<bool, Trouble> {
    let n_free = number(connection, "freelist_count")?;
    // It answers a row for each page, and does no more than what is asked for.
    connection.pragma(None, "incremental_vacuum", PAGES_MAX, |_| Ok(()))?;
    let n_left = number(connection, "freelist_count")?;
    if n_left > 0 && n_left < n_free {
        return Ok(false);
    }
    // Most of the log is moved without a lock; for the rest nobody is made to wait.
    let busy_timeout = number(connection, "busy_timeout")?.max(0).cast_unsigned();
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))?;
    connection.busy_timeout(Duration::ZERO)?;
    let truncated = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
    connection.busy_timeout(Duration::from_millis(busy_timeout))?;
    // A log that somebody reads is left as it is, which is no error.
    truncated?;
    Ok(true)
}

fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce() -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let done = work().and_then(|it| Ok(connection.execute_batch("COMMIT").map(|()| it)?));
    if done.is_err() {
        // Where even this fails, SQLite has rolled back already, or the connection is dropped.
        connection.execute_batch("ROLLBACK").ok();
    }
    done
}

fn sweep_dispatch(connection: &Connection, id: i64, budget: &mut Budget) -> Result<(), Trouble> {
    for table in TABLES {
        if !clear(connection, table, id, budget)? {
            return Ok(());
        }
    }
    budget.spend(0);
    for sql in [
        "DELETE FROM documents WHERE dispatch = ?1",
        "DELETE FROM requests WHERE dispatch = ?1",
        "DELETE FROM forgotten WHERE id = ?1",
    ] {
        connection.execute(sql, [id])?;
    }
    Ok(())
}

/// Removes a dispatch's first rows of a table. Returns whether none is left.
fn clear(
    connection: &Connection,
    (table, key_column, large): Table,
    id: i64,
    budget: &mut Budget,
) -> Result<bool, Trouble> {
    let sql = format!(
        "SELECT {key_column}, coalesce(octet_length({large}), 0) FROM {table} \
         WHERE {key_column} BETWEEN ?1 AND ?2 ORDER BY {key_column}"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([key(id, 0), key(id, u32::MAX)])?;
    let mut last: Option<i64> = None;
    let mut is_empty = true;
    while let Some(row) = rows.next()? {
        if budget.is_spent() {
            is_empty = false;
            break;
        }
        last = Some(row.get(0)?);
        budget.spend(row.get::<_, i64>(1)?.max(0).cast_unsigned());
    }
    drop(rows);
    if let Some(last) = last {
        let sql = format!("DELETE FROM {table} WHERE {key_column} BETWEEN ?1 AND ?2");
        connection.execute(&sql, [key(id, 0), last])?;
    }
    Ok(is_empty)
}

fn sweep_plans(
    connection: &Connection,
    before: Millis,
    budget: &mut Budget,
) -> Result<usize, Trouble> {
    let sql = "SELECT id, octet_length(document) FROM plans WHERE at < ?1 ORDER BY at LIMIT ?2";
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
    let old = all(connection, sql, params![ordered(before), count(ROWS_MAX)], read)?;
    let mut n_plans = 0;
    for (id, bytes) in old {
        if budget.is_spent() {
            break;
        }
        connection.execute("DELETE FROM plans WHERE id = ?1", [id])?;
        budget.spend(bytes.max(0).cast_unsigned());
        n_plans += 1;
    }
    Ok(n_plans)
}

fn sweep_owners(connection: &Connection, before: Millis) -> Result<(), Trouble> {
    let sql = "DELETE FROM owners WHERE lease_until < ?1 AND id NOT IN \
               (SELECT owner FROM dispatches WHERE status = 'running')";
    connection.execute(sql, [ordered(before)])?;
    Ok(())
}

fn ended_row(row: &Row<'_>) -> Result<EndedDispatch, Trouble> {
    Ok(EndedDispatch {
        dispatch: DispatchId::from_bytes(row.get(0)?),
        status: named(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?,
        created_at: read_time(row.get(2)?),
        ended_at: read_time(row.get(3)?),
        n_tasks: read_count(row, 4)?,
        meta: row.get(5)?,
    })
}

/// A time that is compared with others; one past every calendar counts as the last.
fn ordered(at: Millis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with so many free pages at its end.
    fn with_free_pages(auto_vacuum: &str, n_pages: u32) -> (tempfile::TempDir, Connection) {
        let space = tempfile::TempDir::new().unwrap();
        let connection = Connection::open(space.path().join("it.db")).unwrap();
        let settings = format!("PRAGMA auto_vacuum = {auto_vacuum}; PRAGMA journal_mode = WAL");
        connection.execute_batch(&settings).unwrap();
        connection.execute_batch("CREATE TABLE it (large BLOB)").unwrap();
        let bytes = 4_000 * n_pages;
        connection.execute("INSERT INTO it VALUES (zeroblob(?1))", [bytes]).unwrap();
        connection.execute("DELETE FROM it", ()).unwrap();
        (space, connection)
    }

    fn n_free(connection: &Connection) -> i64 {
        number(connection, "freelist_count").unwrap()
    }

    #[test]
    fn room_is_given_back_in_steps_and_the_last_one_says_so() {
        let pages = i64::from(PAGES_MAX);
        let (_space, connection) = with_free_pages("INCREMENTAL", PAGES_MAX * 2);
        assert!((pages + 1..pages * 2).contains(&n_free(&connection)), "{}", n_free(&connection));
        assert!(!shrink(&connection).unwrap());
        assert!(shrink(&connection).unwrap());
        assert_eq!(n_free(&connection), 0);
        assert!(shrink(&connection).unwrap());
    }

    #[test]
    fn a_file_that_cannot_give_room_back_says_that_none_is_left() {
        let (_space, connection) = with_free_pages("NONE", 10);
        assert!(n_free(&connection) > 0);
        assert!(shrink(&connection).unwrap());
    }

    #[test]
    fn a_log_that_is_read_is_left_as_it_is() {
        let (space, connection) = with_free_pages("INCREMENTAL", 10);
        let reader = Connection::open(space.path().join("it.db")).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM it").unwrap();
        assert!(shrink(&connection).unwrap());
        let log = space.path().join("it.db-wal");
        assert!(log.metadata().unwrap().len() > 0);
        reader.execute_batch("COMMIT").unwrap();
        assert!(shrink(&connection).unwrap());
        assert_eq!(log.metadata().unwrap().len(), 0);
    }
}

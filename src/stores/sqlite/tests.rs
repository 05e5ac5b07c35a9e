//! What the store on disk promises beyond the common suite.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{SqliteStore, database::VERSION};
use crate::{
    model::{AgentName, DispatchStatus, Millis, TaskIdx, TaskStatus},
    ports::{Committed, Journal, Request, StoreError, Upkeep as _, Write, ask},
    stores::contract::{
        OWNER, accepted, commit, everything, id, journal_contract, kept, moved, output, record,
        seqs, started, took,
    },
};

journal_contract!({
    let space = TempDir::new().unwrap();
    let store = SqliteStore::open(&space.path().join("state/store.db")).unwrap();
    (space, store)
});

type Store = Arc<dyn Journal>;

fn open(path: &Path) -> Store {
    Arc::new(SqliteStore::open(path).unwrap())
}

fn space() -> (TempDir, PathBuf) {
    let space = TempDir::new().unwrap();
    let path = space.path().join("state/store.db");
    (space, path)
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// The modes of the state directory and of all files in it.
fn modes(dir: &Path) -> [u32; 5] {
    [".", "store.db", "store.db-wal", "store.db-shm", "store.lock"].map(|it| mode(&dir.join(it)))
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let (_space, path) = space();
    let store = open(&path);
    commit(&store, vec![accepted(1, 1), record(1, 1, kept(0))]).await;
    drop(store);
    let store = open(&path);
    assert_eq!(seqs(&store, 1, everything()).await, [1]);
    commit(&store, vec![record(1, 2, kept(0))]).await;
}

#[tokio::test]
async fn two_stores_on_one_file_write_and_see_each_other() {
    let (_space, path) = space();
    let (one, two) = (open(&path), open(&path));
    commit(&one, vec![accepted(1, 2)]).await;
    for seq in [1, 3, 5] {
        commit(&one, vec![record(1, seq, kept(0)), moved(1, 0, TaskStatus::Success)]).await;
        commit(&two, vec![record(1, seq + 1, kept(0)), moved(1, 1, TaskStatus::Error)]).await;
    }
    assert_eq!(seqs(&one, 1, everything()).await, [1, 2, 3, 4, 5, 6]);
    let row = two.dispatch(id(1)).await.unwrap().unwrap();
    assert_eq!((row.n_successful, row.n_unsuccessful), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_at_once_is_seen_as_of_one_moment() {
    let (_space, path) = space();
    let (one, two) = (open(&path), open(&path));
    commit(&one, vec![accepted(1, 1), record(1, 1, kept(0))]).await;
    let runtime = tokio::runtime::Handle::current();
    let seen = ask(&*one, move |it| {
        let before = it.records(id(1), &everything())?.len();
        let written = commit(&two, vec![record(1, 2, kept(0)), accepted(2, 1)]);
        // The thread that asks is one of the runtime's, which must not wait for it.
        std::thread::scope(|it| it.spawn(|| runtime.block_on(written)).join().unwrap());
        let after = it.records(id(1), &everything())?.len();
        Ok((before, after, it.dispatch(id(2))?.is_some()))
    });
    assert_eq!(seen.await.unwrap(), (1, 1, false));
    assert_eq!(seqs(&one, 1, everything()).await, [1, 2]);
}

#[tokio::test]
async fn a_fault_of_who_asks_takes_no_thread_from_the_others() {
    let (_space, path) = space();
    let store = open(&path);
    commit(&store, vec![accepted(1, 1)]).await;
    for _ in 0..5 {
        let faulty = ask(&*store, |it| {
            let there = it.dispatch(id(1))?;
            assert!(there.is_none(), "a fault");
            Ok(())
        });
        assert!(matches!(faulty.await, Err(StoreError::Unavailable { action: "read", .. })));
    }
    assert!(store.dispatch(id(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_commit_of_another_process_is_heard_of() {
    let (_space, path) = space();
    let (one, two) = (open(&path), open(&path));
    let mut changes = two.changes();
    for number in 1..=5 {
        commit(&one, vec![accepted(number, 1)]).await;
        let heard = async {
            while two.dispatch(id(number)).await.unwrap().is_none() {
                changes.next().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_forgotten_is_swept_in_short_steps_by_whoever_comes_next() {
    let (_space, path) = space();
    let store = SqliteStore::open(&path).unwrap();
    let status = DispatchStatus::Success;
    let end = Write::End { dispatch: id(1), status, at: Millis(1), critical_path: Millis(0) };
    store.commit(vec![accepted(1, 5_000), end].into()).await.unwrap();
    store.forget(vec![id(1)]).await.unwrap();
    assert!(!store.sweep(Millis(0)).await.unwrap().is_done);
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    // Its number is not given again while its rows stand.
    store.commit(vec![accepted(2, 3)].into()).await.unwrap();
    let mut n_steps = 1;
    while !store.sweep(Millis(0)).await.unwrap().is_done {
        n_steps += 1;
    }
    assert!(n_steps >= 5, "{n_steps} steps for 5,000 rows");
    assert_eq!(store.tasks(id(2)).await.unwrap().len(), 3);
    let reader = Connection::open(&path).unwrap();
    let n_rows: i64 = reader.query_row("SELECT count(*) FROM tasks", (), |row| row.get(0)).unwrap();
    assert_eq!(n_rows, 3);
}

#[test]
fn a_store_is_opened_by_many_at_once() {
    let (_space, path) = space();
    let stores: Vec<_> = std::thread::scope(|scope| {
        let opening: Vec<_> =
            (0..8).map(|_| scope.spawn(|| SqliteStore::open(&path).map(drop))).collect();
        opening.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(stores, vec![Ok(()); 8]);
}

#[test]
fn the_store_of_a_newer_program_is_refused_and_left_alone() {
    let (_space, path) = space();
    drop(open(&path));
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
    drop(connection);
    let refused = SqliteStore::open(&path).map(drop);
    assert_eq!(refused, Err(StoreError::Version { found: VERSION + 1, known: VERSION }));
}

/// What the first version of this program left behind.
const FIRST_VERSION: &str = concat!(
    include_str!("schema.sql"),
    "INSERT INTO dispatches (uuid, owner, status, created_at, n_tasks, last_seq, meta) VALUES \
       (x'00000000000000000000000000000001', x'00000000000000000000000000000007', 'running', \
        1000, 1, 1, '{}'); \
     INSERT INTO documents VALUES (1, '{\"number\":1}'); \
     INSERT INTO tasks (key, task_id, agent, status) VALUES (4294967296, 'task-0', 'coder', \
       'running'); \
     INSERT INTO records VALUES (4294967297, 1000, 0, 'attempt_started', \
       '{\"scheduler\":{\"event\":\"attempt_started\",\"task\":0,\"attempt\":1,\"deadline\":9000}}'); \
     INSERT INTO cancel_requests (dispatch, tasks, reason) VALUES (1, '[0]', 'größer'); \
     PRAGMA application_id = 1885631344; PRAGMA user_version = 1;",
);

#[tokio::test]
async fn a_store_of_the_first_version_moves_up_by_itself_and_keeps_its_data() {
    let (space, path) = space();
    fs::create_dir(space.path().join("state")).unwrap();
    Connection::open(&path).unwrap().execute_batch(FIRST_VERSION).unwrap();
    let store = open(&path);
    assert_eq!(store.document(id(1)).await, Ok(Some(r#"{"number":1}"#.to_owned())));
    assert_eq!(store.tasks(id(1)).await.unwrap()[0].row.status, TaskStatus::Running);
    assert_eq!(store.records(id(1), everything()).await.unwrap()[0].body, started(0));
    assert_eq!(store.durations(vec![AgentName::new("coder")]).await, Ok(Vec::new()));
    let requests = store.requests(OWNER).await.unwrap();
    let (tasks, reason) = (vec![TaskIdx::from_usize(0)], "größer".to_owned());
    assert_eq!(requests[0].request, Request::Cancel { tasks, reason });
    commit(&store, vec![record(1, 2, kept(0)), took("Effect", 8, (1, 500))]).await;
    drop(store);
    let version: i64 = Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA user_version", (), |row| row.get(0))
        .unwrap();
    assert_eq!(version, VERSION);
    assert_eq!(open(&path).durations(vec![AgentName::new("coder")]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn samples_of_two_processes_come_together() {
    let (_space, path) = space();
    let (one, two) = (open(&path), open(&path));
    for at in 1..=5 {
        commit(&one, vec![took("Effect", 8, (at, 100))]).await;
        commit(&two, vec![took("Effect", 8, (at, 100))]).await;
    }
    let found = one.durations(vec![AgentName::new("coder")]).await.unwrap();
    assert_eq!(found[0].1.n_samples(), 10);
}

#[tokio::test]
async fn a_histogram_that_cannot_be_read_fails_no_commit() {
    let (_space, path) = space();
    let store = open(&path);
    commit(&store, vec![took("Effect", 8, (1, 100))]).await;
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("UPDATE durations SET histogram = 'garbage'").unwrap();
    commit(&store, vec![took("Effect", 8, (2, 100))]).await;
    let found = store.durations(vec![AgentName::new("coder")]).await.unwrap();
    assert_eq!(found[0].1.n_samples(), 1);
}

#[test]
fn the_database_of_another_program_is_refused() {
    let (space, path) = space();
    fs::create_dir(space.path().join("state")).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE theirs (it TEXT)").unwrap();
    let refused = SqliteStore::open(&path).map(drop);
    assert_eq!(refused, Err(StoreError::Version { found: 0, known: VERSION }));
    let n_tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).unwrap();
    assert_eq!(n_tables, 1);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let (space, path) = space();
    fs::create_dir(space.path().join("state")).unwrap();
    fs::write(&path, "this is a text about something else ".repeat(100)).unwrap();
    let refused = SqliteStore::open(&path).map(drop);
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
}

#[tokio::test]
async fn files_are_private_whatever_was_there_before() {
    let (space, path) = space();
    let dir = space.path().join("state");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let store = open(&path);
    commit(&store, vec![accepted(1, 1)]).await;
    assert_eq!(modes(&dir), [0o700, 0o600, 0o600, 0o600, 0o600]);
}

#[tokio::test]
async fn a_new_store_is_private() {
    let (space, path) = space();
    let store = open(&path);
    commit(&store, vec![accepted(1, 1)]).await;
    let dir = space.path().join("state");
    assert_eq!(modes(&dir), [0o700, 0o600, 0o600, 0o600, 0o600]);
}

/// The test of modes once more, in a process that would let everybody in, or nobody.
#[test]
fn e2e_modes_do_not_depend_on_the_umask() {
    let test = "stores::sqlite::tests::a_new_store_is_private";
    for umask in ["000", "277"] {
        let script = format!("umask {umask}; exec \"$0\" --exact {test}");
        let mut shell = std::process::Command::new("sh");
        let ended =
            shell.args(["-c", &script]).arg(std::env::current_exe().unwrap()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.contains("1 passed"), "umask {umask}: {said}");
    }
}

#[test]
fn a_directory_that_others_use_keeps_its_mode() {
    let space = TempDir::new().unwrap();
    fs::set_permissions(space.path(), Permissions::from_mode(0o755)).unwrap();
    fs::write(space.path().join("theirs"), "").unwrap();
    let path = space.path().join("store.db");
    drop(open(&path));
    assert_eq!((mode(space.path()), mode(&path)), (0o755, 0o600));
}

#[test]
fn a_link_in_place_of_the_file_is_refused() {
    let (space, path) = space();
    fs::create_dir(space.path().join("state")).unwrap();
    let theirs = space.path().join("theirs");
    fs::write(&theirs, "").unwrap();
    fs::set_permissions(&theirs, Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(&theirs, &path).unwrap();
    let refused = SqliteStore::open(&path).map(drop);
    assert!(matches!(refused, Err(StoreError::Unavailable { action: "open", .. })));
    assert_eq!((mode(&theirs), theirs.metadata().unwrap().len()), (0o644, 0));
}

#[tokio::test]
async fn a_place_that_cannot_be_made_is_said_and_works_once_it_can() {
    let (space, path) = space();
    let in_the_way = space.path().join("state");
    fs::write(&in_the_way, "").unwrap();
    let refused = SqliteStore::open(&path).map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { action: "open", .. }), "{refused:?}");
    assert!(refused.to_string().contains("state/store.db"), "{refused}");
    fs::remove_file(&in_the_way).unwrap();
    commit(&open(&path), vec![accepted(1, 1)]).await;
}

#[tokio::test]
async fn a_store_that_another_process_holds_is_unavailable_until_it_lets_go() {
    let (_space, path) = space();
    let store: Store = Arc::new(SqliteStore::open_with(&path, Duration::from_millis(20)).unwrap());
    commit(&store, vec![accepted(1, 1)]).await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.commit(vec![accepted(2, 1)].into()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { action: "write", .. })));
    assert!(store.dispatch(id(1)).await.unwrap().is_some());
    other.execute_batch("ROLLBACK").unwrap();
    commit(&store, vec![accepted(2, 1)]).await;
}

/// Holds the writer lock so that the commits after the first are one group.
#[tokio::test]
async fn a_bad_commit_fails_no_other_of_its_group() {
    let (_space, path) = space();
    let store = open(&path);
    commit(&store, vec![accepted(1, 1)]).await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let spawn = |writes: Vec<Write>| tokio::spawn(store.commit(writes.into()));
    let mut answers = vec![spawn(vec![accepted(2, 1)])];
    answers.push(spawn(vec![record(1, 1, kept(0))]));
    answers.push(spawn(vec![output(1, 0, "lost"), record(1, 9, kept(0))]));
    answers.push(spawn(vec![record(1, 2, kept(0))]));
    tokio::task::yield_now().await;
    other.execute_batch("ROLLBACK").unwrap();
    let mut are_ok = Vec::new();
    for answer in answers {
        are_ok.push(answer.await.unwrap() == Ok(Committed::default()));
    }
    assert_eq!(are_ok, [true, true, false, true]);
    assert_eq!(seqs(&store, 1, everything()).await, [1, 2]);
    let task = TaskIdx::from_usize(0);
    assert_eq!(store.outputs(id(1), vec![task]).await, Ok(vec![None]));
}

#[tokio::test]
async fn a_closed_store_answers_what_was_asked_and_then_says_so() {
    let (_space, path) = space();
    let store = SqliteStore::open(&path).unwrap();
    let late = store.commit(vec![accepted(2, 1)].into());
    let read = store.recent(None, None, 1);
    let asked = tokio::spawn(store.commit(vec![accepted(1, 1)].into()));
    tokio::task::yield_now().await;
    drop(store);
    assert_eq!(asked.await.unwrap(), Ok(Committed::default()));
    assert!(matches!(late.await, Err(StoreError::Unavailable { action: "write", .. })));
    assert!(read.await.is_ok());
}

/// The last connection that is closed takes the log with it: so none is left open by then.
#[tokio::test]
async fn a_closed_store_leaves_no_thread_behind() {
    let (_space, path) = space();
    for number in 1..=10 {
        let store = open(&path);
        // Who asks a second time makes the watcher look at once.
        let _changes = [store.changes(), store.changes()];
        commit(&store, vec![accepted(number, 1)]).await;
        drop(store);
        assert!(!path.with_extension("db-wal").exists(), "round {number}");
    }
}

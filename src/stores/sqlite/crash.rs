//! Processes that die, and disks that fill: this test binary starts itself as the victim.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use tempfile::TempDir;

use super::SqliteStore;
use crate::{
    ports::{Journal, StoreError},
    stores::contract::{accepted, commit, everything, id, kept, output, record, seqs},
};

/// Where the victim finds its store; a test run without it is not a victim.
const STORE_VAR: &str = "PARALLEL_DISPATCH_TEST_STORE";

/// How many records the victim asks for at once.
const IN_FLIGHT: u128 = 4;

pub(super) fn victims_store() -> Option<PathBuf> {
    std::env::var_os(STORE_VAR).map(PathBuf::from)
}

pub(super) fn start(command: &mut Command, victim: &str, store: &Path) -> Child {
    command
        .args(["--exact", &format!("stores::sqlite::{victim}"), "--nocapture"])
        .env(STORE_VAR, store)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

pub(super) fn this_binary() -> OsString {
    std::env::current_exe().unwrap().into_os_string()
}

/// Commits until it is killed, and prints what was answered: `dispatch seq`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_victim_that_writes() {
    let Some(path) = victims_store() else { return };
    let store: Arc<dyn Journal> = Arc::new(SqliteStore::open(&path).unwrap());
    let mut writers = tokio::task::JoinSet::new();
    for number in 1..=IN_FLIGHT {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut seq = seqs(&store, number, everything()).await.len() as u64;
            if store.dispatch(id(number)).await.unwrap().is_none() {
                commit(&store, vec![accepted(number, 1)]).await;
            }
            loop {
                seq += 1;
                commit(&store, vec![record(number, seq, kept(0))]).await;
                println!("\nanswered {number} {seq}");
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test]
async fn crash_loses_nothing_that_was_answered() {
    let space = TempDir::new().unwrap();
    let path = space.path().join("store.db");
    let mut last = [0; IN_FLIGHT as usize];
    for _ in 0..20 {
        let mut child =
            start(&mut Command::new(this_binary()), "crash::crash_victim_that_writes", &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut n_answered = 0;
        while let Some(Ok(line)) = lines.next() {
            n_answered += u32::from(note(&line, &mut last));
            if n_answered == 40 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(n_answered >= 40, "the victim died by itself");
        let store: Arc<dyn Journal> = Arc::new(SqliteStore::open(&path).unwrap());
        for (number, last) in (1..).zip(last) {
            let found = seqs(&store, number, everything()).await;
            assert!(found.len() as u64 >= last, "{number}: {last} answered, {found:?} found");
            assert!(found.iter().copied().eq(1..=found.len() as u64), "{found:?}");
        }
    }
}

/// Notes an answered record; the last line of a killed process may be cut.
fn note(line: &str, last: &mut [u64]) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    let ["answered", number, seq] = words[..] else { return false };
    let (Ok(number), Ok(seq)) = (number.parse::<usize>(), seq.parse()) else { return false };
    last[number - 1] = seq;
    true
}

/// Runs where no file may grow past a limit, which is how a full disk looks.
#[tokio::test]
async fn e2e_victim_on_a_full_disk() {
    let Some(path) = victims_store() else { return };
    let store: Arc<dyn Journal> = Arc::new(SqliteStore::open(&path).unwrap());
    commit(&store, vec![accepted(1, 2), output(1, 0, "1"), record(1, 1, kept(0))]).await;
    for seq in 2..=5 {
        let large = vec![output(1, 1, &"x".repeat(4_000_000)), record(1, seq, kept(0))];
        let small = store.commit(vec![accepted(u128::from(seq), 1)].into());
        let (large, small) = tokio::join!(store.commit(large.into()), small);
        assert!(matches!(large, Err(StoreError::Unavailable { action: "write", .. })), "{large:?}");
        assert!(small.is_ok(), "{small:?}");
        commit(&store, vec![record(1, seq, kept(0))]).await;
        assert_eq!(seqs(&store, 1, everything()).await.len() as u64, seq);
    }
    println!("\nsurvived");
}

#[tokio::test]
async fn e2e_a_full_disk_fails_only_what_does_not_fit() {
    let space = TempDir::new().unwrap();
    let path = space.path().join("store.db");
    let mut shell = Command::new("sh");
    // Blocks of 512 bytes: 1 MB. Without the trap the signal would end the process.
    shell.args(["-c", r#"trap "" XFSZ; ulimit -f 2000; exec "$0" "$@""#]).arg(this_binary());
    let child = start(&mut shell, "crash::e2e_victim_on_a_full_disk", &path);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("survived"), "{said}");
    let store: Arc<dyn Journal> = Arc::new(SqliteStore::open(&path).unwrap());
    assert_eq!(seqs(&store, 1, everything()).await, [1, 2, 3, 4, 5]);
}

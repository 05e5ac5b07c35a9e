//! Disks that lose, cut, spoil or refuse: what was answered is there, and nothing is made up.
//!
//! The files of a store that is open are copied in this process, which drops the locks that the
//! process holds on them (POSIX): nobody else is there to need them.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rusqlite::Connection;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use super::{
    SqliteStore,
    crash::{start, this_binary, victims_store},
};
use crate::{
    model::TaskIdx,
    ports::{Journal, StoreError, Write},
    stores::contract::{accepted, commit, everything, id, kept, output, record, seqs},
};

type Store = Arc<dyn Journal>;

/// What a disk is written in at once.
const SECTOR: usize = 512;
const PAGE: usize = 4_096;

fn open(path: &Path) -> Store {
    Arc::new(SqliteStore::open(path).unwrap())
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

/// The files of a store as they are now. The index of the log is not among them: it lives in
/// memory, and is made anew after a crash.
struct Remains {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl Remains {
    fn of(path: &Path) -> Self {
        let log = fs::read(log_of(path)).unwrap_or_default();
        Self { database: fs::read(path).unwrap(), log }
    }

    /// Opens the store that the disk has kept.
    fn open(&self, log: &[u8]) -> (TempDir, Store) {
        let space = TempDir::new().unwrap();
        let path = space.path().join("store.db");
        fs::write(&path, &self.database).unwrap();
        fs::write(log_of(&path), log).unwrap();
        let store = open(&path);
        (space, store)
    }
}

/// A store of one dispatch with so many records, a commit each, and the log's length after each.
async fn written(path: &Path, n_commits: u64) -> Vec<usize> {
    let store = open(path);
    commit(&store, vec![accepted(1, 1)]).await;
    let mut lengths = vec![Remains::of(path).log.len()];
    for seq in 1..=n_commits {
        let writes = vec![output(1, 0, &format!("\"{seq}\"")), record(1, seq, kept(0))];
        commit(&store, writes).await;
        lengths.push(Remains::of(path).log.len());
    }
    lengths
}

/// Checks that the first `n_kept` commits of [`written`], and no others, are there and whole.
async fn check_written(store: &Store, n_kept: usize, context: &str) {
    let Some(n_records) = n_kept.checked_sub(1) else {
        assert_eq!(store.dispatch(id(1)).await, Ok(None), "{context}");
        return commit(store, vec![accepted(1, 1)]).await;
    };
    let found = seqs(store, 1, everything()).await;
    assert_eq!(found, (1..=n_records as u64).collect::<Vec<_>>(), "{context}");
    let last = (n_records > 0).then(|| format!("\"{n_records}\""));
    assert_eq!(store.outputs(id(1), vec![TaskIdx::from_usize(0)]).await, Ok(vec![last]));
    commit(store, vec![record(1, n_records as u64 + 1, kept(0))]).await;
}

#[tokio::test]
async fn a_log_cut_anywhere_holds_every_commit_before_the_cut() {
    let space = TempDir::new().unwrap();
    let path = space.path().join("store.db");
    let store = open(&path);
    let lengths = written(&path, 2).await;
    let remains = Remains::of(&path);
    assert_eq!(lengths.last(), Some(&remains.log.len()));
    drop(store);
    for cut in (0..=remains.log.len()).step_by(SECTOR).chain(lengths.iter().copied()) {
        let (_space, store) = remains.open(&remains.log[..cut]);
        let n_kept = lengths.iter().filter(|it| **it <= cut).count();
        check_written(&store, n_kept, &format!("cut at {cut} of {lengths:?}")).await;
    }
}

#[tokio::test]
async fn a_last_commit_with_a_lost_sector_takes_no_other_with_it() {
    let space = TempDir::new().unwrap();
    let path = space.path().join("store.db");
    let store = open(&path);
    let lengths = written(&path, 2).await;
    let remains = Remains::of(&path);
    drop(store);
    let last = lengths[lengths.len() - 2]..remains.log.len();
    for (at, fill) in last.clone().step_by(SECTOR).flat_map(|it| [(it, 0), (it, 0xa5)]) {
        let mut log = remains.log.clone();
        let end = last.end.min(at + SECTOR);
        log[at..end].fill(fill);
        if log == remains.log {
            continue;
        }
        let (_space, store) = remains.open(&log);
        check_written(&store, lengths.len() - 1, &format!("{at}..{end} of {last:?}")).await;
    }
}

/// xorshift64, seeded: the same on every machine.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// All that was answered: how many records each dispatch has, and the outputs of its tasks.
#[derive(Default)]
struct Answered {
    records: BTreeMap<u128, u64>,
    outputs: BTreeMap<(u128, usize), String>,
}

const TASKS: u64 = 4;

impl Answered {
    /// A commit about some of the dispatches, or about new ones.
    fn next(&mut self, rng: &mut Rng) -> Vec<Write> {
        let mut writes = Vec::new();
        for _ in 0..=rng.below(4) {
            let number = 1 + u128::from(rng.below(12));
            let seq = self.records.entry(number).or_insert_with(|| {
                writes.push(accepted(number, usize::try_from(TASKS).unwrap()));
                0
            });
            *seq += 1;
            writes.push(record(number, *seq, kept(0)));
            let at = usize::try_from(rng.below(TASKS)).unwrap();
            let text = rng.below(10).to_string().repeat(usize::try_from(rng.below(3_000)).unwrap());
            let json = format!("\"{text}\"");
            writes.push(output(number, at, &json));
            self.outputs.insert((number, at), json);
        }
        writes
    }

    async fn check(&self, store: &Store) {
        for (number, last) in &self.records {
            assert!(seqs(store, *number, everything()).await.into_iter().eq(1..=*last));
        }
        for ((number, at), json) in &self.outputs {
            let found = store.outputs(id(*number), vec![TaskIdx::from_usize(*at)]).await;
            assert_eq!(found, Ok(vec![Some(json.clone())]));
        }
    }
}

/// Takes the files as they stand at the moment of an answer, a part of what came after, and looks
/// what a machine without power would find.
#[tokio::test]
async fn without_power_nothing_that_was_answered_is_lost() {
    let space = TempDir::new().unwrap();
    let path = space.path().join("store.db");
    let store = open(&path);
    let folding = Connection::open(&path).unwrap();
    let (mut rng, mut answered) = (Rng(0x5eed), Answered::default());
    for _ in 0..200 {
        let writes = answered.next(&mut rng);
        commit(&store, writes).await;
        let remains = Remains::of(&path);
        // Of the sector that the disk was at when the power went, anything may be there.
        let mut log = remains.log.clone();
        log.resize(log.len() + usize::try_from(rng.below(2_000)).unwrap(), 0xa5);
        let (_space, found) = remains.open(&log);
        answered.check(&found).await;
        if rng.below(20) == 0 {
            folding.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(())).unwrap();
        }
    }
}

/// What a reader of a spoilt store is told; never anything that was not written.
async fn read_spoilt(path: &Path, expected: &[u64]) -> Option<()> {
    let store: Store = Arc::new(SqliteStore::open(path).ok()?);
    let said = |error: &StoreError| assert!(!error.to_string().contains("closed"), "{error}");
    store.open_dispatches().await.inspect_err(said).ok();
    store.overview(id(1)).await.inspect_err(said).ok();
    store.outputs(id(1), vec![TaskIdx::from_usize(0)]).await.inspect_err(said).ok();
    store.commit(vec![accepted(2, 1)].into()).await.inspect_err(said).ok();
    let records = store.records(id(1), everything()).await.inspect_err(said).ok()?;
    let found: Vec<u64> = records.iter().map(|it| it.seq).collect();
    assert!(found.is_empty() || found == expected, "{found:?}");
    (found == expected).then_some(())
}

#[tokio::test]
async fn a_page_of_garbage_is_said_and_never_read_as_something_else() {
    let space = TempDir::new().unwrap();
    let path = space.path().join("store.db");
    written(&path, 5).await;
    let (sound, expected) = (Remains::of(&path).database, [1, 2, 3, 4, 5]);
    assert_eq!(fs::read(log_of(&path)).ok(), None, "it was closed");
    let mut n_readable = 0;
    let places = (0..sound.len()).step_by(PAGE);
    for (at, fill) in places.clone().flat_map(|it| [(it, 0), (it, 0xa5), (it, 0x01)]) {
        let mut spoilt = sound.clone();
        spoilt[at..at + PAGE].fill(fill);
        fs::write(&path, spoilt).unwrap();
        n_readable += u32::from(read_spoilt(&path, &expected).await.is_some());
        fs::remove_file(log_of(&path)).ok();
    }
    assert!(n_readable > 0, "even pages that hold nothing of it spoil it");
    for length in places {
        fs::write(&path, &sound[..length]).unwrap();
        read_spoilt(&path, &expected).await;
        fs::remove_file(log_of(&path)).ok();
    }
    fs::write(&path, &sound).unwrap();
    assert_eq!(read_spoilt(&path, &expected).await, Some(()));
}

/// How long files may grow, from nothing to more than is needed.
const LIMITS: Range<usize> = 0..64;

fn limit_files(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
}

/// Writes until the disk is full, and on, with every size of disk; what fails is taken for undone.
#[tokio::test]
async fn e2e_victim_on_disks_of_every_size() {
    let Some(dir) = victims_store() else { return };
    for n_pages in LIMITS {
        let path = dir.join(format!("{n_pages}.db"));
        limit_files(Some((n_pages * PAGE) as u64));
        let done = write_while_it_fits(&path).await;
        limit_files(None);
        // The log may hold what was not answered; none of it may come to light.
        println!("\nfitted {n_pages} {done:?}");
        let Ok(done) = done else { continue };
        let store = open(&path);
        assert_eq!(seqs(&store, 1, everything()).await, done, "{n_pages} pages");
        let next = done.len() as u64 + 1;
        commit(&store, vec![record(1, next, kept(0))]).await;
    }
    println!("\nsurvived");
}

async fn write_while_it_fits(path: &Path) -> Result<Vec<u64>, StoreError> {
    let store: Store = Arc::new(SqliteStore::open(path)?);
    store.commit(vec![accepted(1, 1)].into()).await?;
    let mut done = Vec::new();
    for round in 1..=7 {
        let next = done.len() as u64 + 1;
        let text = "x".repeat(round * 2_000);
        let writes = vec![output(1, 0, &format!("\"{text}\"")), record(1, next, kept(0))];
        match store.commit(writes.into()).await {
            Ok(_) => done.push(next),
            Err(StoreError::Unavailable { action: "write", .. }) => {}
            Err(other) => return Err(other),
        }
        assert_eq!(seqs(&store, 1, everything()).await, done);
    }
    Ok(done)
}

#[tokio::test]
async fn e2e_a_disk_of_any_size_holds_what_was_answered() {
    let space = TempDir::new().unwrap();
    let mut shell = Command::new("sh");
    // Without the trap the signal would end the process.
    shell.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]).arg(this_binary());
    let victim = "disk_tests::e2e_victim_on_disks_of_every_size";
    let ended = start(&mut shell, victim, space.path()).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("survived"), "{said}");
    let n_fitted = |part: &str| said.lines().filter(|it| it.contains(part)).count();
    assert!(n_fitted("Unavailable") > 3, "no disk was too small: {said}");
    assert!(n_fitted("Ok([1, 2, 3, 4, 5, 6, 7])") > 3, "none sufficed: {said}");
    let is_partial = |it: &&str| it.contains("Ok([1, 2") && !it.contains(", 7])");
    assert!(said.lines().filter(is_partial).count() > 3, "none was full in between: {said}");
}

//! What a durable commit costs, next to what the disk itself takes for a sync.
//!
//! `cargo bench --bench store [DIR]`; the store is made in DIR, else in the build directory.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parallel_dispatch::{
    model::{
        AgentName, Attempt, DispatchId, DurationKey, Millis, Spend, TaskId, TaskIdx, TaskStatus,
        Timestamp, UpstreamCall,
    },
    ports::{
        Accept, Digest, Journal, OwnerId, Record, RecordBody, RecordFilter, Remember, TaskRow,
        Write,
    },
    scheduler::{Decision, Event},
    stores::SqliteStore,
};
use tokio::task::JoinSet;
use uuid::Uuid;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const N_SYNCS: usize = 500;
const N_COMMITS: u64 = 20_000;
const N_TASKS: usize = 50_000;
const TASKS_PER_COMMIT: usize = 256;

fn main() -> Outcome {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let given = env::args().skip(1).find(|it| !it.starts_with("--"));
    let dir = given.map_or(dir, PathBuf::from).join(format!("bench-store-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let done = runtime.block_on(run(&dir));
    fs::remove_dir_all(&dir)?;
    done
}

async fn run(dir: &Path) -> Outcome {
    println!("disk, append 4 KiB + fdatasync: p50 {:.1} µs", micros(sync_p50(dir)?));
    let store: Arc<dyn Journal> = Arc::new(SqliteStore::open(&dir.join("state/store.db"))?);
    for n_in_flight in [1, 64] {
        println!("{}", commits(&store, n_in_flight).await?);
    }
    println!("{}", dispatch(&store).await?);
    println!("{}", reads(&store).await?);
    println!("disk, again: p50 {:.1} µs", micros(sync_p50(dir)?));
    Ok(())
}

/// The median time of writing a page to the end of a file and syncing it.
fn sync_p50(dir: &Path) -> Outcome<Duration> {
    let mut file = File::create(dir.join("sync"))?;
    let mut times = Vec::with_capacity(N_SYNCS);
    for _ in 0..N_SYNCS {
        let start = Instant::now();
        file.write_all(&[7; 4_096])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[N_SYNCS / 2])
}

/// One record of about 200 bytes a commit, by `n_in_flight` callers that each wait for theirs.
async fn commits(store: &Arc<dyn Journal>, n_in_flight: u64) -> Outcome<String> {
    let n_commits = if n_in_flight == 1 { N_COMMITS / 10 } else { N_COMMITS };
    let mut callers = JoinSet::new();
    let start = Instant::now();
    for _ in 0..n_in_flight {
        let store = Arc::clone(store);
        callers.spawn(async move {
            let dispatch = new_dispatch();
            store.commit(vec![accept(dispatch, 1)].into()).await?;
            let mut times = Vec::new();
            for seq in 1..=n_commits / n_in_flight {
                let write = record(dispatch, seq, call(TaskIdx::from_usize(0)));
                let start = Instant::now();
                store.commit(vec![write].into()).await?;
                times.push(start.elapsed());
            }
            Outcome::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(done) = callers.join_next().await {
        times.extend(done??);
    }
    let (total, n) = (start.elapsed(), times.len());
    times.sort_unstable();
    let (p50, p99) = (micros(times[n / 2]), micros(times[n * 99 / 100]));
    let each = per(total, n);
    Ok(format!(
        "commits of one record, {n_in_flight} in flight: {each:.1} µs a commit, p50 {p50:.0} µs, \
         p99 {p99:.0} µs"
    ))
}

/// A dispatch as the runtime writes it, `TASKS_PER_COMMIT` tasks a commit.
async fn dispatch(store: &Arc<dyn Journal>) -> Outcome<String> {
    let dispatch = new_dispatch();
    let output = format!("\"{}\"", "x".repeat(198));
    let start = Instant::now();
    store.commit(vec![accept(dispatch, N_TASKS)].into()).await?;
    let accepted = start.elapsed();
    let start = Instant::now();
    let mut seq = 0;
    let agent = AgentName::new("coder");
    let key = Arc::new(DurationKey { agent, kind: "Effect".to_owned(), size: 8 });
    for first in (0..N_TASKS).step_by(TASKS_PER_COMMIT) {
        let mut writes = Vec::with_capacity(TASKS_PER_COMMIT * 7);
        for task in (first..N_TASKS.min(first + TASKS_PER_COMMIT)).map(TaskIdx::from_usize) {
            writes.extend(a_task((dispatch, &key), task, &mut seq, &output));
        }
        store.commit(writes.into()).await?;
    }
    let (accepted, done) = (per(accepted, N_TASKS), per(start.elapsed(), N_TASKS));
    let bytes = output.len();
    Ok(format!(
        "dispatch of {N_TASKS} tasks, {TASKS_PER_COMMIT} a commit, outputs of {bytes} bytes: \
         accept {accepted:.1} µs a task, then {done:.1} µs a task (3 records, 2 rows, \
         1 output, 1 sample)"
    ))
}

/// Single reads, one after the other, with the way to the reading thread and back.
async fn reads(store: &Arc<dyn Journal>) -> Outcome<String> {
    let newest = store.recent(None, None, 1).await?;
    let dispatch = newest.first().ok_or("nothing was written")?.dispatch;
    let start = Instant::now();
    for number in 0..2_000 {
        store.outputs(dispatch, vec![TaskIdx::from_usize(number)]).await?;
    }
    let one = per(start.elapsed(), 2_000);
    let start = Instant::now();
    let filter = RecordFilter { limit: usize::MAX, ..RecordFilter::default() };
    let n_records = store.records(dispatch, filter).await?.len();
    let all = per(start.elapsed(), n_records);
    let known = known_results(store, dispatch).await?;
    Ok(format!(
        "reads: {one:.1} µs for one output, {known:.1} µs for a result by its work, {all:.2} µs a \
         record of {n_records} at once"
    ))
}

/// How long it takes to find one of 10,000 results, in microseconds.
async fn known_results(store: &Arc<dyn Journal>, dispatch: DispatchId) -> Outcome<f64> {
    let work = |number: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_le_bytes());
        Digest(bytes)
    };
    let result = |number| {
        let (task, at) = (TaskIdx::from_usize(number as usize), Millis(1_795_232_640_123));
        let evidence = vec![Digest([1; 32])];
        Write::Remember(Box::new(Remember { dispatch, task, work: work(number), at, evidence }))
    };
    store.commit((0..10_000).map(result).collect()).await?;
    let start = Instant::now();
    for number in 0..2_000 {
        store.known_result(work(number * 5)).await?.ok_or("a result is missing")?;
    }
    Ok(per(start.elapsed(), 2_000))
}

fn a_task(
    (dispatch, key): (DispatchId, &Arc<DurationKey>),
    task: TaskIdx,
    seq: &mut u64,
    output: &str,
) -> [Write; 7] {
    let attempt = Attempt(1);
    let mut next = |body| {
        *seq += 1;
        record(dispatch, *seq, body)
    };
    let started = Event::AttemptStarted {
        task,
        attempt,
        deadline: Millis(1_795_232_940_000),
        total_deadline: None,
        decision: Decision { n_ready: 12, released_by: Some(task), ..Decision::default() },
        reserve: Spend::default(),
    };
    let ended = Event::AttemptEnded { task, attempt, result: Ok(()), retry_at: None, usage: None };
    let took = Millis(u64::from(task.as_u32()) % 997);
    [
        next(RecordBody::Scheduler(started)),
        row(dispatch, task, TaskStatus::Running),
        next(call(task)),
        Write::Output { dispatch, task, json: output.to_owned() },
        next(RecordBody::Scheduler(ended)),
        row(dispatch, task, TaskStatus::Success),
        Write::Duration { key: Arc::clone(key), at: Millis(1_795_232_640_123), took },
    ]
}

fn new_dispatch() -> DispatchId {
    DispatchId::new(Uuid::now_v7())
}

fn accept(dispatch: DispatchId, n_tasks: usize) -> Write {
    let name = |it| (TaskId::new(&format!("gen-user-writer-{it}")), AgentName::new("coder"));
    Write::Accept(Box::new(Accept {
        dispatch,
        owner: OwnerId(Uuid::from_u128(1)),
        at: Millis(1_795_232_640_000),
        document: "{}".to_owned(),
        meta: "{}".to_owned(),
        tasks: (0..n_tasks).map(name).collect(),
        idempotency: None,
        caller: None,
    }))
}

fn record(dispatch: DispatchId, seq: u64, body: RecordBody) -> Write {
    Write::Record { dispatch, record: Record { seq, at: Millis(1_795_232_640_123), body } }
}

fn call(task: TaskIdx) -> RecordBody {
    let call = UpstreamCall {
        upstream: "archon".to_owned(),
        tool: "assess_code_quality".to_owned(),
        at: Timestamp(Millis(1_795_232_640_123)),
        duration_ms: 12,
        ok: true,
        error: None,
        code: None,
        span_id: None,
        request_bytes: 512,
        response_bytes: 2_048,
        usage: None,
    };
    RecordBody::UpstreamCall { task, attempt: Attempt(1), call }
}

fn row(dispatch: DispatchId, task: TaskIdx, status: TaskStatus) -> Write {
    let row = TaskRow {
        status,
        attempts: 1,
        started_at: Some(Millis(1_795_232_640_000)),
        ended_at: status.is_final().then_some(Millis(1_795_232_640_123)),
        failure: None,
        caused_by: None,
        reused: None,
        approval: None,
        usage: None,
        evidence: None,
    };
    Write::Task { dispatch, task, row }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn per(total: Duration, n: usize) -> f64 {
    micros(total) / n as f64
}

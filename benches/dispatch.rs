//! What a task costs through the whole dispatcher: `SQLite` with full sync, traces on, agents that
//! answer at once; what recovery and real waiting cost; beside the disk's own sync.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark times and prints"
)]

use std::{
    error::Error,
    fs::File,
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use parallel_dispatch::{
    model::{AgentName, CacheMode, DispatchStatus, Failure, Millis, OnFailure, json::Json},
    plan::{InputKind, Limits},
    ports::{AgentBackend, AgentDirectory, AttemptCall, BindError, Binding, Clock, Journal},
    runtime::{AgentOptions, Dependencies, DispatcherHandle, Options, Paths, Recover},
    stores::{LockFileOwners, SqliteStore},
    traces::TraceFileWriter,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const ROUNDS: usize = 5;
const HOUR: Duration = Duration::from_hours(1);

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let sync = p50((0..200).map(|_| sync_once(dir.path())).collect::<Outcome<_>>()?);
    println!("append and fdatasync of 4 KiB: p50 {} us", sync.as_micros());
    for n_tasks in [1_000, 10_000] {
        let took = best_of(dir.path(), &flat(n_tasks, 256, "noop")).await?;
        let each = took.as_secs_f64() * 1e6 / n_tasks as f64;
        println!("durable, {n_tasks} no-op tasks, 256 in flight, traces on: {each:.1} us a task");
    }
    let took = best_of(dir.path(), &chain(1_000)).await?;
    let step = took.as_secs_f64() * 1e6 / 1_000.0;
    let syncs = step / (sync.as_secs_f64() * 1e6);
    println!("durable chain of 1,000: {step:.0} us a step, {syncs:.2} of the disk's sync");
    for (name, document) in [("chain", chain(1_000)), ("flat", flat(10_000, 256, "noop"))] {
        reuse(dir.path(), name, document).await?;
    }
    restart(dir.path()).await?;
    let took = best_of(dir.path(), &flat(64, 64, "half-second")).await?;
    println!("64 tasks of 500 ms, 64 workers: {} ms", took.as_millis());
    for n_tasks in [3, 5, 10] {
        let took = best_of(dir.path(), &flat(n_tasks, 5, "half-second")).await?;
        let speedup = n_tasks as f64 * 0.5 / took.as_secs_f64();
        println!("{n_tasks} equal tasks of 500 ms, 5 workers: {speedup:.2} times as fast as one");
    }
    Ok(())
}

/// The shortest of some rounds, each on a store of its own.
async fn best_of(dir: &Path, document: &Value) -> Outcome<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let place = tempfile::tempdir_in(dir)?;
        let engine = Engine::start(place.path(), Recover::Never)?;
        // A store's first commits make its files.
        let first =
            engine.handle.dispatch_document(&Json::from_value(&flat(1, 1, "noop"))?).await?;
        engine.handle.finished(first, HOUR).await?;
        let started = Instant::now();
        let dispatch = engine.handle.dispatch_document(&Json::from_value(document)?).await?;
        let result = engine.handle.finished(dispatch, HOUR).await?;
        best = best.min(started.elapsed());
        if result.status != DispatchStatus::Success {
            return Err(format!("the dispatch ended as {:?}", result.status).into());
        }
        engine.stop().await?;
    }
    Ok(best)
}

/// What a task costs whose result is taken from an earlier dispatch.
async fn reuse(dir: &Path, name: &str, mut document: Value) -> Outcome<()> {
    let n_tasks = document["tasks"].as_array().map_or(0, Vec::len);
    document["config"]["cache"] = json!("reuse");
    let place = tempfile::tempdir_in(dir)?;
    let engine = Engine::start(place.path(), Recover::Never)?;
    let mut best = Duration::MAX;
    for round in 0..=ROUNDS {
        let started = Instant::now();
        let dispatch = engine.handle.dispatch_document(&Json::from_value(&document)?).await?;
        let result = engine.handle.finished(dispatch, HOUR).await?;
        if round > 0 {
            best = best.min(started.elapsed());
            if result.summary.reused != n_tasks {
                return Err(format!("only {} were reused", result.summary.reused).into());
            }
        }
    }
    engine.stop().await?;
    let each = best.as_secs_f64() * 1e6 / n_tasks as f64;
    println!("durable, {n_tasks} tasks that take results, {name}: {each:.1} us a task");
    Ok(())
}

/// How long a process that takes over 1,000 open tasks needs until the first of them runs.
async fn restart(dir: &Path) -> Outcome<()> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let place = tempfile::tempdir_in(dir)?;
        let engine = Engine::start(place.path(), Recover::Never)?;
        let document = flat(1_000, 64, "never");
        engine.handle.dispatch_document(&Json::from_value(&document)?).await?;
        engine.stop().await?;
        let started = Instant::now();
        let engine = Engine::start(place.path(), Recover::AtStart)?;
        engine.agents.first_start().await;
        times.push(started.elapsed());
        engine.stop().await?;
    }
    println!(
        "restart with 1,000 open tasks: first attempt after p50 {} ms",
        p50(times).as_millis()
    );
    Ok(())
}

/// The dispatcher with all its adapters but the agents.
struct Engine {
    handle: DispatcherHandle,
    task: tokio::task::JoinHandle<()>,
    shutdown: CancellationToken,
    agents: Arc<Scripted>,
}

impl Engine {
    fn start(dir: &Path, recover: Recover) -> Outcome<Self> {
        let agents = Arc::new(Scripted::default());
        let paths = Arc::new(Paths::new(&[dir.to_owned()], &dir.join("traces"))?);
        let store = Arc::new(SqliteStore::open(&dir.join("state/store.db"))?);
        let dependencies = Dependencies {
            journal: Arc::clone(&store) as Arc<dyn Journal>,
            upkeep: store,
            agents: Arc::clone(&agents) as Arc<dyn AgentDirectory>,
            sources: Vec::new(),
            traces: Arc::new(TraceFileWriter::new(paths.trace_roots())),
            clock: Arc::new(BenchClock::start()),
            ownership: Arc::new(LockFileOwners::join(&dir.join("state/owners"))?),
            paths,
        };
        let shutdown = CancellationToken::new();
        let options = options(dir, recover);
        let (handle, task) = DispatcherHandle::start(dependencies, options, shutdown.clone());
        Ok(Self { handle, task, shutdown, agents })
    }

    async fn stop(self) -> Outcome<()> {
        self.shutdown.cancel();
        drop(self.handle);
        Ok(self.task.await?)
    }
}

fn options(dir: &Path, recover: Recover) -> Options {
    let agent = AgentOptions {
        input: InputKind::Free,
        timeout_seconds: None,
        retry: None,
        validation_level: None,
        analysis_depth: None,
    };
    let names = ["noop", "half-second", "never"];
    Options {
        max_workers: 64,
        timeout_seconds: 300.0,
        on_failure: OnFailure::SkipDependents,
        enable_context: false,
        cache: CacheMode::Off,
        trace_dir: dir.join("traces"),
        agents: names.map(|it| (AgentName::new(it), agent.clone())).into(),
        limits: Limits {
            tasks_max: 1_000_000,
            edges_max: 1_000_000,
            max_workers: 1_024,
            timeout_seconds_max: 86_400.0,
        },
        dispatches_open_max: 16,
        workers_total_max: 1_024,
        nesting_max: 3,
        parent: None,
        recover,
        retention: None,
    }
}

/// Agents that answer at once, after half a second, or never, as their names say.
#[derive(Debug, Default)]
struct Scripted {
    started: Arc<tokio::sync::Notify>,
}

impl Scripted {
    async fn first_start(&self) {
        self.started.notified().await;
    }
}

impl AgentDirectory for Scripted {
    fn bind<'a>(&'a self, agent: &'a AgentName) -> BoxFuture<'a, Result<Binding, BindError>> {
        let backend = Arc::new(Backend(agent.clone(), Arc::clone(&self.started)));
        Box::pin(async move { Ok(Binding { backend, warnings: Vec::new() }) })
    }
}

#[derive(Debug)]
struct Backend(AgentName, Arc<tokio::sync::Notify>);

impl AgentBackend for Backend {
    fn lane(&self) -> &str {
        self.0.as_str()
    }

    fn run(&self, call: AttemptCall) -> BoxFuture<'_, Result<Value, Failure>> {
        self.1.notify_one();
        Box::pin(async move {
            match call.agent.as_str() {
                "half-second" => tokio::time::sleep(Duration::from_millis(500)).await,
                "never" => call.cancelled.cancelled().await,
                _ => (),
            }
            Ok(json!({ "ok": true }))
        })
    }
}

#[derive(Debug)]
struct BenchClock(tokio::time::Instant);

impl BenchClock {
    fn start() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for BenchClock {
    fn now(&self) -> Millis {
        let elapsed = u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        Millis(1_795_232_640_000) + Millis(elapsed)
    }

    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()> {
        let until = self.0 + Duration::from_millis(at.since(Millis(1_795_232_640_000)).0 + 1);
        Box::pin(tokio::time::sleep_until(until))
    }
}

fn flat(n_tasks: usize, workers: usize, agent: &str) -> Value {
    let task = |at| {
        json!({
            "task_id": format!("task-{at}"),
            "agent": agent,
            "description": "wait",
            "input_data": {},
        })
    };
    let tasks: Vec<Value> = (0..n_tasks).map(task).collect();
    json!({ "tasks": tasks, "config": { "max_workers": workers } })
}

fn chain(n_tasks: usize) -> Value {
    let task = |at: usize| {
        let before = at.checked_sub(1).map(|it| format!("task-{it}"));
        json!({
            "task_id": format!("task-{at}"), "agent": "noop", "description": "wait",
            "input_data": {}, "dependencies": Vec::from_iter(before),
        })
    };
    json!({ "tasks": (0..n_tasks).map(task).collect::<Vec<_>>() })
}

fn sync_once(dir: &Path) -> Outcome<Duration> {
    let mut file = File::options().create(true).append(true).open(dir.join("sync"))?;
    let started = Instant::now();
    file.write_all(&[7; 4_096])?;
    file.sync_data()?;
    Ok(started.elapsed())
}

fn p50(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

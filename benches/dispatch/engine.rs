//! The whole dispatcher with all its adapters, and agents that do as they are called.

use std::{
    error::Error,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use parallel_dispatch::{
    agents::command::{CheckCommands, GuardProgram},
    model::{AgentName, CacheMode, Failure, Millis, OnFailure},
    plan::{InputKind, Limits},
    ports::{
        AgentBackend, AgentDirectory, AttemptCall, BindError, Binding, Clock, Journal, Upkeep,
    },
    runtime::{AgentExpect, AgentOptions, Dependencies, DispatcherHandle, Options, Paths, Recover},
    stores::{LockFileOwners, MemoryStore, SqliteStore},
    traces::TraceFileWriter,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// The dispatcher with all its adapters but the agents.
pub(crate) struct Engine {
    pub(crate) handle: DispatcherHandle,
    pub(crate) agents: Arc<Scripted>,
    task: tokio::task::JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Engine {
    /// On a store on disk.
    pub(crate) fn start(dir: &Path, recover: Recover) -> Outcome<Self> {
        let store = Arc::new(SqliteStore::open(&dir.join("state/store.db"))?);
        Self::start_on(dir, recover, store)
    }

    /// On a store in memory.
    pub(crate) fn start_in_memory(dir: &Path) -> Outcome<Self> {
        Self::start_on(dir, Recover::Never, Arc::new(MemoryStore::new()))
    }

    fn start_on<S: Journal + Upkeep + 'static>(
        dir: &Path,
        recover: Recover,
        store: Arc<S>,
    ) -> Outcome<Self> {
        let agents = Arc::new(Scripted::default());
        let paths = Arc::new(Paths::new(&[dir.to_owned()], &dir.join("traces"))?);
        let dependencies = Dependencies {
            journal: Arc::clone(&store) as Arc<dyn Journal>,
            upkeep: store,
            agents: Arc::clone(&agents) as Arc<dyn AgentDirectory>,
            checks: Arc::new(no_checks()),
            sources: Vec::new(),
            traces: Arc::new(TraceFileWriter::new(paths.trace_roots())),
            clock: Arc::new(BenchClock::start()),
            ownership: Arc::new(LockFileOwners::join(&dir.join("state/owners"))?),
            paths,
            meter: None,
            spans: None,
        };
        let shutdown = CancellationToken::new();
        let options = options(dir, recover);
        let (handle, task) = DispatcherHandle::start(dependencies, options, shutdown.clone());
        Ok(Self { handle, agents, task, shutdown })
    }

    pub(crate) async fn stop(self) -> Outcome<()> {
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
        expect: AgentExpect::default(),
    };
    let names = ["noop", "half-second", "never", "list", "part"];
    Options {
        max_workers: 64,
        timeout_seconds: 300.0,
        on_failure: OnFailure::SkipDependents,
        enable_context: false,
        cache: CacheMode::Off,
        trace_dir: dir.join("traces"),
        agents: names.map(|it| (AgentName::new(it), agent.clone())).into(),
        checks: Vec::new(),
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

/// Agents that answer at once, after half a second, or never, as their names say; `list` answers a
/// list of as many items as it is told.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    moments: Arc<Moments>,
}

/// When things happened.
#[derive(Debug, Default)]
struct Moments {
    started: tokio::sync::Notify,
    /// Guards when a list was answered, and when the first of its parts was called.
    parts: Mutex<(Option<Instant>, Option<Instant>)>,
}

impl Scripted {
    pub(crate) async fn first_start(&self) {
        self.moments.started.notified().await;
    }

    /// How long it took from the answer of a list until the first of its parts was called.
    pub(crate) async fn first_part(&self) -> Duration {
        loop {
            self.first_start().await;
            if let (Some(from), Some(to)) = *self.moments.parts.lock() {
                return to - from;
            }
        }
    }
}

impl AgentDirectory for Scripted {
    fn bind<'a>(&'a self, agent: &'a AgentName) -> BoxFuture<'a, Result<Binding, BindError>> {
        let backend = Arc::new(Backend(agent.clone(), Arc::clone(&self.moments)));
        Box::pin(async move { Ok(Binding { backend, warnings: Vec::new() }) })
    }
}

#[derive(Debug)]
struct Backend(AgentName, Arc<Moments>);

impl AgentBackend for Backend {
    fn lane(&self) -> &str {
        self.0.as_str()
    }

    fn run(&self, call: AttemptCall) -> BoxFuture<'_, Result<Value, Failure>> {
        if call.agent.as_str() == "part" {
            self.1.parts.lock().1.get_or_insert_with(Instant::now);
        }
        self.1.started.notify_one();
        Box::pin(async move {
            match call.agent.as_str() {
                "half-second" => tokio::time::sleep(Duration::from_millis(500)).await,
                "never" | "part" => call.cancelled.cancelled().await,
                "list" => {
                    let n_items = call.input.get("n_items").and_then(Value::as_u64).unwrap_or(0);
                    let items: Vec<_> = (0..n_items).map(item).collect();
                    self.1.parts.lock().0 = Some(Instant::now());
                    return Ok(json!({ "items": items }));
                }
                _ => (),
            }
            Ok(json!({ "ok": true }))
        })
    }
}

fn item(at: u64) -> Value {
    json!({ "path": format!("/workspace/module_{at}.py"), "lines": at })
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

/// Nothing is expected here.
fn no_checks() -> CheckCommands {
    let (program, arguments) = ("nothing".into(), Vec::new());
    let guard = GuardProgram { program, arguments, open_files: None };
    CheckCommands::new(guard, std::collections::BTreeMap::new())
}

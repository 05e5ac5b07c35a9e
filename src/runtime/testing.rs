//! A runtime without a machine: a store in memory, agents that obey a script, time that jumps.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) use super::flaky::Flaky;
use super::{
    AgentExpect, AgentOptions, Dependencies, DispatcherHandle, Options, Paths, Recover, Retention,
    fakes::{Echo, Everywhere, Files, GoodAndBad},
};
use crate::{
    model::{
        AgentName, CacheMode, DispatchId, DispatchResult, Failure, FailureCode, Millis, OnFailure,
        Refusal, SpanId, TaskResult, UpstreamCall, json::Json,
    },
    plan::{InputKind, Limits},
    ports::{AttemptCall, Clock, OwnerId, Ownership},
};

/// One process: a runtime, and what can be done to it from outside.
pub(crate) struct World {
    pub(crate) handle: DispatcherHandle,
    pub(super) agents: Arc<Script>,
    pub(super) store: Arc<Flaky>,
    pub(super) files: Arc<Files>,
    pub(super) owners: Arc<Owners>,
    /// By how much the clock was set forward, in milliseconds.
    pub(super) clock_jump: Arc<AtomicU64>,
    shutdown: CancellationToken,
    dispatcher: JoinHandle<()>,
}

impl World {
    /// A process on a store of its own.
    pub(crate) async fn new() -> Self {
        Self::on(Arc::new(Flaky::default()), Arc::new(Registry::default()), 8).await
    }

    /// Two processes on one store, which fails for each of them alone.
    pub(crate) fn two() -> [Self; 2] {
        let (store, registry) = (Arc::new(Flaky::default()), Arc::<Registry>::default());
        [Arc::clone(&store), store.elsewhere()]
            .map(|it| Self::with(it, Arc::clone(&registry), options(8)))
    }

    /// A process in which so many dispatches may be open.
    pub(super) fn with_open_max(dispatches_open_max: usize) -> Self {
        Self::with(Arc::default(), Arc::default(), options(dispatches_open_max))
    }

    /// A process with so many workers for all its dispatches.
    pub(super) fn with_workers(workers_total_max: u32) -> Self {
        let options = Options { workers_total_max, ..options(8) };
        Self::with(Arc::new(Flaky::default()), Arc::new(Registry::default()), options)
    }

    /// A process on a store that others use too.
    #[expect(clippy::unused_async, reason = "tests may await the start of a process")]
    pub(super) async fn on(
        store: Arc<Flaky>,
        registry: Arc<Registry>,
        dispatches_open_max: usize,
    ) -> Self {
        Self::with(store, registry, options(dispatches_open_max))
    }

    /// A process on a store that others use too, with a workspace on the disk.
    pub(super) fn in_workspace(store: Arc<Flaky>, root: &Path) -> Self {
        Self::at((root, store, Arc::default()), options(8), |_| ())
    }

    /// A process on a store that others use too, with other ports than usual.
    pub(super) fn other(
        store: Arc<Flaky>,
        registry: Arc<Registry>,
        change: impl FnOnce(&mut Dependencies),
    ) -> Self {
        Self::at((Path::new("/ws"), store, registry), options(8), change)
    }

    /// The same, where the agent `robot` is expected to do what its settings say.
    pub(super) fn expecting(store: Arc<Flaky>, root: &Path, expect: AgentExpect) -> Self {
        let mut options = options(8);
        options.agents.get_mut(&AgentName::new("robot")).unwrap().expect = expect;
        Self::at((root, store, Arc::default()), options, |_| ())
    }

    fn with(store: Arc<Flaky>, registry: Arc<Registry>, options: Options) -> Self {
        Self::at((Path::new("/ws"), store, registry), options, |_| ())
    }

    fn at(
        (root, store, registry): (&Path, Arc<Flaky>, Arc<Registry>),
        options: Options,
        change: impl FnOnce(&mut Dependencies),
    ) -> Self {
        let (agents, files) = (Arc::new(Script::default()), Arc::new(Files::default()));
        let owners = Arc::new(Owners::join(registry));
        let clock_jump = Arc::<AtomicU64>::default();
        let mut dependencies = Dependencies {
            journal: Arc::clone(&store) as _,
            upkeep: Arc::new(store.inner.clone()),
            agents: Arc::new(Everywhere(Arc::clone(&agents))),
            checks: Arc::new(GoodAndBad),
            sources: vec![Arc::new(Echo)],
            traces: Arc::clone(&files) as _,
            clock: Arc::new(TokioClock(Instant::now(), Arc::clone(&clock_jump))),
            ownership: Arc::clone(&owners) as _,
            paths: Arc::new(Paths::new(&[root.into()], Path::new("/traces")).unwrap()),
            meter: None,
            spans: None,
        };
        change(&mut dependencies);
        let shutdown = CancellationToken::new();
        let (handle, dispatcher) = DispatcherHandle::start(dependencies, options, shutdown.clone());
        Self { handle, agents, store, files, owners, clock_jump, shutdown, dispatcher }
    }

    /// Has this process write nothing, or write again.
    pub(crate) fn break_writes(&self, is_broken: bool) {
        self.store.is_broken.store(is_broken, Ordering::SeqCst);
    }

    /// Has this process read nothing, or read again.
    pub(crate) fn break_reads(&self, is_blind: bool) {
        self.store.is_blind.store(is_blind, Ordering::SeqCst);
        self.store.faults.fail(0..0);
    }

    /// Has this process read nothing after so many times more.
    pub(crate) fn fail_reads_after(&self, n_times: usize) {
        self.store.faults.fail(n_times..usize::MAX);
    }

    /// Lets every task end whose fate is `gate`.
    pub(crate) fn open_gate(&self) {
        self.agents.gate.send_replace(true);
    }

    /// Dispatches a document, given as JSON.
    pub(crate) async fn dispatch(&self, document: &Value) -> Result<DispatchId, Refusal> {
        self.handle.dispatch_document(&Json::from_value(document)?).await
    }

    /// Dispatches a document and waits for its end.
    pub(super) async fn run(&self, document: &Value) -> DispatchResult {
        let id = self.dispatch(document).await.unwrap();
        self.finish(id).await
    }

    /// Waits for the end of a dispatch.
    pub(crate) async fn finish(&self, id: DispatchId) -> DispatchResult {
        assert!(self.handle.wait(id, Duration::from_hours(24)).await.unwrap());
        self.handle.result(id).await.unwrap()
    }

    /// Dies as by `kill -9`: nothing more is written, no attempt goes on.
    pub(crate) async fn kill(self) {
        self.owners.registry.alive.lock().retain(|it| *it != self.owners.me);
        self.dispatcher.abort();
        let _aborted = self.dispatcher.await;
    }

    /// Stops in good order.
    pub(super) async fn stop(self) {
        self.owners.registry.alive.lock().retain(|it| *it != self.owners.me);
        self.shutdown.cancel();
        self.dispatcher.await.unwrap();
    }
}

/// A process of its own, for tests of faces.
pub(crate) fn a_handle() -> DispatcherHandle {
    World::with(Arc::default(), Arc::default(), options(8)).handle
}

/// A document of tasks of the free agent `robot`: one a line, `name !fate <- dependency …`.
pub(crate) fn document(text: &str) -> Value {
    let tasks = text.lines().map(|line| {
        let (head, dependencies) = line.split_once("<-").unwrap_or((line, ""));
        let name = head.split_whitespace().next().unwrap();
        let fate = head.split_once('!').map_or("echo", |it| it.1.trim());
        json!({
            "task_id": name,
            "agent": "robot",
            "description": format!("do {name}"),
            "input_data": { "fate": fate },
            "dependencies": dependencies.split_whitespace().collect::<Vec<_>>(),
        })
    });
    json!({ "tasks": tasks.collect::<Vec<_>>() })
}

/// The result of one task.
pub(super) fn task<'a>(result: &'a DispatchResult, name: &str) -> &'a TaskResult {
    result.results.iter().find(|it| it.task_id.as_str() == name).unwrap()
}

fn options(dispatches_open_max: usize) -> Options {
    let robot = AgentOptions {
        input: InputKind::Free,
        timeout_seconds: None,
        retry: None,
        expect: AgentExpect::default(),
        validation_level: None,
        analysis_depth: None,
    };
    Options {
        max_workers: 2,
        timeout_seconds: 60.0,
        on_failure: OnFailure::SkipDependents,
        enable_context: false,
        cache: CacheMode::Off,
        trace_dir: "/traces".into(),
        agents: BTreeMap::from([
            (AgentName::new("android"), robot.clone()),
            (AgentName::new("robot"), robot),
        ]),
        checks: ["good", "bad", "slow"].map(Into::into).into(),
        limits: Limits {
            tasks_max: 5_000,
            edges_max: 100_000,
            max_workers: 64,
            timeout_seconds_max: 86_400.0,
        },
        nesting_max: 3,
        parent: None,
        dispatches_open_max,
        workers_total_max: 1_024,
        recover: Recover::AtStart,
        retention: Some(Retention {
            age_max: Some(Millis(43_200_000)),
            bytes_max: Some(1_000_000),
            keep: 0,
        }),
    }
}

/// Agents that do what the task's input says: `echo`, `fail`, `hang`, `panic`, `gate`; `slow` (30
/// seconds); `flaky N`, which fails in the first N attempts, each in its own words; `later MS`,
/// which wants to be left alone once; `beat N`, which shows progress every second for N seconds;
/// `write`, which writes the file of `output_path`.
#[derive(Debug)]
pub(super) struct Script {
    /// Every attempt that was started, as `task#attempt`.
    pub(super) started: Mutex<Vec<String>>,
    /// Attempts that were told to stop.
    pub(super) stopped: Mutex<Vec<String>>,
    /// When each of them was, since the world began.
    pub(super) started_at: Mutex<BTreeMap<String, Duration>>,
    epoch: Instant,
    /// What lets `gate` tasks end.
    pub(super) gate: watch::Sender<bool>,
    /// How many run, and how many ran at once at most.
    running: AtomicUsize,
    pub(super) running_max: AtomicUsize,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            started: Mutex::default(),
            stopped: Mutex::default(),
            started_at: Mutex::default(),
            epoch: Instant::now(),
            gate: watch::Sender::new(false),
            running: AtomicUsize::new(0),
            running_max: AtomicUsize::new(0),
        }
    }
}

impl Script {
    /// Waits until an attempt was started.
    pub(super) async fn wait_for_start(&self, name: &str) {
        while !self.started.lock().iter().any(|it| it == name) {
            tokio::task::yield_now().await;
        }
    }
}

impl Script {
    pub(super) fn run(&self, call: AttemptCall) -> BoxFuture<'_, Result<Value, Failure>> {
        Box::pin(async move {
            let name = format!("{}#{}", call.task_id, call.attempt.0);
            self.started.lock().push(name.clone());
            self.started_at.lock().insert(name.clone(), self.epoch.elapsed());
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.running_max.fetch_max(running, Ordering::SeqCst);
            let at = crate::model::Timestamp(Millis(0));
            let note = UpstreamCall {
                upstream: "script".into(),
                tool: "work".into(),
                at,
                duration_ms: 1,
                ok: true,
                error: None,
                code: None,
                span_id: call.trace.as_ref().map(|_| SpanId::new(name.as_bytes())),
                request_bytes: 1,
                response_bytes: 1,
                usage: None,
            };
            call.calls.send(note).unwrap();
            // Others get their turn, so that what may run at once does.
            tokio::task::yield_now().await;
            let fate = call.input["fate"].as_str().unwrap();
            let (fate, number) = fate.split_once(' ').unwrap_or((fate, "0"));
            let number: u64 = number.parse().unwrap();
            let result = match fate {
                "flaky" if u64::from(call.attempt.0) <= number => {
                    let message = format!("no luck in attempt {}", call.attempt.0);
                    Err(Failure::new(FailureCode::UpstreamUnavailable, message))
                }
                "later" if call.attempt.0 == 1 => {
                    let failure = Failure::new(FailureCode::RateLimited, "too much");
                    Err(failure.retry_after(Some(number)))
                }
                "beat" => {
                    for _ in 0..number {
                        pass(Duration::from_secs(1)).await;
                        call.heartbeat.beat();
                    }
                    Ok(json!({}))
                }
                "fail" => Err(Failure::new(FailureCode::AgentError, "as scripted")),
                "hang" => {
                    call.cancelled.cancelled().await;
                    self.stopped.lock().push(name);
                    Err(Failure::new(FailureCode::Cancelled, "stopped"))
                }
                "use" => Ok(json!({ "usage": { "total_tokens": number, "cost_usd": 0.25 } })),
                "panic" => panic!("as scripted"),
                "write" => {
                    std::fs::write(call.input["output_path"].as_str().unwrap(), name).unwrap();
                    Ok(json!({}))
                }
                "slow" => {
                    pass(Duration::from_secs(30)).await;
                    Ok(json!({ "input": call.input }))
                }
                "gate" => {
                    self.gate.subscribe().wait_for(|it| *it).await.unwrap();
                    Ok(json!({ "input": call.input }))
                }
                _ => Ok(json!({ "input": call.input, "token": "sk-abcdefghijklmnopqrstuvwx" })),
            };
            self.running.fetch_sub(1, Ordering::SeqCst);
            result
        })
    }
}

/// The processes that live.
#[derive(Debug, Default)]
pub(super) struct Registry {
    alive: Mutex<Vec<OwnerId>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Owners {
    registry: Arc<Registry>,
    me: OwnerId,
}

impl Owners {
    /// Who else lives.
    pub(super) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    fn join(registry: Arc<Registry>) -> Self {
        let me = OwnerId(Uuid::now_v7());
        registry.alive.lock().push(me);
        Self { registry, me }
    }
}

impl Ownership for Owners {
    fn me(&self) -> OwnerId {
        self.me
    }

    fn is_alive(&self, owner: OwnerId) -> bool {
        self.registry.alive.lock().contains(&owner)
    }
}

/// Lets the paused clock run on by `span`; no real time passes.
pub(crate) async fn pass(span: Duration) {
    let _over = tokio::time::timeout(span, std::future::pending::<()>()).await;
}

/// Tokio's time, which tests can pause.
#[derive(Debug)]
struct TokioClock(Instant, Arc<AtomicU64>);

impl Clock for TokioClock {
    fn now(&self) -> Millis {
        let jump = self.1.load(Ordering::SeqCst);
        Millis(1_000_000 + jump + u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }

    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()> {
        Box::pin(pass(Duration::from_millis(at.since(self.now()).0)))
    }
}

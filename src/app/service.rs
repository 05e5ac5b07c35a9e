//! Puts the runtime together from the settings: store, agents, upstreams, traces.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    clock::SystemClock,
    monitoring::Monitoring,
    programs, recipes,
    upstreams::{self, CALL_TIMEOUT},
    workers::workers,
};
use crate::{
    agents::{AgentSetting, Agents, AgentsSettings, Recipes},
    archon::EmbeddedArchon,
    config::{ArchonSetting, ConfigErrors, ExpectSettings, Role, Settings},
    confine::Workspaces,
    model::{ARCHON, AgentName, Millis},
    plan::{InputKind, Limits},
    ports::{Clock, ContextSource, Spans},
    runtime::{
        AgentExpect, AgentOptions, Dependencies, DispatcherHandle, Options, Paths, Recover,
        Retention,
    },
    sources::{FileSource, SearchSource, StructureSource},
    stores::{LockFileOwners, SqliteStore},
    traces::TraceFileWriter,
    transport::Load,
    upstream::{Archon, ArchonChoice, Era, Upstream, UpstreamSettings, UpstreamTransport},
    web::Monitored,
};

/// How long hooks that wait may take at the end.
const HOOKS_GRACE: Duration = Duration::from_secs(2);
/// A day in milliseconds.
const DAY_MS: u64 = 86_400_000;

/// The runtime with its adapters.
pub(super) struct Service {
    pub(super) handle: DispatcherHandle,
    dispatcher: JoinHandle<()>,
    upstreams: Upstreams,
    monitoring: Monitoring,
    clock: Arc<dyn Clock>,
}

/// The upstreams of the settings, and which of them serves the built-in agents.
pub(super) struct Upstreams {
    pub(super) named: BTreeMap<String, Arc<Upstream>>,
    pub(super) archon: Arc<Archon>,
    /// The Archon in this process.
    embedded: Arc<Upstream>,
    /// Every one that may have been connected.
    all: Vec<Arc<Upstream>>,
    /// The sessions of the embedded Archon, and what ends them.
    sessions: (TaskTracker, CancellationToken),
    /// Who calls the hooks, and what ends that.
    hooks: (TaskTracker, CancellationToken),
}

impl Upstreams {
    fn with_hooks(&self, agents: Agents, spans: Option<Arc<dyn Spans>>) -> Agents {
        agents.with_hooks(&self.hooks.0, spans, self.hooks.1.clone())
    }

    /// Lets the hooks that wait have a little time, and ends them.
    async fn end_hooks(&self) {
        let (telling, stop) = &self.hooks;
        telling.close();
        if tokio::time::timeout(HOOKS_GRACE, telling.wait()).await.is_err() {
            stop.cancel();
            telling.wait().await;
        }
    }

    /// Ends every session.
    pub(super) async fn close(&self) {
        for upstream in &self.all {
            upstream.close().await;
        }
        let (sessions, stop) = &self.sessions;
        stop.cancel();
        sessions.close();
        sessions.wait().await;
    }
}

impl Service {
    /// Opens the store, connects nothing yet, and starts the dispatcher.
    pub(super) fn start(
        settings: &Settings,
        role: Role,
        recover: Recover,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let recipes = read_recipes(settings, recover)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let store = SqliteStore::open(&settings.state_dir.join("store.db"))
            .with_context(|| format!("state directory {}", settings.state_dir.display()))?;
        let owners = LockFileOwners::join(&settings.state_dir.join("owners"))?;
        let paths = Paths::new(&settings.workspaces, &settings.dispatcher.trace_dir)
            .context("failed to open the workspaces")?;
        let paths = Arc::new(paths);
        let upstreams = upstreams(settings, &paths, &clock)?;
        // What a server wrote by default can be removed by every command.
        let roots = paths.trace_roots().into_iter().chain([settings.state_dir.join("traces")]);
        let store = Arc::new(store);
        let agents = agents(settings, &upstreams, (paths.workspaces(), &clock), recipes);
        let options = options(settings, role, recover);
        let names = options.agents.keys().cloned();
        let monitoring = Monitoring::start(settings, role, names, clock.now())?;
        let agents = upstreams.with_hooks(agents, monitoring.spans());
        let workers = agents.workers();
        let dependencies = Dependencies {
            journal: Arc::clone(&store) as _,
            upkeep: store,
            agents: Arc::new(agents),
            checks: Arc::new(programs::checks(settings)),
            sources: sources(paths.workspaces(), &upstreams.archon),
            traces: Arc::new(TraceFileWriter::new(roots)),
            clock: Arc::clone(&clock),
            ownership: Arc::new(owners),
            paths,
            meter: monitoring.meter(),
            spans: monitoring.spans(),
        };
        let (handle, dispatcher) = DispatcherHandle::start(dependencies, options, shutdown);
        let handle = match workers {
            Some(workers) => handle.with_workers(Arc::new(workers)),
            None => handle,
        };
        // A server outlives the trace that it was started in, unless an agent started it.
        let is_traced = role != Role::Serve || settings.parent.is_some();
        let handle = handle.in_trace(settings.trace.clone().filter(|_| is_traced));
        Ok(Self { handle, dispatcher, upstreams, monitoring, clock })
    }

    /// What monitors may ask of a server that shows how many clients it has.
    pub(super) fn monitored(&self, load: &Load) -> Option<Arc<dyn Monitored>> {
        let Upstreams { all, archon, .. } = &self.upstreams;
        self.monitoring.monitored(all.clone(), archon, &self.clock, load)
    }

    /// Waits until all work is put away, after the shutdown was asked for.
    pub(super) async fn stop(self) {
        drop(self.handle);
        // It ends by itself; that it panicked was logged.
        let _panicked = self.dispatcher.await;
        // The calls of hooks are spans as well.
        self.upstreams.end_hooks().await;
        tokio::join!(self.monitoring.stop(), self.upstreams.close());
    }
}

/// Makes the upstreams; nothing is connected before it is needed.
pub(super) fn upstreams(
    settings: &Settings,
    paths: &Paths,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Upstreams> {
    let mut named = BTreeMap::new();
    for (name, it) in &settings.upstreams {
        let upstream = upstreams::settings(name, it)
            .with_context(|| format!("the settings of upstreams.{name} are wrong"))?;
        named.insert(name.clone(), Upstream::new(upstream, Arc::clone(clock)));
    }
    let remote = Arc::clone(named.get(ARCHON).context("upstreams.archon is missing")?);
    let mut all: Vec<_> = named.values().cloned().collect();
    let sessions = (TaskTracker::new(), CancellationToken::new());
    let embedded = embedded(paths, clock, &sessions);
    all.push(Arc::clone(&embedded));
    let choice = match &settings.archon {
        ArchonSetting::Configured => ArchonChoice::Configured(remote),
        ArchonSetting::Default => ArchonChoice::Default { remote, embedded: Arc::clone(&embedded) },
    };
    let archon = Archon::new(choice, Arc::clone(clock));
    let hooks = (TaskTracker::new(), CancellationToken::new());
    Ok(Upstreams { named, archon, embedded, all, sessions, hooks })
}

/// The agents of the settings, bound to their upstreams when they are first asked for.
pub(super) fn agents(
    settings: &Settings,
    upstreams: &Upstreams,
    (workspaces, clock): (&Workspaces, &Arc<dyn Clock>),
    recipes: Recipes,
) -> Agents {
    let setting = |(name, it): (&String, &crate::config::AgentSettings)| {
        let (tool, recipe) = (it.tool.clone(), it.recipe.clone());
        let upstream = it.upstream.clone();
        (AgentName::new(name), AgentSetting { tool, recipe, upstream, allow: it.allow.clone() })
    };
    let mut others = upstreams.named.clone();
    others.remove(ARCHON);
    Agents::new(AgentsSettings {
        agents: settings.agents.iter().map(setting).collect(),
        upstreams: others,
        archon: Arc::clone(&upstreams.archon),
        commands: programs::commands(settings, clock),
        runner: programs::runner(settings, clock),
        embedded: Arc::clone(&upstreams.embedded),
        recipes,
        workspaces: workspaces.clone(),
        workers: workers(settings, clock),
    })
}

fn sources(workspaces: &Workspaces, archon: &Arc<Archon>) -> Vec<Arc<dyn ContextSource>> {
    vec![
        Arc::new(FileSource::new(workspaces.clone())),
        Arc::new(StructureSource::new(workspaces.clone())),
        Arc::new(SearchSource::rag(Arc::clone(archon))),
        Arc::new(SearchSource::pattern(Arc::clone(archon))),
    ]
}

/// The Archon in this process, behind the same client code as any other.
fn embedded(
    paths: &Paths,
    clock: &Arc<dyn Clock>,
    (tasks, stop): &(TaskTracker, CancellationToken),
) -> Arc<Upstream> {
    let server = EmbeddedArchon::new(paths.workspaces().clone());
    let (tasks, stop) = (tasks.clone(), stop.clone());
    let connect = Arc::new(move || server.connect(&tasks, stop.clone()));
    let transport = UpstreamTransport::InMemory { connect };
    let mut settings = UpstreamSettings::new("embedded-archon", transport, Era::Legacy);
    settings.call_timeout = CALL_TIMEOUT;
    settings.max_concurrent = 1_024;
    Upstream::new(settings, Arc::clone(clock))
}

fn options(settings: &Settings, role: Role, recover: Recover) -> Options {
    let limits = &settings.limits;
    let tasks_max = if role == Role::Run { limits.run_tasks_max } else { limits.tasks_max };
    Options {
        max_workers: settings.dispatcher.max_workers,
        timeout_seconds: settings.dispatcher.timeout_seconds,
        on_failure: settings.dispatcher.on_failure,
        enable_context: settings.dispatcher.enable_context,
        cache: settings.dispatcher.cache,
        trace_dir: settings.dispatcher.trace_dir.clone(),
        agents: agent_options(settings),
        checks: settings.checks.keys().cloned().collect(),
        limits: Limits {
            tasks_max: tasks_max as usize,
            edges_max: limits.edges_max as usize,
            max_workers: limits.max_workers,
            timeout_seconds_max: 86_400.0,
        },
        dispatches_open_max: limits.dispatches_open_max as usize,
        workers_total_max: limits.workers_total_max,
        nesting_max: limits.nesting_max,
        parent: settings.parent.clone(),
        recover,
        retention: (role == Role::Serve).then(|| retention(settings)),
    }
}

fn expect(settings: ExpectSettings) -> AgentExpect {
    let ExpectSettings { checks, condition, output_path } = settings;
    AgentExpect { checks, condition, output_path }
}

/// Reads what is written down for agents. A process that starts no work goes on without, so that
/// a slip of the pen keeps nobody from looking at dispatches or ending them.
fn read_recipes(settings: &Settings, recover: Recover) -> Result<Recipes, ConfigErrors> {
    match recipes::read(settings) {
        Err(faults) if recover == Recover::Never => {
            let n_faults = faults.0.len();
            tracing::warn!(n_faults, "the settings of agents are wrong: `doctor` says where");
            Ok(Recipes::default())
        }
        read => read,
    }
}

/// What the settings keep.
pub(super) fn retention(settings: &Settings) -> Retention {
    let days = u64::from(settings.limits.retention_days);
    Retention {
        age_max: (days > 0).then(|| Millis(days.saturating_mul(DAY_MS))),
        bytes_max: Some(settings.limits.store_bytes_max),
        keep: 0,
    }
}

pub(super) fn agent_options(settings: &Settings) -> BTreeMap<AgentName, AgentOptions> {
    let built_in = [
        (AgentName::CODER, InputKind::Coder),
        (AgentName::DEBUG, InputKind::Debug),
        (AgentName::RESEARCH, InputKind::Free),
        (AgentName::TOOL, InputKind::Tool),
    ];
    let named = settings.agents.keys().map(|it| (it.as_str(), InputKind::Free));
    let mut options = BTreeMap::new();
    for (name, input) in built_in.into_iter().chain(named) {
        let own = settings.agents.get(name).cloned().unwrap_or_default();
        options.entry(AgentName::new(name)).or_insert_with(|| AgentOptions {
            input,
            timeout_seconds: own.timeout_seconds,
            retry: own.retry,
            expect: expect(own.expect.unwrap_or_default()),
            validation_level: own.validation_level,
            analysis_depth: own.analysis_depth,
        });
    }
    options
}

//! What a step of a recipe costs by itself: of steps that call a tool in memory beside bare calls
//! of that tool, and of steps that call nothing.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark times and prints"
)]

use std::{
    collections::BTreeMap,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{channel::mpsc, future::BoxFuture};
use parallel_dispatch::{
    agents::{AgentSetting, Agents, AgentsSettings, Recipes, command::Commands},
    confine::Workspaces,
    model::{AgentName, Attempt, DispatchId, Millis, TaskId},
    ports::{
        AgentBackend, AgentDirectory as _, AttemptCall, Clock, EventLog, Heartbeat, UpstreamOutput,
    },
    upstream::{
        Archon, ArchonChoice, CallMeta, Era, Upstream, UpstreamSettings, UpstreamTransport,
    },
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const ROUNDS: usize = 300;
const STEPS: usize = 32;

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let upstream = upstream();
    let bare = bare(&upstream).await?;
    println!("a bare call: {:.1} us", micros(bare));
    let args = json!({ "n": "{{ input.n }}", "text": "of {{ task.task_id }}" });
    let call = |id: String| json!({ "id": id, "call": "quick", "args": args });
    let checked = |id: String| {
        json!({ "id": id, "call": "quick", "args": args, "when": "input.n > 0",
                "pick": "{{ r.ok }}", "expect": "r.ok", "on_unmet": "warn" })
    };
    let text = |id: String| {
        let text = "the answer to {{ input.n }} of {{ task.task_id }}";
        json!({ "id": id, "generate": { "with": "template", "text": text } })
    };
    let whole = |id: String| json!({ "id": id, "generate": { "with": "template", "text": "{{ input.text }}" } });
    for (what, steps, n_bytes, calls) in [
        ("a step that calls", list(call), 10, true),
        ("a step that calls, picks and checks", list(checked), 10, true),
        ("a step that makes a text", list(text), 10, false),
        ("a step that calls, beside an input of 256 KiB", list(call), 256 << 10, true),
        ("a step that makes a text, beside an input of 256 KiB", list(text), 256 << 10, false),
        ("a step that passes 256 KiB on", list(whole), 256 << 10, false),
    ] {
        let step = step(&upstream, steps, n_bytes).await?;
        let own = if calls { step.saturating_sub(bare) } else { step };
        println!("{what}: {:.1} us, its own {:.1} us", micros(step), micros(own));
    }
    upstream.close().await;
    Ok(())
}

fn list(step: impl Fn(String) -> Value) -> Vec<Value> {
    (0..STEPS).map(|at| step(format!("s{at}"))).collect()
}

/// The middle of the times that one of the steps takes.
async fn step(
    upstream: &Arc<Upstream>,
    steps: Vec<Value>,
    n_bytes: usize,
) -> Result<Duration, Failed> {
    let recipe = json!({ "steps": steps, "output": "{{ steps.s0.ok }}" });
    let agent = bind(upstream, recipe).await?;
    let text = "x".repeat(n_bytes);
    let mut times = Vec::new();
    for round in 0..ROUNDS + 30 {
        let call = attempt(json!({ "n": 7, "text": text }));
        let started = Instant::now();
        let output = agent.run(call).await.map_err(|it| it.message.into_string())?;
        let took = started.elapsed();
        if output != Value::Bool(true) {
            return Err("the recipe did not run".into());
        }
        if round >= 30 {
            times.push(took / u32::try_from(STEPS)?);
        }
    }
    Ok(middle(times))
}

async fn bind(upstream: &Arc<Upstream>, recipe: Value) -> Result<Arc<dyn AgentBackend>, Failed> {
    let name = AgentName::new("bench");
    let setting = AgentSetting { recipe: Some("bench".to_owned()), ..AgentSetting::default() };
    let recipes = Recipes::read(&BTreeMap::from([("bench".to_owned(), recipe)]));
    let choice = ArchonChoice::Configured(Arc::clone(upstream));
    let agents = Agents::new(AgentsSettings {
        agents: BTreeMap::from([(name.clone(), setting)]),
        upstreams: BTreeMap::new(),
        archon: Archon::new(choice, Arc::new(Wall::start())),
        commands: Commands::default(),
        workers: None,
        runner: None,
        embedded: Arc::clone(upstream),
        recipes: recipes.map_err(|it| it.iter().map(ToString::to_string).collect::<String>())?,
        workspaces: Workspaces::new([])?,
    });
    Ok(agents.bind(&name).await?.backend)
}

/// The middle of the times that a call takes.
async fn bare(upstream: &Upstream) -> Result<Duration, Failed> {
    let mut times = Vec::new();
    for round in 0..ROUNDS * 10 + 100 {
        let meta = CallMeta {
            key: "dispatch/task".to_owned(),
            attempt: Attempt(1),
            traceparent: None,
            heartbeat: Heartbeat::default(),
        };
        let args = fields(json!({ "n": 7, "text": "of t-1" }));
        let (limit, never) = (Duration::from_secs(20), CancellationToken::new());
        let started = Instant::now();
        upstream.call("quick", args, meta, limit, &never).await.result?;
        if round >= 100 {
            times.push(started.elapsed());
        }
    }
    Ok(middle(times))
}

fn attempt(input: Value) -> AttemptCall {
    AttemptCall {
        dispatch_id: DispatchId::new(Uuid::nil()),
        task_id: TaskId::new("t-1"),
        attempt: Attempt(1),
        agent: AgentName::new("bench"),
        description: "do nothing at all".into(),
        input: fields(input),
        upstream: Vec::<UpstreamOutput>::new(),
        timeout: Duration::from_secs(20),
        cancelled: CancellationToken::new(),
        calls: tokio::sync::mpsc::unbounded_channel().0,
        heartbeat: Heartbeat::default(),
        events: EventLog::default(),
    }
}

fn fields(value: Value) -> Map<String, Value> {
    if let Value::Object(fields) = value { fields } else { Map::new() }
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn upstream() -> Arc<Upstream> {
    let connect = Arc::new(|| {
        let (to_server, from_client) = mpsc::channel(64);
        let (to_client, from_server) = mpsc::channel(64);
        tokio::spawn(async move {
            if let Ok(running) = Box::pin(Quick.serve((to_client, from_client))).await {
                let _ended = running.waiting().await;
            }
        });
        (to_server, from_server)
    });
    let transport = UpstreamTransport::InMemory { connect };
    Upstream::new(UpstreamSettings::new("bench", transport, Era::Legacy), Arc::new(Wall::start()))
}

/// Answers at once.
struct Quick;

impl ServerHandler for Quick {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(vec![Tool::new("quick", "", Map::new())]))
    }

    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        Ok(CallToolResult::structured(json!({ "ok": true })).into())
    }
}

/// Milliseconds since the start.
#[derive(Debug)]
struct Wall(Instant);

impl Wall {
    fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Wall {
    fn now(&self) -> Millis {
        Millis(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()> {
        let wait = at.since(self.now());
        Box::pin(tokio::time::sleep(Duration::from_millis(wait.0)))
    }
}

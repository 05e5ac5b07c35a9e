//! What a step of a recipe costs by itself: of steps that call a tool in memory beside bare calls
//! of that tool, and of steps that call nothing.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark times and prints"
)]

#[path = "support/quick.rs"]
mod quick;

use std::{
    collections::BTreeMap,
    error::Error,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::channel::mpsc;
use parallel_dispatch::{
    agents::{
        AgentSetting, Agents, AgentsSettings, Recipes,
        command::{CommandHost, CommandRunner, Commands, GuardProgram},
    },
    confine::Workspaces,
    model::{AgentName, Attempt, DispatchId, TaskId},
    ports::{AgentBackend, AgentDirectory as _, AttemptCall, EventLog, Heartbeat, UpstreamOutput},
    upstream::{
        Archon, ArchonChoice, CallMeta, Era, Upstream, UpstreamSettings, UpstreamTransport,
    },
};
use rmcp::ServiceExt as _;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::quick::{Quick, Wall};

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
    let whole = |id: String| {
        let text = "{{ input.text }}";
        json!({ "id": id, "generate": { "with": "template", "text": text } })
    };
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
        runner: runner(),
        embedded: Arc::clone(upstream),
        recipes: recipes.map_err(|it| it.iter().map(ToString::to_string).collect::<String>())?,
        workspaces: Workspaces::new([])?,
    });
    Ok(agents.bind(&name).await?.backend)
}

/// What no recipe here uses.
fn runner() -> CommandRunner {
    let guard = GuardProgram { program: PathBuf::new(), arguments: Vec::new(), open_files: None };
    let clock = Arc::new(Wall::start());
    let host = CommandHost { guard, state_dir: PathBuf::new(), clock };
    CommandRunner { host, dir: PathBuf::new(), passed_on: |_| Vec::new() }
}

/// The middle of the times that a call takes.
async fn bare(upstream: &Upstream) -> Result<Duration, Failed> {
    let mut times = Vec::new();
    for round in 0..ROUNDS * 10 + 100 {
        let meta = CallMeta {
            key: "dispatch/task".to_owned(),
            attempt: Attempt(1),
            trace: None,
            span_id: None,
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
        trace: None,
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

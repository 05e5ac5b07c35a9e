//! One attempt at one task, from its resolved input to the agent's answer.

use std::{convert::Infallible, sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, debug_span, field::display};

use super::{
    ancestors,
    document::StoredDocument,
    evidence,
    filter::ContextPool,
    message::{AttemptEnd, Message},
    reuse::{self, Prospect},
    rules::OwnedRules,
};
use crate::{
    confine::Workspaces,
    model::{
        Attempt, DispatchId, Evidence, Failure, FailureCode, Lineage, Millis, TaskIdx, TaskSpec,
        Usage,
    },
    plan,
    ports::{AgentBackend, AttemptCall, CallLog, Checks, Clock, EventLog, Heartbeat, Journal},
};

/// How long an agent may take to stop once its attempt was given up.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How often the dispatcher is told of an agent's progress at most.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// What an attempt needs; it shares nothing that changes.
#[derive(Debug)]
pub(super) struct AttemptJob {
    pub(super) dispatch: DispatchId,
    pub(super) task: TaskIdx,
    pub(super) attempt: Attempt,
    pub(super) deadline: Millis,
    pub(super) document: Arc<StoredDocument>,
    /// Among whose results alone its own may be found, if not among all.
    pub(super) results_of: Option<Arc<str>>,
    pub(super) backend: Arc<dyn AgentBackend>,
    pub(super) pool: Option<Arc<ContextPool>>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rules: Arc<OwnedRules>,
    pub(super) workspaces: Workspaces,
    pub(super) checks: Arc<dyn Checks>,
    pub(super) cancelled: CancellationToken,
    /// The trace that it belongs to.
    pub(super) trace: Option<Lineage>,
    /// Where progress is told.
    pub(super) to_dispatcher: mpsc::WeakUnboundedSender<Message>,
}

/// What is learned on an attempt's way.
#[derive(Debug, Default)]
struct Notes {
    resolved: Option<Map<String, Value>>,
    prospect: Option<Prospect>,
    /// What the output says that the agent used.
    usage: Option<Usage>,
    evidence: Vec<Evidence>,
}

/// Runs an attempt to its end, or until it is given up. What is logged meanwhile says whose it is.
pub(super) async fn run(job: AttemptJob) -> AttemptEnd {
    let (began, dispatch_id) = (job.clock.now(), display(job.dispatch));
    let (task_id, agent) = (task_of(&job).task_id.as_str(), task_of(&job).agent.as_str());
    let (attempt, trace_id) = (job.attempt.0, job.trace.as_ref().map(|it| it.context.trace));
    let trace_id = trace_id.map(display);
    debug!(dispatch_id, task_id, attempt, agent, trace_id, "attempt started");
    let whose = debug_span!("attempt", dispatch_id, task_id, attempt, agent, trace_id);
    let end = run_to_end(&job).instrument(whose).await;
    let ms = job.clock.now().since(began).0;
    let outcome = end.result.as_ref().err().map_or("success", |it| it.code.as_str());
    debug!(dispatch_id, task_id, attempt, agent, trace_id, outcome, ms, "attempt ended");
    end
}

async fn run_to_end(job: &AttemptJob) -> AttemptEnd {
    let (calls, mut noted) = mpsc::unbounded_channel();
    let (events, mut shown) = EventLog::kept();
    let mut notes = Notes::default();
    let result = work(job, (calls, events), &mut notes).await;
    let Notes { resolved, prospect, usage: in_output, evidence } = notes;
    let findable = match &result {
        Ok(output) => {
            let look = reuse::findable(job, prospect, output);
            while_alive(job, look).await.ok().flatten()
        }
        Err(_) => None,
    };
    let mut ended_calls = Vec::new();
    let mut usage: Option<Usage> = None;
    while let Ok(call) = noted.try_recv() {
        usage = call.usage.map(|it| it.plus(usage.unwrap_or_default())).or(usage);
        ended_calls.push(call);
    }
    AttemptEnd {
        task: job.task,
        attempt: job.attempt,
        result,
        calls: ended_calls,
        events: std::iter::from_fn(|| shown.try_recv().ok()).collect(),
        resolved,
        findable,
        usage: usage.or(in_output),
        evidence,
    }
}

/// The agent's output as JSON text, if what is expected holds after it.
async fn work(
    job: &AttemptJob,
    logs: (CallLog, EventLog),
    notes: &mut Notes,
) -> Result<String, Failure> {
    let input = prepare(job, &mut notes.resolved).await?;
    notes.prospect = while_alive(job, reuse::prospect_to_keep(job, &input)).await?;
    let before = while_alive(job, evidence::baseline(job, &input)).await?;
    let output = run_agent(job, input, logs).await?;
    notes.usage = Usage::of_output(&output);
    notes.evidence = while_alive(job, evidence::gather(job, before, &output)).await?;
    evidence::failure(&notes.evidence).map_or_else(|| to_json(&output), Err)
}

async fn run_agent(
    job: &AttemptJob,
    input: Map<String, Value>,
    (calls, events): (CallLog, EventLog),
) -> Result<Value, Failure> {
    let task = task_of(job);
    let idle_timeout = task.idle_timeout_seconds;
    let heartbeat = idle_timeout.map_or_else(Heartbeat::default, |_| Heartbeat::heard());
    let upstream = ancestors::outputs(job, job.backend.upstream_wish()).await?;
    let call = AttemptCall {
        dispatch_id: job.dispatch,
        task_id: task.task_id.clone(),
        attempt: job.attempt,
        agent: task.agent.clone(),
        description: task.description.as_str().into(),
        input,
        upstream,
        timeout: own_timeout(Duration::from_millis(job.deadline.since(job.clock.now()).0)),
        cancelled: job.cancelled.clone(),
        calls,
        heartbeat: heartbeat.clone(),
        events,
        trace: job.trace.clone(),
    };
    let mut work = job.backend.run(call);
    tokio::select! {
        biased;
        result = &mut work => result,
        () = job.cancelled.cancelled() => {
            // Its result no longer counts; it only gets the time to clean up.
            let _late = tokio::time::timeout(STOP_GRACE, work).await;
            Err(given_up())
        }
        never = tell_progress(job, Some(&heartbeat)) => match never {},
    }
}

/// Looks at something while no agent works: that takes its time, and nobody is idle meanwhile.
async fn while_alive<T>(job: &AttemptJob, look: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        found = look => Ok(found),
        () = job.cancelled.cancelled() => Err(given_up()),
        never = tell_progress(job, None) => match never {},
    }
}

/// Tells the dispatcher that the attempt goes on, so often that no idle deadline passes meanwhile:
/// while the agent's heart beats, and always where there is none to listen to.
async fn tell_progress(job: &AttemptJob, heartbeat: Option<&Heartbeat>) -> Infallible {
    let idle_timeout = task_of(job).idle_timeout_seconds.map(Millis::from_seconds);
    let Some(idle) = idle_timeout else { return std::future::pending().await };
    let interval = HEARTBEAT_INTERVAL.min(Duration::from_millis((idle.0 / 4).max(1)));
    loop {
        if let Some(heartbeat) = heartbeat {
            heartbeat.beaten().await;
        }
        let AttemptJob { dispatch, task, attempt, .. } = *job;
        if let Some(dispatcher) = job.to_dispatcher.upgrade() {
            let _gone = dispatcher.send(Message::Heartbeat { dispatch, task, attempt });
        }
        tokio::time::sleep(interval).await;
    }
}

fn given_up() -> Failure {
    Failure::new(FailureCode::Cancelled, "the attempt was given up")
}

/// Ends the agent's waits a little before the attempt's deadline, so that it is the agent who says
/// what was waited for, and the trace has the call.
fn own_timeout(left: Duration) -> Duration {
    left.saturating_sub((left / 20).min(Duration::from_millis(100)))
}

/// The input that the agent gets: references resolved, context filled in.
pub(super) async fn prepare(
    job: &AttemptJob,
    resolved: &mut Option<Map<String, Value>>,
) -> Result<Map<String, Value>, Failure> {
    let task = task_of(job);
    let mut input = Map::clone(&task.input_data);
    if plan::has_references(&input) {
        input = resolve(job, &input).await?;
        plan::check_resolved_input(&task.agent, &input, &job.rules.as_rules())?;
        *resolved = Some(input.clone());
    }
    if let Some(pool) = &job.pool {
        pool.fill(task, &mut input)?;
        *resolved = Some(input.clone());
    }
    Ok(input)
}

async fn resolve(
    job: &AttemptJob,
    input: &Map<String, Value>,
) -> Result<Map<String, Value>, Failure> {
    let named = plan::referenced_ids(input).into_iter();
    let tasks: Vec<(String, TaskIdx)> =
        named.filter_map(|it| job.document.place(&it).map(|place| (it, place))).collect();
    let places = tasks.iter().map(|it| it.1).collect();
    let outputs = job.journal.outputs(job.dispatch, places).await.map_err(|it| {
        Failure::new(FailureCode::Interrupted, format!("failed to read upstream outputs: {it}"))
    })?;
    let outputs: std::collections::BTreeMap<String, Value> = tasks
        .into_iter()
        .zip(outputs)
        .filter_map(|((name, _), json)| Some((name, serde_json::from_str(&json?).ok()?)))
        .collect();
    plan::resolve(input, &|name| outputs.get(name))
}

fn task_of(job: &AttemptJob) -> &TaskSpec {
    &job.document.tasks[job.task.as_usize()]
}

fn to_json(output: &Value) -> Result<String, Failure> {
    serde_json::to_string(output)
        .map_err(|it| Failure::new(FailureCode::OutputInvalid, it.to_string()))
}

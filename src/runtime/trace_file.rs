//! What trace files say. What strangers wrote goes through redaction on its way.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    document::StoredDocument,
    report,
    tracer::{DispatchTrace, TaskTrace},
};
use crate::{
    model::{
        AgentName, Attempt, DispatchConfig, DispatchId, DispatchStatus, Reused, Summary, TaskId,
        TaskIdx, TaskResult, TaskStatus, Timestamp, UpstreamCall, UsageReport,
        redact::{Redacted, redact_value},
    },
    ports::{Record, RecordBody, StoredTask, TraceFile},
    scheduler::Event,
};

/// A task's own trace file.
pub(super) fn task_file(task: &TaskTrace) -> TraceFile {
    let json = with_task(task, |it| serde_json::to_string_pretty(it));
    let task_id = task.document.tasks[task.task.as_usize()].task_id.clone();
    TraceFile::Task { task_id, json }
}

/// The line of a task in the file that stands in for the tasks' own ones.
pub(super) fn task_line(task: &TaskTrace) -> String {
    with_task(task, |it| serde_json::to_string(it))
}

/// The text of the index file.
pub(super) fn index_file(dispatch: &DispatchTrace) -> String {
    let DispatchTrace { target, document, meta, row, tasks, .. } = dispatch;
    let listed = |(stored, description): (&StoredTask, _)| {
        let name_of = |it| name_of(document, it);
        let result = report::task_result(stored, &name_of, Some(target), tasks.len());
        ListedTask::new(result, description, &document.tasks[stored.task.as_usize()].dependencies)
    };
    let descriptions = document.tasks.iter().map(|it| Redacted(it.description.as_str()));
    let index = Index {
        dispatch_id: row.dispatch,
        correlation_id: row.dispatch,
        retry_of: meta.retry_of,
        status: row.status,
        created_at: Timestamp(row.created_at),
        ended_at: row.ended_at.map(Timestamp),
        config: document.config.to_config(Some(target.dir.display().to_string())),
        summary: report::summarise(row, tasks, meta, row.ended_at.unwrap_or(row.created_at)),
        warnings: meta.warnings.iter().map(|it| Redacted(it.as_str())).collect(),
        tasks: tasks.iter().zip(descriptions).map(listed).collect(),
    };
    serde_json::to_string_pretty(&index).unwrap_or_default()
}

#[derive(Serialize)]
struct Index<'a> {
    dispatch_id: DispatchId,
    correlation_id: DispatchId,
    retry_of: Option<DispatchId>,
    status: DispatchStatus,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
    config: DispatchConfig,
    summary: Summary,
    warnings: Vec<Redacted<'a, str>>,
    tasks: Vec<ListedTask<'a>>,
}

#[derive(Serialize)]
struct ListedTask<'a> {
    task_id: TaskId,
    agent: AgentName,
    description: Redacted<'a, str>,
    dependencies: &'a [TaskId],
    status: TaskStatus,
    error: Value,
    failure: Value,
    attempts: u32,
    execution_time_ms: Option<u64>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    trace_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reused: Option<Reused>,
}

impl<'a> ListedTask<'a> {
    fn new(result: TaskResult, description: Redacted<'a, str>, dependencies: &'a [TaskId]) -> Self {
        Self {
            error: clean(&result.error),
            failure: clean(&result.failure),
            task_id: result.task_id,
            agent: result.agent,
            description,
            dependencies,
            status: result.status,
            attempts: result.attempts,
            execution_time_ms: result.execution_time_ms,
            started_at: result.started_at,
            ended_at: result.ended_at,
            trace_file: result.trace_file,
            reused: result.reused,
        }
    }
}

#[derive(Serialize)]
struct Content<'a> {
    dispatch_id: DispatchId,
    correlation_id: DispatchId,
    task_id: &'a TaskId,
    agent: &'a AgentName,
    description: Redacted<'a, str>,
    dependencies: &'a [TaskId],
    status: TaskStatus,
    input: Redacted<'a, Map<String, Value>>,
    output: Redacted<'a, Value>,
    error: Value,
    failure: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    approval: Value,
    execution_time_ms: Option<u64>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reused: Option<&'a Reused>,
    attempts: Vec<TracedAttempt<'a>>,
}

#[derive(Serialize)]
struct TracedAttempt<'a> {
    attempt: Attempt,
    started_at: Timestamp,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    end: Option<AttemptEnd<'a>>,
}

#[derive(Serialize)]
struct AttemptEnd<'a> {
    ended_at: Timestamp,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Value::is_null")]
    error: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageReport>,
    upstream_calls: Vec<Call<'a>>,
}

/// A call; what went wrong may quote strangers.
#[derive(Serialize)]
#[serde(untagged)]
enum Call<'a> {
    Answered(&'a UpstreamCall),
    Failed(Value),
}

fn with_task(
    trace: &TaskTrace,
    write: impl FnOnce(&Content<'_>) -> serde_json::Result<String>,
) -> String {
    let spec = &trace.document.tasks[trace.task.as_usize()];
    let stored = StoredTask {
        task: trace.task,
        task_id: spec.task_id.clone(),
        agent: spec.agent.clone(),
        row: trace.row.clone(),
    };
    let mut result = report::task_result(&stored, &|it| name_of(&trace.document, it), None, 0);
    report::add_first_error(&mut result, &trace.history.records);
    let output: Value =
        trace.output.as_deref().and_then(|it| serde_json::from_str(it).ok()).unwrap_or_default();
    let content = Content {
        dispatch_id: trace.target.dispatch,
        correlation_id: trace.target.dispatch,
        task_id: &result.task_id,
        agent: &result.agent,
        description: Redacted(spec.description.as_str()),
        dependencies: &spec.dependencies,
        status: result.status,
        input: Redacted(trace.history.resolved.as_ref().unwrap_or(&spec.input_data)),
        output: Redacted(&output),
        error: clean(&result.error),
        failure: clean(&result.failure),
        approval: clean(&result.approval),
        execution_time_ms: result.execution_time_ms,
        started_at: result.started_at,
        ended_at: result.ended_at,
        reused: result.reused.as_ref(),
        attempts: attempts(&trace.history.records),
    };
    // Maps with string keys and finite numbers only: writing cannot fail.
    write(&content).unwrap_or_default()
}

/// The attempts of one task, each with its upstream calls, from the task's records.
fn attempts(records: &[Record]) -> Vec<TracedAttempt<'_>> {
    let mut attempts: Vec<TracedAttempt<'_>> = Vec::new();
    let mut calls: Vec<&UpstreamCall> = Vec::new();
    for record in records {
        match &record.body {
            RecordBody::Scheduler(Event::AttemptStarted { attempt, .. }) => {
                let (attempt, started_at) = (*attempt, Timestamp(record.at));
                attempts.push(TracedAttempt { attempt, started_at, end: None });
                calls.clear();
            }
            RecordBody::UpstreamCall { call, .. } => calls.push(call),
            RecordBody::Scheduler(event) => {
                if let Some(last) = attempts.last_mut()
                    && let Some(outcome) = outcome(event, last)
                {
                    last.end = Some(end(record, outcome, &calls));
                }
            }
            RecordBody::Accepted { .. }
            | RecordBody::CancelRequested { .. }
            | RecordBody::AgentEvent { .. }
            | RecordBody::ApprovalDecided { .. }
            | RecordBody::ControlRequested { .. }
            | RecordBody::InputReplaced { .. }
            | RecordBody::Nested { .. }
            | RecordBody::ContextGathered { .. } => (),
        }
    }
    attempts
}

/// How an event ends an attempt, if it does.
fn outcome(event: &Event, last: &TracedAttempt<'_>) -> Option<&'static str> {
    match event {
        Event::AttemptEnded { result: Ok(()), .. } => Some("success"),
        Event::AttemptEnded { result: Err(_), .. } => Some("error"),
        Event::AttemptInterrupted { .. } => Some("interrupted"),
        // Between two attempts there is none that it could be the end of.
        Event::TaskCancelled { .. } | Event::TaskDropped { .. } if last.end.is_none() => {
            Some("cancelled")
        }
        Event::TaskCancelled { .. }
        | Event::TaskDropped { .. }
        | Event::NestedSpent { .. }
        | Event::BudgetExceeded { .. }
        | Event::BudgetChanged { .. }
        | Event::RetryDue { .. }
        | Event::TaskExpired { .. }
        | Event::TaskKept { .. }
        | Event::TaskReused { .. }
        | Event::TaskJoined { .. }
        | Event::TasksAdded { .. }
        | Event::GateReached { .. }
        | Event::GatePassed { .. }
        | Event::GateFailed { .. }
        | Event::TaskOmitted { .. }
        | Event::AttemptStarted { .. }
        | Event::TaskSkipped { .. }
        | Event::DispatchPaused
        | Event::DispatchResumed
        | Event::TasksPaused { .. }
        | Event::TasksResumed { .. }
        | Event::WorkersChanged { .. }
        | Event::DispatchCancelled
        | Event::DispatchEnded { .. } => None,
    }
}

fn end<'a>(record: &Record, outcome: &'static str, calls: &[&'a UpstreamCall]) -> AttemptEnd<'a> {
    let (mut error, mut again, mut used) = (Value::Null, None, None);
    if let RecordBody::Scheduler(Event::AttemptEnded { usage, .. }) = &record.body {
        used = usage.and_then(|it| it.report());
    }
    if let RecordBody::Scheduler(Event::AttemptEnded { result: Err(failure), retry_at, .. }) =
        &record.body
    {
        error = clean(failure);
        again = retry_at.map(Timestamp);
    }
    let call = |it: &'a UpstreamCall| match it.error {
        None => Call::Answered(it),
        Some(_) => Call::Failed(clean(it)),
    };
    let upstream_calls = calls.iter().copied().map(call).collect();
    AttemptEnd {
        ended_at: Timestamp(record.at),
        outcome,
        error,
        retry_at: again,
        usage: used,
        upstream_calls,
    }
}

/// What only failures have is made to a value: they are few.
fn clean(part: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(part).unwrap_or_default();
    redact_value(&mut value);
    value
}

fn name_of(document: &StoredDocument, task: TaskIdx) -> String {
    document.tasks.get(task.as_usize()).map_or_else(String::new, |it| it.task_id.to_string())
}

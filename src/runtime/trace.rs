//! What trace files and trace events say.

use serde_json::{Map, Value, json};

use super::{
    document::StoredDocument,
    live::TRACE_FILES_MAX,
    report,
    tracer::{DispatchTrace, TaskTrace},
};
use crate::{
    model::{
        DispatchConfig, Failure, Millis, TaskIdx, Timestamp, TraceEvent, UpstreamCall,
        redact::redact_value,
    },
    ports::{Record, RecordBody, StoredTask, TraceFile, TraceTarget},
    scheduler::Event,
};

/// A task's own trace file.
pub(super) fn task_file(task: &TaskTrace) -> TraceFile {
    let json = serde_json::to_string_pretty(&task_value(task)).unwrap_or_default();
    let task_id = task.document.tasks[task.task.as_usize()].task_id.clone();
    TraceFile::Task { task_id, json }
}

/// The line of a task in the file that stands in for the tasks' own ones.
pub(super) fn task_line(task: &TaskTrace) -> String {
    task_value(task).to_string()
}

/// The text of the index file.
pub(super) fn index_file(dispatch: &DispatchTrace) -> String {
    let DispatchTrace { target, document, meta, row, tasks, .. } = dispatch;
    let listed = tasks.iter().zip(&document.tasks).map(|(stored, spec)| {
        let result =
            report::task_result(stored, &|it| name_of(document, it), Some(target), tasks.len());
        json!({
            "task_id": result.task_id,
            "agent": result.agent,
            "description": spec.description,
            "dependencies": spec.dependencies,
            "status": result.status,
            "error": result.error,
            "failure": result.failure,
            "attempts": result.attempts,
            "execution_time_ms": result.execution_time_ms,
            "started_at": result.started_at,
            "ended_at": result.ended_at,
            "trace_file": result.trace_file,
        })
    });
    let config = DispatchConfig {
        max_workers: Some(document.config.max_workers),
        timeout_seconds: Some(millis_to_seconds(document.config.timeout.0)),
        trace_dir: Some(target.dir.display().to_string()),
        on_failure: Some(document.config.on_failure),
        enable_context: Some(document.config.enable_context),
    };
    let mut index = json!({
        "dispatch_id": row.dispatch,
        "correlation_id": row.dispatch,
        "retry_of": meta.retry_of,
        "status": row.status,
        "created_at": Timestamp(row.created_at),
        "ended_at": row.ended_at.map(Timestamp),
        "config": config,
        "summary": report::summarise(row, tasks, meta, row.ended_at.unwrap_or(row.created_at)),
        "warnings": meta.warnings,
        "tasks": listed.collect::<Vec<_>>(),
    });
    redact_value(&mut index);
    serde_json::to_string_pretty(&index).unwrap_or_default()
}

/// The path of a task's trace file, for results.
pub(super) fn task_path(target: &TraceTarget, stored: &StoredTask, n_tasks: usize) -> String {
    let path = if n_tasks > TRACE_FILES_MAX {
        target.lines_path()
    } else {
        target.task_path(&stored.task_id)
    };
    path.display().to_string()
}

/// A record as users read it.
pub(super) fn event(record: &Record, name_of: &dyn Fn(TaskIdx) -> String) -> TraceEvent {
    let (task, attempt) = record.body.subject();
    let mut data = data_of(&record.body, name_of);
    redact_value(&mut data);
    TraceEvent {
        seq: record.seq,
        at: Timestamp(record.at),
        kind: record.body.kind(),
        task_id: task.map(|it| crate::model::TaskId::new(&name_of(it))),
        attempt,
        data: if let Value::Object(map) = data { map } else { Map::new() },
    }
}

fn data_of(body: &RecordBody, name_of: &dyn Fn(TaskIdx) -> String) -> Value {
    match body {
        RecordBody::Accepted { n_tasks, max_workers } => {
            json!({ "total_tasks": n_tasks, "max_workers": max_workers })
        }
        RecordBody::CancelRequested { tasks, reason } => {
            let names: Vec<_> = tasks.iter().map(|it| name_of(*it)).collect();
            json!({ "task_ids": names, "reason": reason })
        }
        RecordBody::UpstreamCall { call, .. } => json!(call),
        RecordBody::ContextGathered { n_asked, n_gathered, missing, duration_ms } => json!({
            "asked": n_asked,
            "gathered": n_gathered,
            "missing": missing,
            "duration_ms": duration_ms,
        }),
        RecordBody::Scheduler(event) => match event {
            Event::AttemptStarted { deadline, .. } => json!({ "deadline": Timestamp(*deadline) }),
            Event::AttemptEnded { result: Ok(()), .. } => json!({ "ok": true }),
            Event::AttemptEnded { result: Err(failure), retry_at, .. } => {
                failed_attempt(failure, *retry_at)
            }
            Event::TaskSkipped { because, .. } => json!({ "because": name_of(*because) }),
            Event::DispatchEnded { status } => json!({ "status": status }),
            Event::TaskKept { .. }
            | Event::RetryDue { .. }
            | Event::TaskExpired { .. }
            | Event::AttemptInterrupted { .. }
            | Event::TaskCancelled { .. }
            | Event::DispatchCancelled => Value::Null,
        },
    }
}

fn failed_attempt(failure: &Failure, retry_at: Option<Millis>) -> Value {
    let Failure { code, message, retry_after_ms } = failure;
    let mut data = json!({ "ok": false, "code": code, "error": message });
    if let Some(millis) = retry_after_ms {
        data["retry_after_ms"] = json!(millis);
    }
    if let Some(at) = retry_at {
        data["retry_at"] = json!(Timestamp(at));
    }
    data
}

fn task_value(trace: &TaskTrace) -> Value {
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
    let input = trace.history.resolved.as_ref().unwrap_or(&spec.input_data);
    let mut value = json!({
        "dispatch_id": trace.target.dispatch,
        "correlation_id": trace.target.dispatch,
        "task_id": result.task_id,
        "agent": result.agent,
        "description": spec.description,
        "dependencies": spec.dependencies,
        "status": result.status,
        "input": input,
        "output": output,
        "error": result.error,
        "failure": result.failure,
        "execution_time_ms": result.execution_time_ms,
        "started_at": result.started_at,
        "ended_at": result.ended_at,
        "attempts": attempts(&trace.history.records),
    });
    redact_value(&mut value);
    value
}

/// The attempts of one task, each with its upstream calls, from the task's records.
fn attempts(records: &[Record]) -> Vec<Value> {
    let mut attempts: Vec<Map<String, Value>> = Vec::new();
    let mut calls: Vec<&UpstreamCall> = Vec::new();
    for record in records {
        match &record.body {
            RecordBody::Scheduler(Event::AttemptStarted { attempt, .. }) => {
                let mut entry = Map::new();
                entry.insert("attempt".into(), json!(attempt));
                entry.insert("started_at".into(), json!(Timestamp(record.at)));
                attempts.push(entry);
                calls.clear();
            }
            RecordBody::UpstreamCall { call, .. } => calls.push(call),
            RecordBody::Scheduler(event) => {
                let Some(entry) = attempts.last_mut() else { continue };
                let outcome = match event {
                    Event::AttemptEnded { result: Ok(()), .. } => "success",
                    Event::AttemptEnded { result: Err(_), .. } => "error",
                    Event::AttemptInterrupted { .. } => "interrupted",
                    // Between two attempts there is none that it could be the end of.
                    Event::TaskCancelled { .. } if !entry.contains_key("outcome") => "cancelled",
                    Event::TaskCancelled { .. }
                    | Event::RetryDue { .. }
                    | Event::TaskExpired { .. }
                    | Event::TaskKept { .. }
                    | Event::AttemptStarted { .. }
                    | Event::TaskSkipped { .. }
                    | Event::DispatchCancelled
                    | Event::DispatchEnded { .. } => continue,
                };
                entry.insert("ended_at".into(), json!(Timestamp(record.at)));
                entry.insert("outcome".into(), json!(outcome));
                if let Event::AttemptEnded { result: Err(failure), retry_at, .. } = event {
                    entry.insert("error".into(), json!(failure));
                    if let Some(at) = retry_at {
                        entry.insert("retry_at".into(), json!(Timestamp(*at)));
                    }
                }
                entry.insert("upstream_calls".into(), json!(calls));
            }
            RecordBody::Accepted { .. }
            | RecordBody::CancelRequested { .. }
            | RecordBody::ContextGathered { .. } => (),
        }
    }
    attempts.into_iter().map(Value::Object).collect()
}

fn name_of(document: &StoredDocument, task: TaskIdx) -> String {
    document.tasks.get(task.as_usize()).map_or_else(String::new, |it| it.task_id.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "at most 86,400,000")]
fn millis_to_seconds(millis: u64) -> f64 {
    millis as f64 / 1_000.0
}

//! What trace events say, and where a task's trace stands.

use serde_json::{Map, Value, json};

use super::live::TRACE_FILES_MAX;
use crate::{
    model::{Failure, Millis, TaskIdx, Timestamp, TraceEvent, redact::redact_value},
    ports::{Record, RecordBody, StoredTask, TraceTarget},
    scheduler::Event,
};

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
    let names = |tasks: &[TaskIdx]| tasks.iter().map(|it| name_of(*it)).collect::<Vec<_>>();
    match body {
        RecordBody::Accepted { n_tasks, max_workers } => {
            json!({ "total_tasks": n_tasks, "max_workers": max_workers })
        }
        RecordBody::CancelRequested { tasks, reason } => {
            json!({ "task_ids": names(tasks), "reason": reason })
        }
        RecordBody::ControlRequested { action, tasks, reason } => {
            json!({ "action": action, "task_ids": names(tasks), "reason": reason })
        }
        RecordBody::InputReplaced { fields, reason, .. } => {
            json!({ "fields": fields, "reason": reason })
        }
        RecordBody::ApprovalDecided { decision, note, .. } => {
            json!({ "decision": decision, "note": note })
        }
        RecordBody::AgentEvent { event, .. } => json!(event),
        RecordBody::Nested { dispatch, .. } => json!({ "dispatch_id": dispatch }),
        RecordBody::UpstreamCall { call, .. } => json!(call),
        RecordBody::ContextGathered { n_asked, n_gathered, missing, duration_ms } => json!({
            "asked": n_asked,
            "gathered": n_gathered,
            "missing": missing,
            "duration_ms": duration_ms,
        }),
        RecordBody::Scheduler(event) => data_of_fact(event, name_of),
    }
}

fn data_of_fact(event: &Event, name_of: &dyn Fn(TaskIdx) -> String) -> Value {
    let names = |tasks: &[TaskIdx]| tasks.iter().map(|it| name_of(*it)).collect::<Vec<_>>();
    match event {
        Event::AttemptStarted { deadline, .. } => json!({ "deadline": Timestamp(*deadline) }),
        Event::AttemptEnded { result, retry_at, usage, .. } => {
            let mut data = match result {
                Ok(()) => json!({ "ok": true }),
                Err(failure) => failed_attempt(failure, *retry_at),
            };
            if let Some(usage) = usage.and_then(|it| it.report()) {
                data["usage"] = json!(usage);
            }
            data
        }
        Event::NestedSpent { spend, tasks, .. } => {
            json!({ "tokens": spend.tokens, "cost_usd": spend.cost.usd(), "tasks": tasks })
        }
        Event::BudgetChanged { budget } => json!({ "limits": budget.to_spec() }),
        Event::BudgetExceeded { what } | Event::TaskDropped { what, .. } => {
            json!({ "limit": what })
        }
        Event::TaskSkipped { because, .. } => json!({ "because": name_of(*because) }),
        Event::TaskOmitted { because: Some(because), .. } => {
            json!({ "because": name_of(*because) })
        }
        Event::TaskOmitted { because: None, reason, .. } => json!({ "reason": reason }),
        Event::GateReached { gate, until, .. } => match until {
            Some(at) => json!({ "gate": gate, "until": Timestamp(*at) }),
            None => json!({ "gate": gate }),
        },
        Event::TasksAdded { n_tasks, .. } => json!({ "total_tasks": n_tasks }),
        Event::GatePassed { gate, .. } => json!({ "gate": gate }),
        Event::GateFailed { gate, failure, .. } => {
            json!({ "gate": gate, "code": failure.code, "error": failure.message })
        }
        Event::DispatchEnded { status } => json!({ "status": status }),
        Event::TaskReused { from, .. } => json!(from),
        Event::TaskKept { .. }
        | Event::TaskJoined { .. }
        | Event::RetryDue { .. }
        | Event::TaskExpired { .. }
        | Event::AttemptInterrupted { .. }
        | Event::TaskCancelled { .. }
        | Event::DispatchPaused
        | Event::DispatchResumed
        | Event::DispatchCancelled => Value::Null,
        Event::TasksPaused { tasks } | Event::TasksResumed { tasks } => {
            json!({ "task_ids": names(tasks) })
        }
        Event::WorkersChanged { workers_max } => json!({ "max_workers": workers_max }),
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

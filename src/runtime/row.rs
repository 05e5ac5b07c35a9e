//! What each fact makes of the row that the store keeps of its task.

use super::spending;
use crate::{
    model::{
        ApprovalReport, Attempt, Failure, FailureCode, Millis, TaskIdx, TaskSpec, TaskStatus,
        Timestamp,
    },
    ports::TaskRow,
    scheduler::{Event, Gate},
};

/// A row of a task that has not started.
pub(super) const PENDING: TaskRow = TaskRow {
    status: TaskStatus::Pending,
    attempts: 0,
    started_at: None,
    ended_at: None,
    failure: None,
    caused_by: None,
    reused: None,
    approval: None,
    usage: None,
    evidence: None,
};

/// How long the last attempt of a task took.
pub(super) fn execution_time(row: &TaskRow) -> Option<Millis> {
    Some(row.ended_at?.since(row.started_at?))
}

/// Whether it is the fact that ends this attempt, or stands for it.
pub(super) fn is_end_of(event: &Event, of: TaskIdx, which: Attempt) -> bool {
    let is_it = |task: &TaskIdx| *task == of;
    matches!(event, Event::AttemptEnded { task, attempt, .. } if is_it(task) && *attempt == which)
        || matches!(event, Event::TaskReused { task, .. } if is_it(task))
        || matches!(event, Event::TaskJoined { task } if is_it(task))
}

/// Whether a task may have ended with `event`; it may also be about an attempt before its last.
pub(super) fn may_end(event: &Event) -> bool {
    !matches!(
        event,
        Event::AttemptStarted { .. }
            | Event::AttemptEnded { retry_at: Some(_), .. }
            | Event::RetryDue { .. }
            | Event::TasksAdded { .. }
            | Event::GateReached { .. }
            | Event::GatePassed { .. }
            | Event::AttemptInterrupted { .. }
    )
}

/// Whether somebody must decide before the task of this row goes on.
pub(super) fn waits_for_approval(row: &TaskRow) -> bool {
    let is_asked = row.approval.as_ref().is_some_and(|it| it.decision.is_none());
    is_asked && row.status == TaskStatus::Pending
}

/// Changes the row of the task that `event` is about.
pub(super) fn update(row: &mut TaskRow, now: Millis, event: &Event, spec: &TaskSpec) {
    match event {
        Event::AttemptStarted { attempt, .. } => {
            row.status = TaskStatus::Running;
            row.attempts = attempt.0;
            row.evidence = None;
            row.started_at = Some(now);
        }
        Event::AttemptEnded { result: Err(failure), retry_at: Some(_), .. } => {
            row.status = TaskStatus::Pending;
            row.failure = Some(failure.clone());
        }
        Event::AttemptEnded { result, .. } => {
            row.status = if result.is_ok() { TaskStatus::Success } else { TaskStatus::Error };
            row.failure = result.as_ref().err().cloned();
            row.ended_at = Some(now);
        }
        Event::RetryDue { .. } | Event::AttemptInterrupted { .. } => {
            row.status = TaskStatus::Pending;
        }
        Event::TaskExpired { .. } => {
            let message = "the task passed its total_timeout_seconds before its next attempt";
            fail(row, now, Failure::new(FailureCode::Timeout, message));
        }
        Event::GateReached { gate: Gate::Approval, until, .. } => {
            row.approval = asked(spec, *until);
        }
        Event::GateFailed { failure, .. } => fail(row, now, failure.clone()),
        Event::TaskOmitted { because, reason, .. } => {
            row.status = TaskStatus::Skipped;
            row.failure = Some(Failure::new(FailureCode::ConditionUnmet, reason.clone()));
            row.caused_by = *because;
            row.ended_at = Some(now);
        }
        Event::TaskReused { from, .. } => {
            row.status = TaskStatus::Success;
            row.reused = Some(from.clone());
            row.ended_at = Some(now);
        }
        Event::TaskJoined { .. } => {
            row.status = TaskStatus::Success;
            row.ended_at = Some(now);
        }
        Event::TaskSkipped { because, .. } => {
            row.status = TaskStatus::Skipped;
            row.failure =
                Some(Failure::new(FailureCode::DependencyFailed, "a task it waits for failed"));
            row.caused_by = Some(*because);
            row.ended_at = Some(now);
        }
        Event::TaskDropped { what, .. } => spending::drop_task(row, now, *what),
        Event::TaskCancelled { .. } => {
            row.status = TaskStatus::Cancelled;
            row.failure = Some(Failure::new(FailureCode::Cancelled, "cancelled"));
            row.ended_at = Some(now);
        }
        // The row of a kept task came with the submission.
        Event::TaskKept { .. } => row.status = TaskStatus::Success,
        Event::TasksAdded { .. }
        | Event::NestedSpent { .. }
        | Event::GateReached { .. }
        | Event::GatePassed { .. }
        | Event::BudgetExceeded { .. }
        | Event::BudgetChanged { .. }
        | Event::DispatchPaused
        | Event::DispatchResumed
        | Event::TasksPaused { .. }
        | Event::TasksResumed { .. }
        | Event::WorkersChanged { .. }
        | Event::DispatchCancelled
        | Event::DispatchEnded { .. } => (),
    }
}

fn fail(row: &mut TaskRow, now: Millis, failure: Failure) {
    row.status = TaskStatus::Error;
    row.failure = Some(failure);
    row.ended_at = Some(now);
}

fn asked(spec: &TaskSpec, until: Option<Millis>) -> Option<Box<ApprovalReport>> {
    let approval = spec.approval.as_deref()?;
    Some(Box::new(ApprovalReport {
        message: approval.message.clone(),
        decisions: approval.decisions.clone(),
        until: until.map(Timestamp),
        decision: None,
        note: None,
    }))
}

//! What each fact makes of a task's row.

use crate::{
    model::{Attempt, Failure, FailureCode, Millis, TaskIdx, TaskStatus},
    ports::TaskRow,
    scheduler::Event,
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
};

/// How long the last attempt of a task took.
pub(super) fn execution_time(row: &TaskRow) -> Option<Millis> {
    Some(row.ended_at?.since(row.started_at?))
}

/// Whether it is the fact that ends this attempt, or stands for it.
pub(super) fn is_end_of(event: &Event, of: TaskIdx, which: Attempt) -> bool {
    matches!(event, Event::AttemptEnded { task, attempt, .. } if (*task, *attempt) == (of, which))
        || matches!(event, Event::TaskReused { task, .. } | Event::TaskJoined { task } if *task == of)
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

/// Changes a task's row by one fact about it.
pub(super) fn update_row(row: &mut TaskRow, now: Millis, event: &Event) {
    match event {
        Event::AttemptStarted { attempt, .. } => {
            row.status = TaskStatus::Running;
            row.attempts = attempt.0;
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
            row.status = TaskStatus::Error;
            let message = "the task passed its total_timeout_seconds before its next attempt";
            row.failure = Some(Failure::new(FailureCode::Timeout, message));
            row.ended_at = Some(now);
        }
        Event::GateFailed { failure, .. } => {
            row.status = TaskStatus::Error;
            row.failure = Some(failure.clone());
            row.ended_at = Some(now);
        }
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
        Event::TaskCancelled { .. } => {
            row.status = TaskStatus::Cancelled;
            row.failure = Some(Failure::new(FailureCode::Cancelled, "cancelled"));
            row.ended_at = Some(now);
        }
        // The row of a kept task came with the submission.
        Event::TaskKept { .. } => row.status = TaskStatus::Success,
        Event::TasksAdded { .. }
        | Event::GateReached { .. }
        | Event::GatePassed { .. }
        | Event::DispatchCancelled
        | Event::DispatchEnded { .. } => (),
    }
}

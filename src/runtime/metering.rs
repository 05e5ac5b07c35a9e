//! What is told to the meter: what a commit made durable, and how much there is to do.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    dispatcher::Dispatcher, handle::DispatcherHandle, live::Live, options::Dependencies,
    orphans::LEASE, row::execution_time,
};
use crate::{
    model::{FailureCode, TaskIdx},
    ports::{Meter, RecordBody, Standing, Write},
    scheduler::Event,
};

impl Dispatcher {
    /// Tells what became durable, of dispatches that are this process's still.
    pub(super) fn meter(&self, writes: &[Write], took: Duration) {
        let Some(meter) = self.dependencies.meter.as_deref() else { return };
        meter.committed(took, writes.len());
        let mut last: Option<&Live> = None;
        for write in writes {
            let Write::Record { dispatch, record } = write else { continue };
            // Writes about one dispatch mostly stand together.
            if last.is_none_or(|it| it.id != *dispatch) {
                last = self.lives.get(dispatch);
            }
            let Some(live) = last else { continue };
            if let RecordBody::Scheduler(event) = &record.body {
                if let Some((task, code)) = stopped(event)
                    && self.running.contains_key(&(*dispatch, task))
                {
                    let agent = &live.document.tasks[task.as_usize()].agent;
                    meter.attempt_ended(agent, Err(code), false);
                }
                live.meter(event, meter);
            } else if let RecordBody::UpstreamCall { call, .. } = &record.body {
                meter.call_ended(call);
            } else if let RecordBody::Accepted { .. } = &record.body {
                meter.dispatch_accepted();
            }
        }
    }

    /// Tells how much there is to do.
    pub(super) fn meter_standing(&self) {
        let Some(meter) = self.dependencies.meter.as_deref() else { return };
        let n_open: usize = self.lives.values().map(|it| it.rows.len() - it.n_ended).sum();
        let n_running = self.running.len();
        let n_queued = n_open.saturating_sub(n_running);
        meter.stands(Standing { n_dispatches: self.lives.len(), n_running, n_queued });
    }
}

/// Which task's attempt an event stops where one runs, and why.
fn stopped(event: &Event) -> Option<(TaskIdx, FailureCode)> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only these end a task that runs on")]
    match event {
        Event::TaskCancelled { task } => Some((*task, FailureCode::Cancelled)),
        Event::TaskDropped { task, .. } => Some((*task, FailureCode::BudgetExceeded)),
        _ => None,
    }
}

impl DispatcherHandle {
    /// Finds out whether the store takes something, which the meter is told.
    pub async fn try_store(&self) {
        let Dependencies { journal, ownership, clock, meter, .. } = &self.dependencies;
        let (owner, pid, until) = (ownership.me(), std::process::id(), clock.now() + LEASE);
        let began = Instant::now();
        let written = journal.commit(vec![Write::Lease { owner, pid, until }].into()).await;
        match (meter, written) {
            (Some(meter), Ok(_)) => meter.committed(began.elapsed(), 1),
            (Some(meter), Err(_)) => meter.commit_failed(),
            (None, _) => (),
        }
    }
}

impl Live {
    fn meter(&self, event: &Event, meter: &dyn Meter) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the others end nothing")]
        match event {
            Event::AttemptEnded { task, result, retry_at, .. } => {
                let agent = &self.document.tasks[task.as_usize()].agent;
                let end = result.as_ref().map_err(|it| it.code).copied();
                meter.attempt_ended(agent, end, retry_at.is_some());
                if retry_at.is_none() {
                    self.meter_task(*task, true, meter);
                }
            }
            Event::AttemptInterrupted { task, .. } => {
                let agent = &self.document.tasks[task.as_usize()].agent;
                meter.attempt_ended(agent, Err(FailureCode::Interrupted), true);
            }
            Event::TaskReused { task, .. }
            | Event::TaskJoined { task }
            | Event::TaskExpired { task }
            | Event::TaskOmitted { task, .. }
            | Event::TaskSkipped { task, .. }
            | Event::TaskDropped { task, .. }
            | Event::TaskCancelled { task }
            | Event::GateFailed { task, .. } => self.meter_task(*task, false, meter),
            Event::DispatchEnded { status } => meter.dispatch_ended(*status),
            // What was taken over from an earlier dispatch ended there.
            _ => (),
        }
    }

    fn meter_task(&self, task: TaskIdx, has_run: bool, meter: &dyn Meter) {
        let row = &self.rows[task.as_usize()];
        let took = execution_time(row).filter(|_| has_run);
        meter.task_ended(&self.document.tasks[task.as_usize()].agent, row.status, took);
    }
}

//! Tells those who wait for a dispatch, and those who follow it, how it goes and that it ended.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::oneshot;
use tracing::info;

use super::{
    course::{Follower, Heed},
    dispatcher::Dispatcher,
    live::{Live, Waiter},
    message::{Ended, Paused, Progress},
    tracer::{DispatchTrace, Job},
};
use crate::model::{DispatchId, DispatchStatus, Millis, TaskIdx, TaskStatus};

/// How often the end of a dispatch that somebody follows is guessed anew.
const GUESS_EVERY: Millis = Millis(1_000);
/// The end of larger dispatches is not guessed: it would hold up all others.
const GUESS_TASKS_MAX: usize = 100_000;

impl Dispatcher {
    pub(super) fn tell_followers(&mut self, mut touched: Vec<DispatchId>) {
        touched.sort_unstable();
        touched.dedup();
        let now = self.dependencies.clock.now();
        for id in touched {
            let Some(live) = self.lives.get_mut(&id) else { continue };
            live.publish(now);
            let (done, waiting) = std::mem::take(&mut live.waiters)
                .into_iter()
                .partition(|it| live.has_ended(&it.tasks));
            live.waiters = waiting;
            let done: Vec<Waiter> = done;
            for waiter in done {
                let _gone = waiter.reply.send(Ended::default());
            }
        }
    }

    /// Lets go of a dispatch that has ended.
    pub(super) async fn finish(&mut self, dispatch: DispatchId, status: DispatchStatus) {
        let Some(mut live) = self.lives.remove(&dispatch) else { return };
        let trace_id = self.trace_id(&live);
        info!(dispatch_id = %dispatch, trace_id, ?status, "dispatch ended");
        // Whoever is told of the end may look at once.
        self.meter_standing();
        let waiters = std::mem::take(&mut live.waiters).into_iter().map(|it| {
            let (written, files) = oneshot::channel();
            let _gone = it.reply.send(Ended { files: Some(files) });
            written
        });
        let waiters = waiters.collect();
        let (row, tasks) = live.stored(status, self.dependencies.ownership.me());
        let trace = DispatchTrace {
            target: live.trace_target(),
            document: live.document,
            meta: live.meta,
            row,
            tasks,
            from_store: live.traces_from_store,
            waiters,
            progress: live.progress,
        };
        let _closed = self.traces.send(Job::Dispatch(Box::new(trace))).await;
    }
}

impl Live {
    /// One more who follows.
    pub(super) fn follow(&self, heed: Heed) -> Follower {
        let mark = (heed == Heed::Counts).then(|| Arc::clone(&self.aside));
        (self.progress.subscribe(), mark)
    }

    /// Whether somebody follows who wants to know when it ends.
    fn is_timed(&self) -> bool {
        self.progress.receiver_count() >= Arc::strong_count(&self.aside)
    }

    /// Tells those who follow how it goes.
    fn publish(&mut self, now: Millis) {
        let ends_at = self.guess_end(now);
        let name = |it: &TaskIdx| self.document.tasks[it.as_usize()].task_id.clone();
        let some = |of: &BTreeSet<TaskIdx>| of.iter().take(3).map(name).collect();
        self.progress.send_replace(Progress {
            status: DispatchStatus::Running,
            n_tasks: self.rows.len(),
            n_ended: self.n_ended,
            n_unsuccessful: self.n_unsuccessful,
            running: some(&self.running),
            n_running: self.running.len(),
            waiting: some(&self.waiting),
            n_waiting: self.waiting.len(),
            paused: self.paused(),
            n_waits: self.n_waits,
            exceeded: self.scheduler.exceeded(),
            ends_at,
        });
    }

    fn paused(&self) -> Paused {
        match self.scheduler.paused_tasks().next() {
            _ if self.scheduler.is_paused() => Paused::Whole,
            Some(_) => Paused::Tasks,
            None => Paused::Nothing,
        }
    }

    /// When everything is expected to have ended, if somebody wants to know.
    ///
    /// Nothing is expected where the estimates say nothing, and where people are waited for.
    fn guess_end(&mut self, now: Millis) -> Option<Millis> {
        let is_held = self.paused() != Paused::Nothing || self.scheduler.exceeded().is_some();
        let is_moving = !self.running.is_empty() && self.waiting.is_empty() && !is_held;
        let is_known = self.meta.estimated.is_some() && self.rows.len() <= GUESS_TASKS_MAX;
        if !is_moving || !is_known || !self.is_timed() {
            self.guessed = None;
            return None;
        }
        let last = self.guessed.filter(|(at, _)| now.since(*at) < GUESS_EVERY);
        let (at, end) = last.unwrap_or_else(|| (now, now + self.left(now)));
        self.guessed = Some((at, end));
        Some(end)
    }

    /// The longest path that is left, or all the work that is left spread over the workers,
    /// whichever takes longer.
    fn left(&self, now: Millis) -> Millis {
        let (mut longest, mut work) = (0, 0);
        for (task, row) in self.graph.tasks().zip(&self.rows) {
            if row.status.is_final() {
                continue;
            }
            let whole = self.graph.estimate(task).0;
            let elapsed = match (row.status, row.started_at) {
                (TaskStatus::Running, Some(at)) => now.since(at).0.min(whole),
                _ => 0,
            };
            longest = longest.max(self.graph.rank(task).0.saturating_sub(elapsed));
            work += whole - elapsed;
        }
        Millis(longest.max(work / u64::from(self.scheduler.workers_limit().max(1))))
    }
}

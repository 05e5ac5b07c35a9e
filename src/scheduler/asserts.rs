//! What must hold of the simulated world after every step, and at its end.

use super::{Decision, Event, TaskState, testing::World};
use crate::model::{Attempt, DispatchStatus, Millis, TaskIdx};

impl World {
    pub(super) fn assert_invariants(&mut self) {
        let n_running = self.graph.tasks().filter(|&it| self.is(it, TaskState::Running)).count();
        assert_eq!(n_running, self.scheduler.n_running() as usize);
        for task in self.graph.tasks() {
            let state = self.scheduler.state(task);
            if let Some(before) = self.finals.get(&task) {
                assert_eq!(*before, state, "a final state changed");
            }
            if !state.is_open() {
                self.finals.insert(task, state);
            }
            self.oracle.assert_nothing_is_due(self.now, task, &self.scheduler);
        }
        let is_idle = n_running < self.oracle.workers_max as usize;
        for task in self.graph.tasks().filter(|it| self.is_startable(*it)) {
            let is_held_up = self.is_held_up(task) || self.is_too_dear(task);
            assert!(!is_idle || is_held_up, "it waits although a worker is free");
        }
        self.assert_claims_hold();
        self.oracle.purse.assert_agrees(self.scheduler.spend());
        assert_eq!(self.oracle.purse.exceeded, self.scheduler.exceeded());
        if self.finals.len() < self.graph.len() {
            self.oracle.purse.assert_not_passed(self.now);
        }
    }

    /// Whether the budget holds a ready task up, or one that goes before it.
    fn is_too_dear(&self, task: TaskIdx) -> bool {
        let is_before = |it: TaskIdx| self.graph.priority(it) <= self.graph.priority(task);
        let mut ready = self.graph.tasks().filter(|it| self.is(*it, TaskState::Ready));
        let expected = |it| self.policy.of(it).expected;
        ready.any(|it| is_before(it) && !self.oracle.purse.fits(it, expected(it)))
    }

    fn is_startable(&self, task: TaskIdx) -> bool {
        self.is(task, TaskState::Ready) && !self.oracle.is_paused(task)
    }

    /// Whether a ready task waits for what another one claims: that has it, or goes before.
    fn is_held_up(&self, task: TaskIdx) -> bool {
        let claims = &self.policy.claims;
        let needs = claims.needs(task);
        let wants = |it: TaskIdx, key| claims.needs(it).iter().any(|need| need.key == key);
        let is_before = |it: TaskIdx| self.graph.priority(it) < self.graph.priority(task);
        let mut others = self.graph.tasks().filter(|it| self.is_startable(*it));
        needs.iter().any(|it| self.in_use(it.key) + it.amount > claims.capacity(it.key))
            || others.any(|it| is_before(it) && needs.iter().any(|need| wants(it, need.key)))
    }

    fn in_use(&self, key: u32) -> u32 {
        let running = self.graph.tasks().filter(|it| self.is(*it, TaskState::Running));
        let needs = running.flat_map(|it| self.policy.claims.needs(it));
        needs.filter(|it| it.key == key).map(|it| it.amount).sum()
    }

    fn assert_claims_hold(&self) {
        let claims = &self.policy.claims;
        for need in self.graph.tasks().flat_map(|it| claims.needs(it)) {
            assert!(self.in_use(need.key) <= claims.capacity(need.key), "claims overlap");
        }
    }

    pub(super) fn assert_may_start(&self, task: TaskIdx) {
        let before = self.graph.dependencies(task).iter().map(|it| self.scheduler.state(*it));
        self.oracle.assert_triggered(task, &before.collect::<Vec<_>>());
        assert!(!self.is_cancelled, "a cancelled dispatch started a task");
        assert!(!self.kept.contains(&task), "a kept task ran again");
    }

    /// Each start says how many were ready, and names only tasks that ended just now: the last of
    /// its dependencies, unless it waited for a worker, and one whose worker it takes over.
    pub(super) fn assert_explained(&self, events: &[Event]) {
        let has_ended_now = |task: TaskIdx| {
            let mut events = events.iter();
            events.any(|it| match it {
                Event::AttemptEnded { task: it, .. }
                | Event::AttemptInterrupted { task: it, .. }
                | Event::TaskCancelled { task: it }
                | Event::TaskReused { task: it, .. }
                | Event::TaskJoined { task: it }
                | Event::GateFailed { task: it, .. }
                | Event::TaskOmitted { task: it, .. }
                | Event::TaskSkipped { task: it, .. }
                | Event::TaskExpired { task: it }
                | Event::TaskDropped { task: it, .. }
                | Event::TaskKept { task: it } => *it == task,
                Event::TasksAdded { .. }
                | Event::GatePassed { .. }
                | Event::GateReached { .. }
                | Event::AttemptStarted { .. }
                | Event::RetryDue { .. }
                | Event::DispatchPaused
                | Event::DispatchResumed
                | Event::TasksPaused { .. }
                | Event::TasksResumed { .. }
                | Event::WorkersChanged { .. }
                | Event::NestedSpent { .. }
                | Event::BudgetExceeded { .. }
                | Event::BudgetChanged { .. }
                | Event::DispatchCancelled
                | Event::DispatchEnded { .. } => false,
            })
        };
        for event in events {
            let Event::AttemptStarted { task, attempt, decision, .. } = event else { continue };
            let Decision { n_ready, waited, released_by, worker_from, .. } = *decision;
            assert!(n_ready >= 1 && waited <= self.now);
            let is_dependency = |it| self.graph.dependencies(*task).contains(&it);
            assert!(released_by.is_none_or(is_dependency));
            let has_dependencies = !self.graph.dependencies(*task).is_empty();
            // What was added later may wait for nothing that has not ended by then.
            let is_first = task.as_usize() < self.first.0.len();
            let is_released = *attempt == Attempt(1) && has_dependencies;
            assert!(!is_first || released_by.is_some() == is_released);
            assert!(worker_from.is_none_or(has_ended_now));
            let has_passed =
                |it: &Event| matches!(it, Event::GatePassed { task: of, .. } if of == task);
            let is_new = released_by.is_some_and(has_ended_now) || events.iter().any(has_passed);
            let may_crash = !self.crash_after.is_empty() || !self.crash_before.is_empty();
            // With other priorities, others make way.
            let is_other =
                |it: &Event| matches!(it, Event::TasksAdded { .. } | Event::WorkersChanged { .. });
            let has_way =
                decision.claim_from.is_some() || decision.is_resumed || events.iter().any(is_other);
            let is_dear = self.scheduler.budget().is_some();
            let has_reason = worker_from.is_some() || has_way || may_crash || is_dear;
            assert!(is_new || waited == Millis(0) || has_reason);
        }
    }

    pub(super) fn assert_end(&self, status: DispatchStatus) {
        let n_succeeded =
            self.graph.tasks().filter(|&it| self.is(it, TaskState::Succeeded)).count();
        let n_omitted = self.graph.tasks().filter(|&it| self.is(it, TaskState::Omitted)).count();
        let has_cancelled_event = self.journal.iter().any(|it| it.1 == Event::DispatchCancelled);
        let expected = match n_succeeded {
            _ if has_cancelled_event => DispatchStatus::Cancelled,
            n if n + n_omitted == self.graph.len() => DispatchStatus::Success,
            0 => DispatchStatus::Failure,
            _ => DispatchStatus::Partial,
        };
        assert_eq!(status, expected);
        let n_open = self.graph.len() - self.finals.len();
        assert_eq!(n_open, 0, "the dispatch ended with open tasks");
        self.assert_replay_agrees();
    }

    pub(super) fn assert_replay_agrees(&self) {
        let replayed = self.replay();
        for task in self.graph.tasks() {
            assert_eq!(replayed.state(task), self.scheduler.state(task));
            assert_eq!(replayed.gate(task), self.scheduler.gate(task));
            assert_eq!(replayed.attempt(task), self.scheduler.attempt(task));
            assert_eq!(replayed.retry_at(task), self.scheduler.retry_at(task));
        }
        assert_eq!(replayed.is_ended(), self.scheduler.is_ended());
        assert_eq!(replayed.is_paused(), self.scheduler.is_paused());
        assert!(replayed.paused_tasks().eq(self.scheduler.paused_tasks()));
        assert_eq!(replayed.workers_max(), self.scheduler.workers_max());
        assert_eq!(replayed.spend(), self.scheduler.spend());
        assert_eq!(replayed.exceeded(), self.scheduler.exceeded());
        assert_eq!(replayed.budget(), self.scheduler.budget());
    }
}

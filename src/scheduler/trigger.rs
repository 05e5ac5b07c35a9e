//! Whether a task may run yet, or never will, by how those ended that it waits for.

use super::{machine::Scheduler, state::TaskState};
use crate::model::{OnFailure, TaskIdx, TriggerRule};

/// How dependencies ended, of a task whose rule asks for more than success of all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    n_succeeded: u32,
    n_failed: u32,
}

/// Where a blocked task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// What it waits for goes on.
    Waits,
    /// It may run.
    Runs,
    /// Nothing that may still happen lets it run.
    Never,
}

impl Tally {
    fn count(&mut self, end: TaskState) {
        match end {
            TaskState::Succeeded => self.n_succeeded += 1,
            TaskState::Failed | TaskState::Skipped | TaskState::Cancelled => self.n_failed += 1,
            TaskState::Omitted
            | TaskState::Blocked
            | TaskState::Held
            | TaskState::Ready
            | TaskState::Running
            | TaskState::Backoff => (),
        }
    }

    fn standing(self, rule: TriggerRule, n_waiting: u32) -> Standing {
        let is_done = n_waiting == 0;
        let (runs, never) = match rule {
            TriggerRule::AllSuccess => (false, is_done),
            TriggerRule::OneSuccess => (self.n_succeeded > 0, is_done),
            TriggerRule::NoneFailedMinOneSuccess => (
                is_done && self.n_failed == 0 && self.n_succeeded > 0,
                self.n_failed > 0 || is_done,
            ),
            TriggerRule::AllDone => (is_done, false),
        };
        match (runs, never) {
            (true, _) => Standing::Runs,
            (false, true) => Standing::Never,
            (false, false) => Standing::Waits,
        }
    }
}

impl Scheduler {
    /// Tells those that wait for `task` how it ended; who may run now is opened.
    pub(super) fn release_dependents(&mut self, task: TaskIdx) {
        let end = self.state(task);
        let satisfies_all = end == TaskState::Succeeded
            || end == TaskState::Failed && self.policy.on_failure == OnFailure::Continue;
        if !satisfies_all && !self.uses.rules {
            return;
        }
        let graph = std::sync::Arc::clone(&self.graph);
        for &dependent in graph.dependents(task) {
            let rule = self.rule(dependent);
            if rule == TriggerRule::AllSuccess && !satisfies_all || !self.minds(dependent, task) {
                continue;
            }
            let slot = &mut self.tasks[dependent.as_usize()];
            slot.n_waiting = slot.n_waiting.saturating_sub(1);
            let n_waiting = slot.n_waiting;
            let runs = if rule == TriggerRule::AllSuccess {
                n_waiting == 0
            } else {
                let tally = self.tallies.entry(dependent).or_default();
                tally.count(end);
                tally.standing(rule, n_waiting) == Standing::Runs
            };
            if runs && self.state(dependent) == TaskState::Blocked {
                self.reasons.released(dependent, task);
                self.open(dependent);
            }
        }
    }

    /// Whether `dependent`, which is blocked, never runs now that `task` ended as it did.
    pub(super) fn is_hopeless(&self, dependent: TaskIdx, task: TaskIdx) -> bool {
        if !self.minds(dependent, task) {
            return false;
        }
        match self.rule(dependent) {
            TriggerRule::AllSuccess => {
                let may_fail = self.policy.on_failure == OnFailure::Continue;
                !(may_fail && self.state(task) == TaskState::Failed)
            }
            rule @ (TriggerRule::OneSuccess
            | TriggerRule::NoneFailedMinOneSuccess
            | TriggerRule::AllDone) => {
                let tally = self.tallies.get(&dependent).copied().unwrap_or_default();
                let n_waiting = self.tasks[dependent.as_usize()].n_waiting;
                tally.standing(rule, n_waiting) == Standing::Never
            }
        }
    }

    /// Whether it is only conditions that were not met that keep `dependent` from running.
    pub(super) fn is_omitted_with(&self, dependent: TaskIdx, task: TaskIdx) -> bool {
        let n_failed = self.tallies.get(&dependent).map_or(0, |it| it.n_failed);
        self.state(task) == TaskState::Omitted && n_failed == 0
    }

    /// Counts how what a new task waits for stands, and opens the task if it may run at once.
    pub(super) fn enter(&mut self, task: TaskIdx, dependencies: &[TaskIdx]) {
        let rule = self.rule(task);
        let may_fail = self.policy.on_failure == OnFailure::Continue;
        let (mut n_waiting, mut tally) = (0, Tally::default());
        for &it in dependencies {
            let state = self.state(it);
            tally.count(state);
            let satisfies_all =
                state == TaskState::Succeeded || may_fail && state == TaskState::Failed;
            let is_settled =
                if rule == TriggerRule::AllSuccess { satisfies_all } else { !state.is_open() };
            n_waiting += u32::from(!is_settled);
        }
        self.tasks[task.as_usize()].n_waiting = n_waiting;
        let runs = if rule == TriggerRule::AllSuccess {
            n_waiting == 0
        } else {
            self.tallies.insert(task, tally);
            dependencies.is_empty() || tally.standing(rule, n_waiting) == Standing::Runs
        };
        if runs {
            self.open(task);
        }
    }

    /// Whether `dependent` still waits for `task`: what has become many only waits for that.
    fn minds(&self, dependent: TaskIdx, task: TaskIdx) -> bool {
        self.expanded.get(&dependent).is_none_or(|first| task >= *first)
    }

    fn rule(&self, task: TaskIdx) -> TriggerRule {
        if !self.uses.rules {
            return TriggerRule::AllSuccess;
        }
        let own = self.policy.of(task);
        if self.expanded.contains_key(&task) { own.join } else { own.trigger }
    }
}

//! What must hold of every event, found out anew from all that came before: slow, and simple.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Event, Gate, GateSet, Policy, REQUEUES_MAX, Scheduler, SpendEstimate, TaskPolicy, TaskState,
    purse::Purse,
};
use crate::{
    model::{
        Attempt, AttemptResult, Failure, FailureCode, Millis, OnFailure, TaskIdx, TriggerRule,
    },
    plan::TaskGraph,
};

/// All that happened, by task.
pub(super) struct Oracle {
    policy: Policy,
    histories: BTreeMap<TaskIdx, Vec<(Millis, Event)>>,
    /// The last sign of progress of each attempt.
    beats: BTreeMap<(TaskIdx, Attempt), Millis>,
    graph: Arc<TaskGraph>,
    /// Which task each part came from.
    wholes: BTreeMap<TaskIdx, TaskIdx>,
    is_paused: bool,
    paused: BTreeSet<TaskIdx>,
    pub(super) workers_max: u32,
    pub(super) purse: Purse,
}

impl Oracle {
    pub(super) fn new(policy: Policy, graph: Arc<TaskGraph>) -> Self {
        Self {
            workers_max: policy.workers_max,
            purse: Purse::new(policy.funds),
            policy,
            histories: BTreeMap::new(),
            beats: BTreeMap::new(),
            graph,
            wholes: BTreeMap::new(),
            is_paused: false,
            paused: BTreeSet::new(),
        }
    }

    /// Whether anything that was said keeps a task from starting.
    pub(super) fn is_paused(&self, task: TaskIdx) -> bool {
        let (mut seen, mut pending) = (BTreeSet::new(), vec![task]);
        while let Some(task) = pending.pop().filter(|_| !self.paused.is_empty()) {
            if self.paused.contains(&task) {
                return true;
            }
            if seen.insert(task) {
                pending.extend(self.graph.dependencies(task));
                pending.extend(self.wholes.get(&task));
            }
        }
        self.is_paused
    }

    fn resume(&mut self) {
        assert!(self.is_paused || !self.paused.is_empty());
        self.is_paused = false;
        self.paused.clear();
    }

    fn pause_more(&mut self, tasks: &[TaskIdx]) {
        for it in tasks {
            assert!(self.paused.insert(*it));
        }
    }

    fn resume_some(&mut self, tasks: &[TaskIdx]) {
        for it in tasks {
            assert!(self.paused.remove(it));
        }
    }

    fn n_running(&self) -> usize {
        self.histories.keys().filter(|it| self.start_of_running(**it).is_some()).count()
    }

    /// There are more tasks.
    pub(super) fn grow(&mut self, graph: Arc<TaskGraph>, policy: Policy, parent: Option<TaskIdx>) {
        let added = (self.graph.len()..graph.len()).map(TaskIdx::from_usize);
        self.wholes.extend(added.filter_map(|it| Some((it, parent?))));
        self.graph = graph;
        self.policy = policy;
    }

    /// Hears what the scheduler hears.
    pub(super) fn hear_beat(&mut self, now: Millis, task: TaskIdx, attempt: Attempt) {
        self.beats.insert((task, attempt), now);
    }

    /// Checks an event and keeps it; `said` is what the agent of its attempt said by now.
    pub(super) fn take(&mut self, now: Millis, event: &Event, said: Option<&AttemptResult>) {
        let task = match event {
            Event::AttemptStarted { task, .. } => {
                self.check_start(now, event);
                task
            }
            Event::AttemptEnded { task, .. } => {
                self.check_end(now, event, said);
                task
            }
            Event::RetryDue { task } => {
                let last = self.last(*task);
                let Some((_, Event::AttemptEnded { retry_at: Some(at), .. })) = last else {
                    panic!("a retry of what waits for none: {last:?}");
                };
                assert!(*at <= now, "tried again before its time");
                task
            }
            Event::TaskExpired { task } => {
                assert!(self.total_deadline(*task).unwrap() <= now, "expired before its time");
                assert!(self.start_of_running(*task).is_none(), "expired although it ran");
                task
            }
            Event::GatePassed { task, gate } | Event::GateFailed { task, gate, .. } => {
                let is_reached =
                    |it: &Event| matches!(it, Event::GateReached { gate: at, .. } if at == gate);
                assert!(self.last(*task).is_some_and(|it| is_reached(&it.1)), "not asked about");
                task
            }
            Event::TaskReused { task, .. } => {
                let gates = self.own(*task).gates;
                assert!(gates.contains(Gate::Reuse), "nobody looked for a result");
                task
            }
            Event::TaskJoined { task } => {
                assert!(self.own(*task).gates.contains(Gate::Expansion), "it was never many");
                task
            }
            Event::TasksAdded { parent: Some(task), .. }
            | Event::GateReached { task, .. }
            | Event::TaskOmitted { task, .. }
            | Event::AttemptInterrupted { task, .. }
            | Event::TaskKept { task }
            | Event::TaskSkipped { task, .. }
            | Event::TaskDropped { task, .. }
            | Event::TaskCancelled { task } => task,
            Event::DispatchPaused => {
                return assert!(!std::mem::replace(&mut self.is_paused, true));
            }
            Event::DispatchResumed => return self.resume(),
            Event::TasksPaused { tasks } => return self.pause_more(tasks),
            Event::TasksResumed { tasks } => return self.resume_some(tasks),
            Event::WorkersChanged { workers_max } => {
                return assert_ne!(
                    std::mem::replace(&mut self.workers_max, *workers_max),
                    *workers_max
                );
            }
            Event::TasksAdded { parent: None, .. }
            | Event::NestedSpent { .. }
            | Event::BudgetExceeded { .. }
            | Event::BudgetChanged { .. }
            | Event::DispatchCancelled
            | Event::DispatchEnded { .. } => {
                return self.purse.take(now, event, SpendEstimate::default());
            }
        };
        let expected = self.own(*task).expected;
        self.purse.take(now, event, expected);
        self.histories.entry(*task).or_default().push((now, event.clone()));
    }

    /// Nothing is due that was not done.
    pub(super) fn assert_nothing_is_due(&self, now: Millis, task: TaskIdx, scheduler: &Scheduler) {
        let total = self.total_deadline(task);
        match scheduler.state(task) {
            TaskState::Running => {
                let (started, attempt) = self.start_of_running(task).unwrap();
                let own = self.own(task);
                assert!(now < started + own.timeout.unwrap_or(self.policy.timeout));
                let alive = self.beats.get(&(task, attempt)).copied().unwrap_or(started);
                assert!(own.idle_timeout.is_none_or(|it| now < alive + it), "it may be idle");
                assert!(total.is_none_or(|it| now < it), "it runs past its total deadline");
            }
            TaskState::Backoff => {
                assert!(now < scheduler.retry_at(task).unwrap(), "it waits too long");
                assert!(total.is_none_or(|it| now < it), "it waits past its total deadline");
            }
            TaskState::Ready => {
                assert!(total.is_none_or(|it| now < it), "it queues past its total deadline");
            }
            TaskState::Held => {
                let Some((_, Event::GateReached { until, .. })) = self.last(task) else {
                    panic!("held without a question");
                };
                assert!(until.is_none_or(|it| now < it), "it is held too long");
            }
            TaskState::Blocked
            | TaskState::Succeeded
            | TaskState::Omitted
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::Cancelled => assert_eq!(scheduler.retry_at(task), None),
        }
    }

    /// Its rule lets a task run after its dependencies stand so.
    pub(super) fn assert_triggered(&self, task: TaskIdx, before: &[TaskState]) {
        let count = |state| before.iter().filter(|it| **it == state).count();
        let (n_succeeded, n_failed) = (count(TaskState::Succeeded), count(TaskState::Failed));
        let n_lost = n_failed + count(TaskState::Skipped) + count(TaskState::Cancelled);
        let is_done = before.iter().all(|it| !it.is_open());
        let may_fail = self.policy.on_failure == OnFailure::Continue;
        let may_run = match self.own(task).trigger {
            TriggerRule::AllSuccess => {
                n_succeeded + if may_fail { n_failed } else { 0 } == before.len()
            }
            TriggerRule::OneSuccess => n_succeeded > 0,
            TriggerRule::NoneFailedMinOneSuccess => is_done && n_lost == 0 && n_succeeded > 0,
            TriggerRule::AllDone => is_done,
        };
        assert!(may_run || before.is_empty(), "started after {before:?}");
    }

    fn check_start(&self, now: Millis, event: &Event) {
        let Event::AttemptStarted { task, attempt, deadline, total_deadline, .. } = *event else {
            return;
        };
        let last = self.last(task).map(|it| &it.1);
        let may_start = match last {
            None => self.own(task).gates.is_empty(),
            Some(Event::GatePassed { .. }) => {
                let passed = self.history(task).iter().filter_map(|it| {
                    let Event::GatePassed { gate, .. } = it.1 else { return None };
                    Some(gate)
                });
                passed.collect::<GateSet>() == self.own(task).gates
            }
            Some(Event::RetryDue { .. } | Event::AttemptInterrupted { .. }) => true,
            Some(_) => false,
        };
        assert!(may_start, "started after {last:?}");
        assert!(!self.is_paused(task), "started although it is paused");
        assert!(self.n_running() < self.workers_max as usize, "more run than may");
        assert_eq!(attempt.0 as usize, self.starts(task).len() + 1, "attempts are counted through");
        let own = self.own(task);
        assert_eq!(deadline, now + own.timeout.unwrap_or(self.policy.timeout));
        let first = self.starts(task).first().copied().unwrap_or(now);
        assert_eq!(total_deadline, own.total_timeout.map(|it| first + it));
        let (n_failed, _) = self.failures(task);
        assert!(n_failed < own.retry.attempts_max, "one attempt too many");
    }

    fn check_end(&self, now: Millis, event: &Event, said: Option<&AttemptResult>) {
        let Event::AttemptEnded { task, attempt, result, retry_at, .. } = event else { return };
        let (started, running) = self.start_of_running(*task).unwrap();
        assert_eq!(running, *attempt, "an attempt ended that did not run");
        if said != Some(result) {
            self.assert_timed_out(now, *task, (started, *attempt), result.as_ref().unwrap_err());
        }
        match (result, retry_at) {
            (Ok(()), at) => assert_eq!(*at, None),
            (Err(failure), None) => {
                let is_too_late = |longest: Millis| {
                    self.total_deadline(*task).is_some_and(|it| it <= now + longest)
                };
                let is_over = self.purse.is_over();
                let is_final = is_over || self.longest_wait(*task, failure).is_none_or(is_too_late);
                assert!(is_final, "given up too early: {failure:?}");
            }
            (Err(failure), Some(at)) => {
                let longest = self.longest_wait(*task, failure).expect("tried again in vain");
                let shortest = Millis(failure.retry_after_ms.unwrap_or(0).min(3_600_000));
                assert!(now + shortest <= *at && *at <= now + longest, "a wait of another length");
                assert!(self.total_deadline(*task).is_none_or(|it| *at < it));
            }
        }
    }

    /// The longest wait after a failure; `None` if it is the last one.
    fn longest_wait(&self, task: TaskIdx, failure: &Failure) -> Option<Millis> {
        let (n_failed, n_requeued) = self.failures(task);
        let retry = self.own(task).retry;
        let may_retry = if failure.code == FailureCode::RateLimited {
            n_requeued < REQUEUES_MAX
        } else {
            retry.on.contains(failure.code) && n_failed + 1 < retry.attempts_max
        };
        let mut backoff = retry.backoff.0;
        (0..n_failed + n_requeued).for_each(|_| backoff = (backoff * 2).min(retry.backoff_max.0));
        let backoff = backoff.min(retry.backoff_max.0);
        let asked = failure.retry_after_ms.unwrap_or(0).min(3_600_000);
        may_retry.then_some(Millis(backoff.max(asked + backoff / 2)))
    }

    /// It was the scheduler that ended the attempt, at one of its deadlines.
    fn assert_timed_out(
        &self,
        now: Millis,
        task: TaskIdx,
        (started, attempt): (Millis, Attempt),
        failure: &Failure,
    ) {
        assert_eq!(failure.code, FailureCode::Timeout);
        let own = self.own(task);
        let alive = self.beats.get(&(task, attempt)).copied().unwrap_or(started);
        let due = match &*failure.message {
            it if it.contains("idle_timeout_seconds") => alive + own.idle_timeout.unwrap(),
            it if it.contains("total_timeout_seconds") => self.total_deadline(task).unwrap(),
            _ => started + own.timeout.unwrap_or(self.policy.timeout),
        };
        assert!(due <= now, "stopped before its time: {failure:?}");
    }

    /// How many attempts failed and counted, and how many the upstream turned away.
    fn failures(&self, task: TaskIdx) -> (u32, u32) {
        let (mut n_failed, mut n_requeued) = (0, 0);
        for (_, event) in self.history(task) {
            let Event::AttemptEnded { result: Err(failure), .. } = event else { continue };
            if failure.code == FailureCode::RateLimited {
                n_requeued += 1;
            } else {
                n_failed += 1;
            }
        }
        (n_failed, n_requeued)
    }

    fn start_of_running(&self, task: TaskIdx) -> Option<(Millis, Attempt)> {
        let (at, event) = self.last(task)?;
        let Event::AttemptStarted { attempt, .. } = event else { return None };
        Some((*at, *attempt))
    }

    fn starts(&self, task: TaskIdx) -> Vec<Millis> {
        let is_start = |it: &&(Millis, Event)| matches!(it.1, Event::AttemptStarted { .. });
        self.history(task).iter().filter(is_start).map(|it| it.0).collect()
    }

    fn total_deadline(&self, task: TaskIdx) -> Option<Millis> {
        Some(*self.starts(task).first()? + self.own(task).total_timeout?)
    }

    fn own(&self, task: TaskIdx) -> TaskPolicy {
        let own = self.policy.tasks.iter().find(|it| it.0 == task);
        own.map_or_else(TaskPolicy::default, |it| it.1)
    }

    fn last(&self, task: TaskIdx) -> Option<&(Millis, Event)> {
        self.history(task).last()
    }

    fn history(&self, task: TaskIdx) -> &[(Millis, Event)] {
        self.histories.get(&task).map_or(&[], Vec::as_slice)
    }
}

//! Whether a fact can follow those before it: a journal that somebody else changed is refused
//! before it is replayed.

use super::{gate::Gate, machine::Scheduler, message::Event, state::TaskState};
use crate::model::{Attempt, TaskIdx};

impl Scheduler {
    /// Whether a scheduler of this dispatch could have recorded `event` now.
    ///
    /// Costs O(1), but for the end of the dispatch, which is compared with all its tasks, and for
    /// lists of tasks.
    pub fn can_follow(&self, event: &Event) -> bool {
        !self.is_ended() && self.fits(event)
    }

    fn fits(&self, event: &Event) -> bool {
        match *event {
            Event::TaskKept { task } => {
                self.is_in(task, &[TaskState::Blocked, TaskState::Held, TaskState::Ready])
                    && self.attempt(task) == Attempt(0)
            }
            Event::AttemptStarted { task, attempt, .. } => {
                self.is_in(task, &[TaskState::Ready])
                    && self.may_start(task)
                    && self.attempt(task).0.checked_add(1) == Some(attempt.0)
                    && self.has_room(task)
                    && !self.ledger.is_closed()
            }
            Event::AttemptEnded { task, attempt, .. }
            | Event::AttemptInterrupted { task, attempt } => {
                self.is_in(task, &[TaskState::Running]) && self.attempt(task) == attempt
            }
            Event::RetryDue { task } => self.is_in(task, &[TaskState::Backoff]),
            Event::TaskExpired { task } => {
                self.is_in(task, &[TaskState::Ready, TaskState::Backoff])
            }
            Event::TaskSkipped { task, because } => {
                because.as_usize() < self.n_tasks()
                    && self.is_in(task, &[TaskState::Blocked, TaskState::Held, TaskState::Ready])
            }
            Event::TaskOmitted { task, because, .. } => {
                because.is_none_or(|it| it.as_usize() < self.n_tasks())
                    && self.is_in(task, &[TaskState::Blocked, TaskState::Held])
            }
            Event::GateReached { task, gate, .. } => self.is_held(task, gate, false),
            Event::GatePassed { task, gate } | Event::GateFailed { task, gate, .. } => {
                self.is_held(task, gate, true)
            }
            Event::TaskJoined { task } => self.is_held(task, Gate::Expansion, true),
            Event::TasksAdded { n_tasks, parent } => self.can_grow(n_tasks, parent),
            Event::TaskReused { task, .. } => self.is_held(task, Gate::Reuse, true),
            Event::TaskCancelled { task } => self.is_known(task) && self.state(task).is_open(),
            Event::DispatchPaused => !self.is_paused(),
            Event::DispatchResumed => self.has_pauses(),
            Event::TasksPaused { ref tasks } => self.can_pause(tasks),
            Event::TasksResumed { ref tasks } => self.can_resume(tasks),
            Event::WorkersChanged { workers_max } => self.can_have_workers(workers_max),
            Event::DispatchCancelled | Event::BudgetChanged { .. } => true,
            Event::BudgetExceeded { what } => {
                !self.ledger.is_closed() && self.budget().is_some_and(|it| it.limits(what))
            }
            Event::NestedSpent { task, .. } => self.is_known(task),
            Event::TaskDropped { task, .. } => self.is_known(task) && self.can_drop(task),
            Event::DispatchEnded { .. } => {
                let mut tasks = (0..self.n_tasks()).map(TaskIdx::from_usize);
                tasks.all(|it| !self.state(it).is_open())
            }
        }
    }

    fn is_in(&self, task: TaskIdx, states: &[TaskState]) -> bool {
        self.is_known(task) && states.contains(&self.state(task))
    }

    fn is_known(&self, task: TaskIdx) -> bool {
        task.as_usize() < self.n_tasks()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        model::{
            Budget, BudgetLimit, DispatchStatus, Failure, FailureCode, Millis, OnExceeded,
            OnFailure, Spend, testing::reused_from,
        },
        plan::{Edge, TaskGraph},
        scheduler::{Decision, TaskPolicy, testing::policy},
    };

    fn task(at: usize) -> TaskIdx {
        TaskIdx::from_usize(at)
    }

    fn started(at: usize, attempt: u32) -> Event {
        Event::AttemptStarted {
            task: task(at),
            attempt: Attempt(attempt),
            deadline: Millis(9),
            total_deadline: None,
            decision: Decision::default(),
            reserve: Spend::default(),
        }
    }

    fn failed(at: usize, attempt: u32, retry_at: Option<Millis>) -> Event {
        let result = Err(Failure::new(FailureCode::AgentError, ""));
        let (task, attempt) = (task(at), Attempt(attempt));
        Event::AttemptEnded { task, attempt, result, retry_at, usage: None }
    }

    fn interrupted(at: usize, attempt: u32) -> Event {
        Event::AttemptInterrupted { task: task(at), attempt: Attempt(attempt) }
    }

    /// Every event about `at` that may come after `journal`, in a dispatch where task 1 waits for
    /// task 0.
    fn check(journal: &[Event], at: usize, expected: &str) {
        let edge = Edge { dependency: task(0), dependent: task(1) };
        let graph = Arc::new(TaskGraph::build(vec![Millis(1); 2], &[edge]).unwrap());
        let mut scheduler = Scheduler::new(graph, policy(2, OnFailure::SkipDependents));
        for event in journal {
            assert!(scheduler.can_follow(event), "{event:?}");
            scheduler.replay(Millis(1), event);
        }
        let task = task(at);
        let events = [
            ("kept", Event::TaskKept { task }),
            ("start1", started(at, 1)),
            ("start2", started(at, 2)),
            ("end1", failed(at, 1, None)),
            ("end2", failed(at, 2, None)),
            ("interrupted1", interrupted(at, 1)),
            ("interrupted2", interrupted(at, 2)),
            ("due", Event::RetryDue { task }),
            ("expired", Event::TaskExpired { task }),
            ("omitted", Event::TaskOmitted { task, because: None, reason: "".into() }),
            ("reached", Event::GateReached { task, gate: Gate::Reuse, until: None }),
            ("passed", Event::GatePassed { task, gate: Gate::Reuse }),
            ("reused", Event::TaskReused { task, from: Box::new(reused_from()) }),
            ("skipped", Event::TaskSkipped { task, because: TaskIdx::from_usize(0) }),
            ("skipped for nobody", Event::TaskSkipped { task, because: TaskIdx::from_usize(2) }),
            ("cancelled", Event::TaskCancelled { task }),
            ("all cancelled", Event::DispatchCancelled),
            ("all ended", Event::DispatchEnded { status: DispatchStatus::Success }),
        ];
        let allowed = events.iter().filter(|it| scheduler.can_follow(&it.1)).map(|it| it.0);
        assert_eq!(allowed.collect::<Vec<_>>().join(", "), expected);
    }

    #[test]
    fn a_fact_follows_only_from_where_its_task_stands() {
        check(&[], 0, "kept, start1, expired, skipped, cancelled, all cancelled");
        check(&[], 1, "kept, omitted, skipped, cancelled, all cancelled");
        check(&[], 2, "all cancelled");
        let start = started(0, 1);
        check(std::slice::from_ref(&start), 0, "end1, interrupted1, cancelled, all cancelled");
        let again = [start.clone(), interrupted(0, 1)];
        check(&again, 0, "start2, expired, skipped, cancelled, all cancelled");
        let waits = [start.clone(), failed(0, 1, Some(Millis(5)))];
        check(&waits, 0, "due, expired, cancelled, all cancelled");
        check(&[start, failed(0, 1, None)], 0, "all cancelled");
    }

    #[test]
    fn a_gate_is_passed_after_it_was_reached() {
        let graph = TaskGraph::build(vec![Millis(1)], &[]).unwrap();
        let mut policy = policy(2, OnFailure::SkipDependents);
        let gates = [Gate::Reuse].into_iter().collect();
        policy.tasks = vec![(task(0), TaskPolicy { gates, ..TaskPolicy::default() })];
        let mut scheduler = Scheduler::new(Arc::new(graph), policy);
        let reached = |gate| Event::GateReached { task: task(0), gate, until: None };
        let passed = |gate| Event::GatePassed { task: task(0), gate };
        let reused = Event::TaskReused { task: task(0), from: Box::new(reused_from()) };
        for too_early in [passed(Gate::Reuse), reused.clone(), started(0, 1)] {
            assert!(!scheduler.can_follow(&too_early), "{too_early:?}");
        }
        assert!(!scheduler.can_follow(&reached(Gate::Condition)));
        assert!(scheduler.can_follow(&reached(Gate::Reuse)));
        scheduler.replay(Millis(1), &reached(Gate::Reuse));
        assert!(!scheduler.can_follow(&reached(Gate::Reuse)));
        assert!(!scheduler.can_follow(&passed(Gate::Condition)));
        assert!(scheduler.can_follow(&reused));
        assert!(scheduler.can_follow(&passed(Gate::Reuse)));
        scheduler.replay(Millis(1), &passed(Gate::Reuse));
        assert!(!scheduler.can_follow(&reused));
        assert!(scheduler.can_follow(&started(0, 1)));
    }

    #[test]
    fn a_task_is_dropped_only_for_an_exceeded_budget_and_nothing_starts_then() {
        let graph = TaskGraph::build(vec![Millis(1); 2], &[]).unwrap();
        let mut policy = policy(2, OnFailure::SkipDependents);
        policy.funds.budget = Some(Budget { tasks: Some(1), ..Budget::default() });
        let mut scheduler = Scheduler::new(Arc::new(graph), policy);
        let dropped = |at| Event::TaskDropped { task: task(at), what: BudgetLimit::Tasks };
        let exceeded = |what| Event::BudgetExceeded { what };
        scheduler.replay(Millis(1), &started(0, 1));
        assert!(!scheduler.can_follow(&dropped(1)));
        assert!(!scheduler.can_follow(&exceeded(BudgetLimit::Tokens)));
        assert!(scheduler.can_follow(&exceeded(BudgetLimit::Tasks)));
        scheduler.replay(Millis(1), &exceeded(BudgetLimit::Tasks));
        assert!(!scheduler.can_follow(&exceeded(BudgetLimit::Tasks)));
        assert!(!scheduler.can_follow(&started(1, 1)));
        assert!(scheduler.can_follow(&dropped(1)) && !scheduler.can_follow(&dropped(0)));
        assert!(!scheduler.can_follow(&dropped(2)));
        let pause = Budget { on_exceeded: OnExceeded::Pause, ..Budget::default() };
        scheduler.replay(Millis(1), &Event::BudgetChanged { budget: pause });
        assert!(scheduler.can_follow(&started(1, 1)) && !scheduler.can_follow(&dropped(1)));
    }

    #[test]
    fn nothing_follows_the_end_and_the_end_follows_the_last_task() {
        let kept = |at| Event::TaskKept { task: task(at) };
        check(&[kept(0)], 0, "all cancelled");
        check(&[kept(0), kept(1)], 0, "all cancelled, all ended");
        let ended = Event::DispatchEnded { status: DispatchStatus::Success };
        check(&[kept(0), kept(1), ended], 0, "");
    }
}

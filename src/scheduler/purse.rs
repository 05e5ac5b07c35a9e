//! What must hold of a budget, counted anew from the events alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{Event, Funds, SpendEstimate};
use crate::model::{
    Budget, BudgetLimit, FailureCode, MicroUsd, Millis, OnExceeded, Spend, TaskIdx, Usage,
};

/// What was used so far.
pub(super) struct Purse {
    funds: Funds,
    budget: Option<Budget>,
    settled: Spend,
    reserves: BTreeMap<TaskIdx, Spend>,
    started: BTreeSet<TaskIdx>,
    /// What dispatches that its agents asked for started.
    n_nested: u32,
    said: Vec<Usage>,
    pub(super) exceeded: Option<BudgetLimit>,
}

impl Purse {
    pub(super) fn new(funds: Funds) -> Self {
        Self {
            funds,
            budget: funds.budget,
            settled: funds.before.spend,
            reserves: BTreeMap::new(),
            started: BTreeSet::new(),
            n_nested: 0,
            said: Vec::new(),
            exceeded: None,
        }
    }

    /// Whether what has not started never will.
    pub(super) fn is_over(&self) -> bool {
        let mode = self.budget.unwrap_or_default().on_exceeded;
        self.exceeded.is_some() && mode != OnExceeded::Pause
    }

    /// Whether a task with that estimate could start now.
    pub(super) fn fits(&self, task: TaskIdx, expected: SpendEstimate) -> bool {
        let Some(budget) = self.budget else { return true };
        let needed = self.reserve(expected);
        let (settled, after) = (self.settled, self.settled + self.reserved() + needed);
        let n_started = self.n_started() + u32::from(!self.started.contains(&task));
        self.exceeded.is_none()
            && budget.tokens.is_none_or(|it| settled.tokens < it && after.tokens <= it)
            && budget.cost.is_none_or(|it| settled.cost < it && after.cost <= it)
            && budget.tasks.is_none_or(|it| n_started <= it || self.started.contains(&task))
    }

    /// Nothing goes on after its time, nor after more was used than may be.
    pub(super) fn assert_not_passed(&self, now: Millis) {
        let Some(budget) = self.budget.filter(|_| self.exceeded.is_none()) else { return };
        assert!(self.wall_end(budget).is_none_or(|it| now < it), "it goes on past its time");
        assert!(budget.tokens.is_none_or(|it| self.settled.tokens <= it));
        assert!(budget.cost.is_none_or(|it| self.settled.cost <= it));
    }

    /// The scheduler keeps the same accounts.
    pub(super) fn assert_agrees(&self, (settled, reserved): (Spend, Spend)) {
        assert_eq!((settled, reserved), (self.settled, self.reserved()));
    }

    /// Checks an event and counts it.
    pub(super) fn take(&mut self, now: Millis, event: &Event, expected: SpendEstimate) {
        match event {
            Event::AttemptStarted { task, reserve, .. } => {
                let needed = self.budget.map(|_| self.reserve(expected)).unwrap_or_default();
                assert_eq!(*reserve, needed, "another amount was reserved");
                assert!(self.fits(*task, expected), "started beyond the budget");
                self.reserves.insert(*task, *reserve);
                self.started.insert(*task);
            }
            Event::AttemptEnded { task, usage, result, .. } => {
                let reserve = self.reserves.remove(task).unwrap();
                let never_ran = [
                    FailureCode::RateLimited,
                    FailureCode::CircuitOpen,
                    FailureCode::UpstreamUnavailable,
                    FailureCode::ContextUnavailable,
                ];
                let unsaid = match result {
                    Err(failure) if never_ran.contains(&failure.code) => Spend::default(),
                    _ => reserve,
                };
                let said = usage.unwrap_or_default();
                self.settled.tokens += said.tokens().unwrap_or(unsaid.tokens);
                self.settled.cost.0 += said.cost.unwrap_or(unsaid.cost).0;
                self.said.push(said);
            }
            Event::TaskDropped { task, what } => {
                assert!(self.is_over() && self.exceeded == Some(*what), "dropped for nothing");
                let may_stop = self.budget.unwrap().on_exceeded == OnExceeded::Fail;
                assert!(may_stop || !self.reserves.contains_key(task), "dropped while it ran");
                self.give_up(*task);
            }
            Event::AttemptInterrupted { task, .. } | Event::TaskCancelled { task } => {
                self.give_up(*task);
            }
            Event::NestedSpent { spend, tasks, .. } => {
                self.settled += *spend;
                self.n_nested += tasks;
            }
            Event::BudgetExceeded { what } => {
                self.assert_exceeded(now, *what);
                self.exceeded = Some(*what);
            }
            Event::BudgetChanged { budget } => {
                (self.budget, self.exceeded) = (Some(*budget), None);
            }
            Event::TaskKept { .. }
            | Event::TaskReused { .. }
            | Event::TaskJoined { .. }
            | Event::TasksAdded { .. }
            | Event::GateReached { .. }
            | Event::GatePassed { .. }
            | Event::GateFailed { .. }
            | Event::RetryDue { .. }
            | Event::TaskExpired { .. }
            | Event::TaskOmitted { .. }
            | Event::TaskSkipped { .. }
            | Event::DispatchPaused
            | Event::DispatchResumed
            | Event::TasksPaused { .. }
            | Event::TasksResumed { .. }
            | Event::WorkersChanged { .. }
            | Event::DispatchCancelled
            | Event::DispatchEnded { .. } => (),
        }
    }

    fn assert_exceeded(&self, now: Millis, what: BudgetLimit) {
        assert_eq!(self.exceeded, None, "exceeded twice");
        let (budget, reserved) = (self.budget.unwrap(), self.reserved());
        let is_so = match what {
            BudgetLimit::Tokens => {
                reserved.tokens == 0 || self.settled.tokens >= budget.tokens.unwrap()
            }
            BudgetLimit::CostUsd => {
                reserved.cost.0 == 0 || self.settled.cost >= budget.cost.unwrap()
            }
            BudgetLimit::WallSeconds => now >= self.wall_end(budget).unwrap(),
            BudgetLimit::Tasks => self.n_started() >= budget.tasks.unwrap(),
        };
        assert!(is_so, "{what:?} were left");
    }

    fn wall_end(&self, budget: Budget) -> Option<Millis> {
        Some(self.funds.since + budget.wall?.since(self.funds.before.wall))
    }

    fn n_started(&self) -> u32 {
        self.funds.before.tasks + self.n_nested + u32::try_from(self.started.len()).unwrap()
    }

    fn reserved(&self) -> Spend {
        self.reserves.values().fold(Spend::default(), |sum, it| sum + *it)
    }

    fn reserve(&self, expected: SpendEstimate) -> Spend {
        let mean = |of: Vec<u64>| of.iter().sum::<u64>().div_ceil(of.len().max(1) as u64);
        let tokens = self.said.iter().filter_map(Usage::tokens).collect();
        let costs = self.said.iter().filter_map(|it| Some(it.cost?.0)).collect();
        Spend {
            tokens: expected.tokens.unwrap_or_else(|| mean(tokens)),
            cost: expected.cost.unwrap_or_else(|| MicroUsd(mean(costs))),
        }
    }

    fn give_up(&mut self, task: TaskIdx) {
        self.settled += self.reserves.remove(&task).unwrap_or_default();
    }
}

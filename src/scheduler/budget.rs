//! What a dispatch may use: reserved before an attempt starts, settled when it has ended.
//!
//! An attempt starts only if what was settled, what is reserved and what it needs itself stay
//! within every limit. What was settled never shrinks, so once a limit is reached nothing more
//! starts until it is raised. Attempts that run are never cut short for what they use, so the end
//! of one may lie above a limit.

use rustc_hash::FxHashMap;

use super::{
    machine::Scheduler,
    message::{Action, Event, Outbox},
    state::TaskState,
};
use crate::model::{
    AttemptResult, Budget, BudgetLimit, FailureCode, MicroUsd, Millis, OnExceeded, Settlement,
    Spend, Spent, TaskIdx, Usage,
};

/// What a dispatch has to spend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Funds {
    /// Its limits at first; none if absent.
    pub budget: Option<Budget>,
    /// From when on its time counts.
    pub since: Millis,
    /// What counts as used before it began.
    pub before: Spent,
}

/// What the caller expects an attempt at a task to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpendEstimate {
    /// Tokens.
    pub tokens: Option<u64>,
    /// Money.
    pub cost: Option<MicroUsd>,
}

impl SpendEstimate {
    /// Nothing is expected.
    pub(super) const NONE: Self = Self { tokens: None, cost: None };
}

/// What the budgets of the dispatches above leave; what is absent is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Tokens.
    pub tokens: Option<u64>,
    /// Money.
    pub cost: Option<MicroUsd>,
    /// How many tasks may be started.
    pub tasks: Option<u32>,
}

impl Left {
    /// The less of both.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        fn less<T: Ord + Copy>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.into_iter().chain(other).min()
        }
        Self {
            tokens: less(self.tokens, other.tokens),
            cost: less(self.cost, other.cost),
            tasks: less(self.tasks, other.tasks),
        }
    }

    /// The limit that does not let an attempt start.
    fn lacks(self, is_new: bool, needed: Spend) -> Option<BudgetLimit> {
        if is_new && self.tasks == Some(0) {
            return Some(BudgetLimit::Tasks);
        }
        let is_short = |left: Option<u64>, needed: u64| left.is_some_and(|it| it < needed.max(1));
        if is_short(self.tokens, needed.tokens) {
            return Some(BudgetLimit::Tokens);
        }
        is_short(self.cost.map(|it| it.0), needed.cost.0).then_some(BudgetLimit::CostUsd)
    }

    fn take(&mut self, is_new: bool, needed: Spend) {
        let Self { tokens, cost, tasks } = self;
        *tokens = tokens.map(|it| it.saturating_sub(needed.tokens));
        *cost = cost.map(|it| MicroUsd(it.0.saturating_sub(needed.cost.0)));
        *tasks = tasks.map(|it| it.saturating_sub(u32::from(is_new)));
    }
}

/// What is settled and reserved.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) budget: Option<Budget>,
    since: Millis,
    wall_before: Millis,
    settled: Spend,
    reserved: Spend,
    n_tasks: u32,
    tokens: Samples,
    cost: Samples,
    /// Of attempts that run, where there is something.
    reserves: FxHashMap<TaskIdx, Spend>,
    pub(super) exceeded: Option<BudgetLimit>,
    /// Whether what runs must settle before anything can start.
    pub(super) is_waiting: bool,
    /// What nested dispatches reserve now.
    nested: Spend,
    /// What the budgets above leave now.
    left: Option<Left>,
    /// What the budgets above do not leave enough of for the task that goes next.
    lacks: Option<BudgetLimit>,
}

/// What agents said they used, for the mean of it.
#[derive(Clone, Copy, Debug, Default)]
struct Samples {
    sum: u64,
    n: u64,
}

/// Why a task cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortage {
    /// What runs may leave enough over.
    ForNow,
    /// Nothing will, unless the budget is raised.
    Final(BudgetLimit),
}

impl Ledger {
    pub(super) fn new(funds: &Funds) -> Self {
        let Funds { budget, since, before } = *funds;
        Self {
            budget,
            since,
            wall_before: before.wall,
            settled: before.spend,
            reserved: Spend::default(),
            n_tasks: before.tasks,
            tokens: Samples::default(),
            cost: Samples::default(),
            reserves: FxHashMap::default(),
            exceeded: None,
            is_waiting: false,
            nested: Spend::default(),
            left: None,
            lacks: None,
        }
    }

    /// Whether there is any limit, its own or one above.
    pub(super) fn is_bounded(&self) -> bool {
        self.budget.is_some() || self.left.is_some()
    }

    /// Whether nothing starts.
    pub(super) fn is_closed(&self) -> bool {
        self.exceeded.is_some()
    }

    /// Whether nothing will start, and what has not started is given up.
    pub(super) fn is_over(&self) -> bool {
        self.is_closed() && self.mode() != OnExceeded::Pause
    }

    /// Takes the start of an attempt.
    pub(super) fn start(&mut self, task: TaskIdx, is_first: bool, reserve: Spend) {
        self.n_tasks = self.n_tasks.saturating_add(u32::from(is_first));
        if let Some(left) = &mut self.left {
            left.take(is_first, reserve);
        }
        if !reserve.is_zero() {
            self.reserved += reserve;
            self.reserves.insert(task, reserve);
        }
    }

    /// Takes the end of an attempt and what its agent said.
    pub(super) fn settle(&mut self, task: TaskIdx, said: Option<Usage>, result: &AttemptResult) {
        let settlement = settlement(result.as_ref().err().map(|it| it.code));
        if let Some(said) = said {
            self.tokens.add(said.tokens());
            self.cost.add(said.cost.map(|it| it.0));
        }
        self.close(task, said, settlement);
    }

    /// Takes what a nested dispatch used.
    pub(super) fn charge(&mut self, spend: Spend, n_tasks: u32) {
        self.settled += spend;
        self.n_tasks = self.n_tasks.saturating_add(n_tasks);
        self.is_waiting = false;
    }

    /// Takes the end of an attempt of which nothing is known, if it was not taken already.
    pub(super) fn give_up(&mut self, task: TaskIdx) {
        self.is_waiting = false;
        if !self.reserves.is_empty() {
            self.close(task, None, Settlement::Ran);
        }
    }

    /// Takes another budget.
    pub(super) fn change(&mut self, budget: Budget) {
        self.budget = Some(budget);
        self.exceeded = None;
        self.is_waiting = false;
    }

    fn mode(&self) -> OnExceeded {
        self.budget.unwrap_or_default().on_exceeded
    }

    fn close(&mut self, task: TaskIdx, said: Option<Usage>, settlement: Settlement) {
        let reserve = self.reserves.remove(&task).unwrap_or_default();
        self.reserved = self.reserved - reserve;
        self.settled += reserve.settled(said, settlement);
    }

    /// What to reserve for an attempt: what the caller expects, or the mean of what was used.
    fn reserve(&self, estimate: SpendEstimate) -> Spend {
        Spend {
            tokens: estimate.tokens.unwrap_or_else(|| self.tokens.mean()),
            cost: estimate.cost.unwrap_or_else(|| MicroUsd(self.cost.mean())),
        }
    }

    /// When its time is over.
    fn wall_end(&self) -> Option<Millis> {
        let left = self.budget?.wall?.since(self.wall_before);
        Some(self.since + left)
    }

    fn shortage(&self, is_new: bool, needed: Spend) -> Option<Shortage> {
        let Budget { tokens, cost, tasks, .. } = self.budget?;
        if is_new && tasks.is_some_and(|it| self.n_tasks >= it) {
            return Some(Shortage::Final(BudgetLimit::Tasks));
        }
        let reserved = self.reserved + self.nested;
        let amounts = |it: fn(Spend) -> u64| [self.settled, reserved, needed].map(it);
        let of_tokens = shortage(amounts(|it| it.tokens), tokens, BudgetLimit::Tokens);
        let of_cost = shortage(amounts(|it| it.cost.0), cost.map(|it| it.0), BudgetLimit::CostUsd);
        match (of_tokens, of_cost) {
            (Some(Shortage::ForNow), Some(it)) => Some(it),
            (of_tokens, of_cost) => of_tokens.or(of_cost),
        }
    }

    /// The limit that was passed by what is settled, or by time.
    fn passed(&self, now: Millis) -> Option<BudgetLimit> {
        let Budget { tokens, cost, .. } = self.budget?;
        if self.wall_end().is_some_and(|it| it <= now) {
            Some(BudgetLimit::WallSeconds)
        } else if tokens.is_some_and(|it| self.settled.tokens > it) {
            Some(BudgetLimit::Tokens)
        } else {
            cost.is_some_and(|it| self.settled.cost > it).then_some(BudgetLimit::CostUsd)
        }
    }
}

impl Samples {
    fn add(&mut self, said: Option<u64>) {
        if let Some(said) = said {
            self.sum = self.sum.saturating_add(said);
            self.n += 1;
        }
    }

    fn mean(self) -> u64 {
        self.sum.div_ceil(self.n.max(1))
    }
}

fn shortage(
    [settled, reserved, needed]: [u64; 3],
    limit: Option<u64>,
    what: BudgetLimit,
) -> Option<Shortage> {
    let limit = limit?;
    let wanted = settled.saturating_add(reserved).saturating_add(needed);
    if settled < limit && wanted <= limit {
        None
    } else if settled >= limit || reserved == 0 {
        Some(Shortage::Final(what))
    } else {
        Some(Shortage::ForNow)
    }
}

/// How an attempt settles that ended with this failure, or without one.
pub fn settlement(failure: Option<FailureCode>) -> Settlement {
    match failure {
        Some(
            FailureCode::RateLimited
            | FailureCode::CircuitOpen
            | FailureCode::UpstreamUnavailable
            | FailureCode::ContextUnavailable,
        ) => Settlement::NeverRan,
        Some(_) | None => Settlement::Ran,
    }
}

impl Scheduler {
    /// The budget in force.
    pub fn budget(&self) -> Option<Budget> {
        self.ledger.budget
    }

    /// The limit that was exceeded and holds the dispatch up or ended it.
    pub fn exceeded(&self) -> Option<BudgetLimit> {
        self.ledger.exceeded
    }

    /// What was settled and what is reserved, tokens and money.
    pub fn spend(&self) -> (Spend, Spend) {
        (self.ledger.settled, self.ledger.reserved)
    }

    /// All that was used of what budgets limit, but for time: by its own attempts and by nested
    /// dispatches.
    pub fn spent(&self) -> (Spend, u32) {
        (self.ledger.settled, self.ledger.n_tasks)
    }

    /// What it reserves itself for the attempt at `task` that runs.
    pub fn reserved_for(&self, task: TaskIdx) -> Spend {
        self.ledger.reserves.get(&task).copied().unwrap_or_default()
    }

    /// What the budgets above do not leave enough of.
    pub fn lacks(&self) -> Option<BudgetLimit> {
        self.ledger.lacks
    }

    /// What its own budget leaves for nested dispatches, which reserve `nested`; nothing if it has
    /// none.
    pub fn left(&self, nested: Spend) -> Option<Left> {
        let Budget { tokens, cost, tasks, .. } = self.ledger.budget?;
        if self.ledger.is_closed() {
            return Some(Left { tokens: Some(0), cost: Some(MicroUsd(0)), tasks: Some(0) });
        }
        let used = self.ledger.settled + self.ledger.reserved + nested;
        Some(Left {
            tokens: tokens.map(|it| it.saturating_sub(used.tokens)),
            cost: cost.map(|it| MicroUsd(it.0.saturating_sub(used.cost.0))),
            tasks: tasks.map(|it| it.saturating_sub(self.ledger.n_tasks)),
        })
    }

    pub(super) fn fund(&mut self, nested: Spend, left: Option<Left>) {
        let ledger = &mut self.ledger;
        if (ledger.nested, ledger.left) != (nested, left) || ledger.lacks.is_some() {
            ledger.is_waiting = false;
            ledger.lacks = None;
            self.reasons.funded();
        }
        (self.ledger.nested, self.ledger.left) = (nested, left);
    }

    pub(super) fn overdraw(&mut self, what: BudgetLimit, out: &mut Outbox) {
        if self.ledger.budget.is_some() && !self.ledger.is_closed() {
            self.record(Event::BudgetExceeded { what }, out);
        }
    }

    /// When the time of the budget is over, while that would change something.
    pub(super) fn budget_due(&self) -> Option<Millis> {
        let is_open = !self.ledger.is_closed() && self.n_open > 0;
        self.ledger.wall_end().filter(|_| is_open)
    }

    /// What to reserve for the next attempt at `task`.
    pub(super) fn reserve_for(&self, task: TaskIdx) -> Spend {
        if !self.ledger.is_bounded() {
            return Spend::default();
        }
        self.ledger.reserve(self.policy.of(task).expected)
    }

    /// Whether the next attempt at `task` fits the budget; if none ever will, that is recorded.
    pub(super) fn affords(&mut self, task: TaskIdx, out: &mut Outbox) -> bool {
        let is_new = self.attempt(task).0 == 0;
        let needed = self.reserve_for(task);
        match self.ledger.shortage(is_new, needed) {
            None => {
                self.ledger.lacks = self.ledger.left.and_then(|it| it.lacks(is_new, needed));
                self.ledger.is_waiting = self.ledger.lacks.is_some();
                self.ledger.lacks.is_none()
            }
            Some(Shortage::ForNow) => {
                self.ledger.is_waiting = true;
                false
            }
            Some(Shortage::Final(what)) => {
                self.record(Event::BudgetExceeded { what }, out);
                self.hand_back(out);
                false
            }
        }
    }

    /// Looks whether a limit was passed meanwhile, and gives up what will not start.
    pub(super) fn check_budget(&mut self, now: Millis, out: &mut Outbox) {
        if self.n_open == 0 {
            return;
        }
        if !self.ledger.is_closed()
            && let Some(what) = self.ledger.passed(now)
        {
            self.record(Event::BudgetExceeded { what }, out);
        }
        self.hand_back(out);
    }

    /// Whether the budget lets `task` be given up now.
    pub(super) fn can_drop(&self, task: TaskIdx) -> bool {
        let may_stop = self.ledger.mode() == OnExceeded::Fail;
        self.ledger.is_over()
            && self.is_open(task)
            && (may_stop || self.state(task) != TaskState::Running)
    }

    /// Where a task stands that was given up for the budget.
    pub(super) fn dropped(&self, task: TaskIdx) -> TaskState {
        if self.state(task) == TaskState::Running {
            TaskState::Cancelled
        } else if self.attempt(task).0 > 0 {
            TaskState::Failed
        } else {
            TaskState::Skipped
        }
    }

    fn hand_back(&mut self, out: &mut Outbox) {
        let Some(what) = self.ledger.exceeded.filter(|_| self.ledger.is_over()) else { return };
        let n_left = match self.ledger.mode() {
            OnExceeded::Fail => 0,
            OnExceeded::Pause | OnExceeded::HandBack => self.n_running as usize,
        };
        if self.n_open == n_left {
            return;
        }
        for task in (0..self.n_tasks()).map(TaskIdx::from_usize) {
            if !self.can_drop(task) {
                continue;
            }
            if self.state(task) == TaskState::Running {
                out.actions.push(Action::StopAttempt { task, attempt: self.attempt(task) });
            }
            self.record(Event::TaskDropped { task, what }, out);
        }
    }
}

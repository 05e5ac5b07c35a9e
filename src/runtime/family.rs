//! What nested dispatches use, reserve and lack, in the accounts of the dispatches above.

use super::sharing::Lives;
use crate::{
    model::{BudgetLimit, OnExceeded, Spend, TaskIdx, TaskStatus},
    ports::RecordBody,
    scheduler::{Fleet as _, Input, Left},
};

impl Lives<'_> {
    /// Charges every dispatch with what the nested ones used since, and says to all what there is.
    pub(super) fn settle(&mut self) {
        let mut nested = self.kin();
        nested.retain(|it| self.parent(*it).is_some());
        // The deepest first, so that all of it comes to the top in one round.
        nested.sort_by_key(|&it| {
            let depth = self.all[it].meta.parent.as_ref().map(|it| it.depth);
            std::cmp::Reverse(depth)
        });
        for &member in &nested {
            self.charge(member);
        }
        let kin = if self.has_budgets() { self.kin() } else { Vec::new() };
        for &member in &kin {
            self.fund(member);
        }
        // Those that were kin and are alone by now, or whose kin have no budgets any more, have
        // nothing above and below.
        for (at, live) in self.all.iter_mut().enumerate() {
            if live.is_funded && kin.binary_search(&at).is_err() {
                live.is_funded = false;
                let alone = Input::Fund { nested: Spend::default(), left: None };
                live.handle(self.now, alone, self.out, self.batch);
            }
        }
    }

    fn charge(&mut self, member: usize) {
        let Some((parent, task)) = self.parent(member) else { return };
        let live = &mut *self.all[member];
        let (spend, tasks) = live.scheduler.spent();
        let (before, tasks_before) = std::mem::replace(&mut live.charged, (spend, tasks));
        let (spend, tasks) = (spend - before, tasks.saturating_sub(tasks_before));
        if !spend.is_zero() || tasks > 0 {
            self.tell(parent, Input::Charge { task, spend, tasks });
        }
    }

    /// Whether anybody with others above or below has limits: else nobody asks what there is.
    pub(super) fn has_budgets(&self) -> bool {
        self.kin().iter().any(|it| self.all[*it].scheduler.budget().is_some())
    }

    /// Says to a dispatch with others above or below what those leave and reserve.
    pub(super) fn fund(&mut self, member: usize) {
        let nested = self.reserved_below(member);
        let left = self.left_above(member);
        if left.is_some() || self.has_children(member) {
            let live = &mut *self.all[member];
            live.is_funded = true;
            live.handle(self.now, Input::Fund { nested, left }, self.out, self.batch);
        }
    }

    /// Exceeds the budgets that do not leave what a nested dispatch needs, where nothing that runs
    /// will change that, and hands back what these budgets give up.
    pub(super) fn overdraw(&mut self) {
        for member in self.kin() {
            let Some(what) = self.all[member].scheduler.lacks() else { continue };
            let least = self.left_above(member).and_then(|it| amount(it, what));
            let above: Vec<usize> = self.above(member).collect();
            for it in above {
                let left = self.left_of(it).and_then(|it| amount(it, what));
                let is_it = left.is_some() && left == least;
                if is_it && (what == BudgetLimit::Tasks || !self.may_settle(it, what)) {
                    self.tell(it, Input::Overdraw { what });
                }
            }
        }
        for member in self.kin() {
            let is_over = |it: usize| {
                let scheduler = &self.all[it].scheduler;
                let mode = scheduler.budget().map(|it| it.on_exceeded);
                scheduler.exceeded().is_some() && mode != Some(OnExceeded::Pause)
            };
            let is_handed_back = self.above(member).any(is_over);
            if is_handed_back {
                self.hand_back(member);
            }
        }
    }

    fn hand_back(&mut self, member: usize) {
        let live = &mut *self.all[member];
        let open = live.rows.iter().enumerate().filter(|it| it.1.status == TaskStatus::Pending);
        let tasks: Vec<_> = open.map(|it| TaskIdx::from_usize(it.0)).collect();
        if tasks.is_empty() {
            return;
        }
        let reason = "the budget of the dispatch above is used up".to_owned();
        let body = RecordBody::CancelRequested { tasks: tasks.clone(), reason };
        live.record(self.now, body, self.batch);
        live.handle(self.now, Input::CancelTasks { tasks }, self.out, self.batch);
        self.batch.touched.push(live.id);
    }

    /// Whether something below a dispatch holds a reserve that its end may give back. Agents that
    /// wait for what they dispatched do not end before that.
    fn may_settle(&self, member: usize, what: BudgetLimit) -> bool {
        let waiting = self.waiting_below(member);
        let reserved = self.all[member].scheduler.spend().1 + self.reserved_below(member);
        let rest = reserved - waiting;
        match what {
            BudgetLimit::Tokens => rest.tokens > 0,
            BudgetLimit::CostUsd => rest.cost.0 > 0,
            BudgetLimit::WallSeconds | BudgetLimit::Tasks => false,
        }
    }

    /// What is reserved for attempts that wait for what they dispatched.
    fn waiting_below(&self, member: usize) -> Spend {
        let mut tasks: Vec<(usize, TaskIdx)> =
            self.kin().into_iter().filter_map(|it| self.parent(it)).collect();
        tasks.sort_unstable();
        tasks.dedup();
        let is_below = |it: usize| it == member || self.above(it).any(|it| it == member);
        let here = tasks.into_iter().filter(|it| is_below(it.0));
        let reserved = here.map(|it| self.all[it.0].scheduler.reserved_for(it.1));
        reserved.fold(Spend::default(), |sum, it| sum + it)
    }

    fn reserved_below(&self, member: usize) -> Spend {
        let kin = self.kin().into_iter();
        let children = kin.filter(|it| self.parent_of(*it) == Some(member));
        let reserved =
            children.map(|it| self.all[it].scheduler.spend().1 + self.reserved_below(it));
        reserved.fold(Spend::default(), |sum, it| sum + it)
    }

    fn left_above(&self, member: usize) -> Option<Left> {
        self.above(member).filter_map(|it| self.left_of(it)).reduce(Left::min)
    }

    fn left_of(&self, member: usize) -> Option<Left> {
        let scheduler = &self.all[member].scheduler;
        // What is below is looked at only where it counts.
        scheduler.budget().and_then(|_| scheduler.left(self.reserved_below(member)))
    }

    fn has_children(&self, member: usize) -> bool {
        self.kin().iter().any(|it| self.parent_of(*it) == Some(member))
    }

    fn parent_of(&self, member: usize) -> Option<usize> {
        self.parent(member).map(|it| it.0)
    }

    /// The dispatches above a dispatch, the nearest first.
    fn above(&self, member: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.parent_of(member), |it| self.parent_of(*it))
    }
}

fn amount(left: Left, what: BudgetLimit) -> Option<u64> {
    match what {
        BudgetLimit::Tokens => left.tokens,
        BudgetLimit::CostUsd => left.cost.map(|it| it.0),
        BudgetLimit::Tasks => left.tasks.map(u64::from),
        BudgetLimit::WallSeconds => None,
    }
}

//! How the dispatcher lets its dispatches share workers, and what upstreams let in.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use tokio::task::Id;

use super::{
    batch::Batch, dispatcher::Dispatcher, live::Live, message::AttemptEnd, nesting::Parent,
};
use crate::{
    model::{DispatchId, Millis, TaskIdx},
    ports::OwnerId,
    scheduler::{Fleet, Governor, Input, LaneId, Outbox, Scheduler, Verdict},
};

/// What all dispatches together may have at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    pub(super) dispatches_open_max: usize,
    pub(super) workers_total_max: u32,
}

/// The governor of this process, and the lane of each attempt that runs.
#[derive(Debug)]
pub(super) struct Sharing {
    governor: Governor,
    flights: FxHashMap<Id, (LaneId, Millis)>,
    /// How many dispatches shared last.
    n_lives: usize,
}

/// The live dispatches as the governor sees them.
pub(super) struct Lives<'a> {
    pub(super) now: Millis,
    pub(super) all: Vec<&'a mut Live>,
    /// Who was dispatched by whose agent; empty if nobody was.
    parents: Vec<Option<(usize, TaskIdx)>>,
    /// Those with others above or below.
    kin: Vec<usize>,
    pub(super) out: &'a mut Outbox,
    pub(super) batch: &'a mut Batch,
}

impl Sharing {
    /// Never more than `workers_max` attempts at once; waits differ between processes.
    pub(super) fn new(workers_max: u32, me: OwnerId) -> Self {
        let governor = Governor::new(workers_max, me.0.as_u64_pair().1);
        Self { governor, flights: FxHashMap::default(), n_lives: 0 }
    }

    /// When something may start although nothing else happens. That is at once where dispatches
    /// were let go of since they shared, for they may have left workers.
    pub(super) fn wake_at(&self, n_lives: usize) -> Option<Millis> {
        let has_left = n_lives < self.n_lives && self.governor.is_needed();
        if has_left { Some(Millis(0)) } else { self.governor.wake_at() }
    }

    /// Makes lanes known that a dispatch has since it grew.
    pub(super) fn register(&mut self, live: &mut Live) {
        live.lanes.register(&mut self.governor);
    }

    /// Counts an attempt that was handed to its agent.
    pub(super) fn start_attempt(&mut self, now: Millis, id: Id, lane: Option<LaneId>) {
        if let Some(lane) = lane {
            self.governor.start_attempt(now, lane);
            self.flights.insert(id, (lane, now));
        }
    }
}

impl<'a> Lives<'a> {
    fn new(
        now: Millis,
        lives: &'a mut BTreeMap<DispatchId, Live>,
        out: &'a mut Outbox,
        batch: &'a mut Batch,
    ) -> Self {
        let all: Vec<_> = lives.values_mut().collect();
        let mut this = Self { now, all, parents: Vec::new(), kin: Vec::new(), out, batch };
        if this.all.iter().any(|it| it.meta.parent.is_some()) {
            this.parents = this.all.iter().map(|it| this.find_parent(it)).collect();
            this.find_kin();
        }
        this
    }

    /// The dispatches with others above or below.
    pub(super) fn kin(&self) -> Vec<usize> {
        self.kin.clone()
    }

    /// Adds one that is not among the others yet. Those below it may be: after a crash, any of them
    /// may be taken over first.
    fn push(&mut self, live: &'a mut Live) {
        let n_before = self.all.len();
        if live.meta.parent.is_some() || !self.parents.is_empty() {
            self.parents.resize(n_before, None);
            for (parent, it) in self.parents.iter_mut().zip(&self.all) {
                let above = it.meta.parent.as_ref().filter(|it| it.dispatch == live.id);
                *parent = above.map(|it| (n_before, it.task)).or(*parent);
            }
            self.parents.push(self.find_parent(live));
        }
        self.all.push(live);
        self.find_kin();
    }

    fn find_kin(&mut self) {
        let above = self.parents.iter().flatten().map(|it| it.0);
        let below = (0..self.parents.len()).filter(|it| self.parents[*it].is_some());
        self.kin = above.chain(below).collect();
        self.kin.sort_unstable();
        self.kin.dedup();
    }

    fn find_parent(&self, live: &Live) -> Option<(usize, TaskIdx)> {
        let Parent { dispatch, task, .. } = live.meta.parent.as_ref()?;
        let at = self.all.binary_search_by_key(dispatch, |it| it.id).ok()?;
        Some((at, *task))
    }
}

impl Fleet for Lives<'_> {
    fn n_members(&self) -> usize {
        self.all.len()
    }

    fn scheduler(&self, member: usize) -> &Scheduler {
        &self.all[member].scheduler
    }

    fn lanes(&self, member: usize) -> &[LaneId] {
        self.all[member].lanes.ids()
    }

    fn parent(&self, member: usize) -> Option<(usize, TaskIdx)> {
        self.parents.get(member).copied().flatten()
    }

    fn tell(&mut self, member: usize, input: Input) {
        if matches!(input, Input::Allow { .. }) && self.has_budgets() {
            // Others may have started something meanwhile.
            self.fund(member);
        }
        let live = &mut *self.all[member];
        let n_actions = self.batch.actions.len();
        live.handle(self.now, input, self.out, self.batch);
        if self.batch.actions.len() > n_actions {
            self.batch.touched.push(live.id);
        }
    }
}

impl Dispatcher {
    /// Takes a dispatch in that has not started.
    pub(super) fn admit(&mut self, now: Millis, live: &mut Live, batch: &mut Batch) {
        let governor = &mut self.sharing.governor;
        live.lanes.register(governor);
        let mut fleet = Lives::new(now, &mut self.lives, &mut self.out, batch);
        fleet.push(live);
        governor.admit(&mut fleet);
    }

    /// Makes ready for a dispatch that is about to have at most so many workers more.
    pub(super) fn expect_workers(&mut self, now: Millis, more: u32, batch: &mut Batch) {
        let mut fleet = Lives::new(now, &mut self.lives, &mut self.out, batch);
        self.sharing.governor.prepare(more, &mut fleet);
    }

    /// Tells the governor how an attempt ended, before its scheduler hears of it.
    pub(super) fn note_end(&mut self, id: Id, end: &AttemptEnd, batch: &mut Batch) {
        let Some(flight) = self.sharing.flights.remove(&id) else { return };
        let verdict = Verdict::of(end.result.as_ref().map(|_| ()));
        let now = self.dependencies.clock.now();
        let mut fleet = Lives::new(now, &mut self.lives, &mut self.out, batch);
        self.sharing.governor.end_attempt(now, flight, verdict, &mut fleet);
    }

    /// At the end of a round: starts what may start now.
    pub(super) fn share(&mut self, batch: &mut Batch) {
        self.cancel_nested(batch);
        self.sharing.n_lives = self.lives.len();
        if self.sharing.governor.is_needed() {
            let now = self.dependencies.clock.now();
            let mut fleet = Lives::new(now, &mut self.lives, &mut self.out, batch);
            fleet.settle();
            self.sharing.governor.share(now, &mut fleet);
            fleet.overdraw();
            self.cancel_nested(batch);
            Lives::new(now, &mut self.lives, &mut self.out, batch).settle();
        }
    }
}

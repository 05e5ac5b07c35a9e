//! Shares workers between dispatches, and what upstreams let in; pure, as the schedulers are.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{
    family::Families,
    lane::{Limiter, Verdict},
    machine::Scheduler,
    message::Input,
    retry::scatter,
    share::{Claim, grants},
};
use crate::model::{Millis, TaskIdx};

/// A lane among all that there are in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneId(usize);

/// The dispatches that are governed, as whoever owns them shows them.
pub trait Fleet {
    /// How many there are.
    fn n_members(&self) -> usize;
    /// One of them.
    fn scheduler(&self, member: usize) -> &Scheduler;
    /// What its lanes are here.
    fn lanes(&self, member: usize) -> &[LaneId];
    /// The task of another member whose agent dispatched it.
    fn parent(&self, _member: usize) -> Option<(usize, TaskIdx)> {
        None
    }
    /// Gives it an input, at the time of the call.
    fn tell(&mut self, member: usize, input: Input);
}

/// Knows the worker cap of the process and the limiter of each lane.
///
/// As long as neither can bind, it says nothing to anybody and costs nothing. Where one can, the
/// schedulers start only what they are allowed to in [`Self::share`].
#[derive(Debug)]
pub struct Governor {
    workers_max: u32,
    /// Whether the dispatches together may want more workers than there are.
    is_shared: bool,
    /// Whether some of the dispatches were dispatched by agents of others.
    is_nested: bool,
    limiters: Vec<Limiter>,
    names: FxHashMap<Arc<str>, LaneId>,
    seed: u64,
    shared_at: Millis,
}

/// What one dispatch may do in a round.
type Rooms = Vec<(u16, u32)>;

/// What there is still to be given in a round.
struct Free {
    workers: u32,
    /// By lane.
    rooms: Vec<u32>,
    families: Option<Families>,
}

impl Free {
    /// How many a member may start that was granted so many workers.
    fn starts(&self, fleet: &impl Fleet, member: usize, granted: u32) -> u32 {
        self.families
            .as_ref()
            .map_or(granted, |it| granted.max(it.spare(fleet, member)).min(it.room(fleet, member)))
    }
}

impl Governor {
    /// Never more than `workers_max` attempts run at once in all dispatches together. The chance
    /// in waits is made of `seed`.
    pub fn new(workers_max: u32, seed: u64) -> Self {
        Self {
            workers_max,
            is_shared: false,
            is_nested: false,
            limiters: Vec::new(),
            names: FxHashMap::default(),
            seed,
            shared_at: Millis(0),
        }
    }

    /// The lane of that name.
    pub fn lane(&mut self, name: &Arc<str>) -> LaneId {
        if let Some(lane) = self.names.get(name) {
            return *lane;
        }
        let lane = LaneId(self.limiters.len());
        self.limiters.push(Limiter::new(scatter(self.seed, lane.0 as u64)));
        self.names.insert(Arc::clone(name), lane);
        lane
    }

    /// When to [`Self::share`] next, if nothing else happens before.
    pub fn wake_at(&self) -> Option<Millis> {
        self.limiters.iter().filter_map(|it| it.wake_at(self.shared_at)).min()
    }

    /// Takes a member in that has not started; the last of `fleet`. The others may be those that
    /// its agents dispatched.
    pub fn admit(&mut self, fleet: &mut impl Fleet) {
        let n_members = fleet.n_members();
        let is_news = !self.is_shared && may_want(fleet) > u64::from(self.workers_max);
        self.is_shared |= is_news;
        let is_first = !self.is_nested && (0..n_members).any(|it| fleet.parent(it).is_some());
        self.is_nested |= is_first;
        if !self.is_needed() {
            return;
        }
        let from = if is_news || is_first { 0 } else { n_members.saturating_sub(1) };
        (from..n_members).for_each(|member| self.hold(fleet, member));
    }

    /// Makes ready for a member that is about to have as many as `more` workers more.
    pub fn prepare(&mut self, more: u32, fleet: &mut impl Fleet) {
        let wanted = may_want(fleet).saturating_add(u64::from(more));
        if !self.is_shared && wanted > u64::from(self.workers_max) {
            self.is_shared = true;
            (0..fleet.n_members()).for_each(|member| self.hold(fleet, member));
        }
    }

    /// Counts an attempt that is handed to an agent.
    pub fn start_attempt(&mut self, now: Millis, lane: LaneId) {
        self.limiters[lane.0].start(now);
    }

    /// Takes the end of an attempt, before the attempt's scheduler hears of it.
    pub fn end_attempt(
        &mut self,
        now: Millis,
        (lane, started): (LaneId, Millis),
        verdict: Verdict,
        fleet: &mut impl Fleet,
    ) {
        let limiter = &mut self.limiters[lane.0];
        let was_limited = limiter.is_limited();
        limiter.end(now, started, verdict);
        if !was_limited && limiter.is_limited() {
            (0..fleet.n_members()).for_each(|member| self.hold(fleet, member));
        }
    }

    /// Whether [`Self::share`] has anything to do.
    pub fn is_needed(&self) -> bool {
        self.is_shared || self.is_nested || self.limiters.iter().any(Limiter::is_limited)
    }

    /// Lets start what may start. Costs O(members × lanes), and more only for what starts.
    pub fn share(&mut self, now: Millis, fleet: &mut impl Fleet) {
        self.shared_at = now;
        self.limiters.iter_mut().for_each(|it| it.handle_timeout(now));
        if self.is_shared && may_want(fleet) <= u64::from(self.workers_max) {
            self.is_shared = false;
            (0..fleet.n_members()).for_each(|member| self.hold(fleet, member));
        }
        let families = self.families(fleet);
        let mut free = Free {
            workers: if self.is_shared {
                self.free_workers(fleet, families.as_ref())
            } else {
                u32::MAX
            },
            rooms: self.limiters.iter().map(|it| it.room(now)).collect(),
            families,
        };
        // Who started something last comes last, so that what cannot be shared evenly goes round.
        let mut order: Vec<usize> = (0..fleet.n_members()).collect();
        order.sort_by_key(|&it| fleet.scheduler(it).last_start());
        self.give_fairly(fleet, &order, &mut free);
        self.give_rest(fleet, &order, &mut free);
    }

    /// How many more may start in a lane.
    #[cfg(test)]
    pub(super) fn room(&self, now: Millis, lane: LaneId) -> u32 {
        self.limiters[lane.0].room(now)
    }

    /// Gives everybody his share of what is free.
    fn give_fairly(&self, fleet: &mut impl Fleet, order: &[usize], free: &mut Free) {
        let mut rooms: Vec<Rooms> = vec![Rooms::new(); order.len()];
        for lane in self.limited() {
            grant_lane(&*fleet, order, (lane, free.rooms[lane.0]), &mut rooms);
        }
        let claims = order.iter().zip(&rooms).map(|(&member, rooms)| {
            let scheduler = fleet.scheduler(member);
            Claim { held: scheduler.n_running(), wanted: scheduler.startable(rooms) }
        });
        let claims: Vec<Claim> = claims.collect();
        let workers = if self.is_shared {
            grants(free.workers, &claims)
        } else {
            vec![u32::MAX; claims.len()]
        };
        for (at, rooms) in rooms.into_iter().enumerate() {
            let starts = free.starts(fleet, order[at], workers[at]);
            if claims[at].wanted > 0 && starts > 0 {
                self.allow(fleet, order[at], (starts, rooms), free);
            }
        }
    }

    /// Gives what somebody could not use, because his workers are busy or another lane has his
    /// share, to whoever can.
    fn give_rest(&self, fleet: &mut impl Fleet, order: &[usize], free: &mut Free) {
        for &member in order {
            let lanes = fleet.lanes(member).iter().enumerate();
            let limited = lanes.filter(|it| self.limiters[it.1.0].is_limited());
            let rooms: Rooms = limited.map(|(at, it)| (local(at), free.rooms[it.0])).collect();
            let starts = free.starts(fleet, member, free.workers);
            if starts > 0 && fleet.scheduler(member).startable(&rooms) > 0 {
                self.allow(fleet, member, (starts, rooms), free);
            }
        }
    }

    /// Lets a member start so many, and takes what it used from what is free.
    fn allow(
        &self,
        fleet: &mut impl Fleet,
        member: usize,
        (starts, rooms): (u32, Rooms),
        free: &mut Free,
    ) {
        let before = n_started(fleet, member, &rooms);
        fleet.tell(member, Input::Allow { starts, lanes: rooms.clone() });
        let after = n_started(fleet, member, &rooms);
        let used = |at: usize| u32::try_from(after[at] - before[at]).unwrap_or(u32::MAX);
        if self.is_shared && free.families.is_some() {
            free.workers = self.free_workers(fleet, free.families.as_ref());
        } else if self.is_shared {
            free.workers = free.workers.saturating_sub(used(0));
        }
        for (at, (lane, _)) in rooms.iter().enumerate() {
            let lane = fleet.lanes(member)[usize::from(*lane)];
            let room = &mut free.rooms[lane.0];
            *room = room.saturating_sub(used(at + 1));
        }
    }

    /// Lets a member start nothing by itself where there is a limit, and anything elsewhere.
    fn hold(&self, fleet: &mut impl Fleet, member: usize) {
        let lanes = fleet.lanes(member).iter().enumerate();
        let limited = lanes.filter(|it| self.limiters[it.1.0].is_limited());
        let lanes: Rooms = limited.map(|(at, _)| (local(at), 0)).collect();
        let starts = if self.is_shared || self.is_nested { 0 } else { u32::MAX };
        fleet.tell(member, Input::Allow { starts, lanes });
    }

    fn limited(&self) -> impl Iterator<Item = LaneId> {
        let all = self.limiters.iter().enumerate();
        all.filter(|it| it.1.is_limited()).map(|it| LaneId(it.0))
    }

    fn free_workers(&self, fleet: &impl Fleet, families: Option<&Families>) -> u32 {
        let running = (0..fleet.n_members()).map(|it| fleet.scheduler(it).n_running());
        let n_busy =
            families.map_or_else(|| running.fold(0, u32::saturating_add), |it| it.n_busy(fleet));
        self.workers_max.saturating_sub(n_busy)
    }

    /// Who belongs together; where nobody does any more, nobody is held for it.
    fn families(&mut self, fleet: &mut impl Fleet) -> Option<Families> {
        if !self.is_nested {
            return None;
        }
        let families = Families::of(fleet);
        if families.is_none() {
            self.is_nested = false;
            (0..fleet.n_members()).for_each(|member| self.hold(fleet, member));
        }
        families
    }
}

/// Shares the room of one lane out.
fn grant_lane(
    fleet: &impl Fleet,
    order: &[usize],
    (lane, room): (LaneId, u32),
    rooms: &mut [Rooms],
) {
    let mut places = Vec::new();
    let mut claims = Vec::new();
    for (at, &member) in order.iter().enumerate() {
        let Some(here) = fleet.lanes(member).iter().position(|it| *it == lane) else {
            continue;
        };
        let scheduler = fleet.scheduler(member);
        let (n_ready, n_running, _) = scheduler.count(local(here));
        let wanted = n_ready.min(scheduler.n_idle());
        places.push((at, local(here)));
        claims.push(Claim { held: n_running, wanted });
    }
    for ((at, here), room) in places.into_iter().zip(grants(room, &claims)) {
        rooms[at].push((here, room));
    }
}

/// How many workers there may be at most by the dispatches' own limits.
fn may_want(fleet: &impl Fleet) -> u64 {
    let members = 0..fleet.n_members();
    members.map(|it| u64::from(fleet.scheduler(it).workers_max())).sum()
}

/// How many attempts a member ever started, in all and then in each of these lanes.
fn n_started(fleet: &impl Fleet, member: usize, lanes: &Rooms) -> Vec<u64> {
    let scheduler = fleet.scheduler(member);
    let by_lane = lanes.iter().map(|it| scheduler.count(it.0).2);
    std::iter::once(scheduler.n_started()).chain(by_lane).collect()
}

/// A lane's number in its dispatch; no policy has more.
fn local(lane: usize) -> u16 {
    u16::try_from(lane).unwrap_or(u16::MAX)
}

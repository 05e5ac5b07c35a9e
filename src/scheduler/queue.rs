//! The ready tasks by lane, and how many of each may start.

use super::ready::ReadySet;
use crate::model::{Millis, TaskIdx};

/// The ready tasks of a dispatch. A lane holds those that the same upstream does as the same agent.
///
/// Invariant: a lane's `n_ready` is the size of its `ready`.
#[derive(Debug)]
pub(super) struct Queue {
    /// By task; empty where there is one lane.
    lane_of: Vec<u16>,
    lanes: Vec<Lane>,
    /// How many attempts may start, in all lanes together.
    starts: Room,
    /// Whether there is any limit.
    is_limited: bool,
    last_start: Millis,
}

/// What waits and runs in one lane.
#[derive(Debug)]
struct Lane {
    ready: ReadySet,
    room: Room,
    n_ready: u32,
    n_running: u32,
    n_started: u64,
}

/// How many attempts may start now; `NO_LIMIT` stays, any other number is for one round.
type Room = u32;

const NO_LIMIT: Room = u32::MAX;

/// The task that goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) priority: u32,
    /// Whether it goes before tasks with longer paths, whose lanes have no room.
    pub(super) overtakes: bool,
}

impl Queue {
    /// An empty queue for `n_tasks` tasks in these lanes.
    pub(super) fn new(n_tasks: usize, lane_of: &[u16]) -> Self {
        let n_lanes = 1 + usize::from(lane_of.iter().copied().max().unwrap_or(0));
        let lane = || Lane {
            ready: ReadySet::new(n_tasks),
            room: NO_LIMIT,
            n_ready: 0,
            n_running: 0,
            n_started: 0,
        };
        Self {
            lane_of: if n_lanes == 1 { Vec::new() } else { lane_of.to_vec() },
            lanes: (0..n_lanes).map(|_| lane()).collect(),
            starts: NO_LIMIT,
            is_limited: false,
            last_start: Millis(0),
        }
    }

    /// Forgets who is ready, for there are other tasks or other priorities; what runs, what has
    /// started and what may start stays.
    pub(super) fn rebuild(&mut self, n_tasks: usize, lane_of: &[u16]) {
        let mut other = Self::new(n_tasks, lane_of);
        for (lane, before) in other.lanes.iter_mut().zip(&self.lanes) {
            lane.room = before.room;
            lane.n_running = before.n_running;
            lane.n_started = before.n_started;
        }
        let Self { starts, is_limited, last_start, .. } = *self;
        *self = Self { starts, is_limited, last_start, ..other };
    }

    pub(super) fn insert(&mut self, task: TaskIdx, priority: u32) {
        let lane = self.lane_mut(task);
        lane.ready.insert(priority);
        lane.n_ready += 1;
    }

    pub(super) fn remove(&mut self, task: TaskIdx, priority: u32) {
        let lane = self.lane_mut(task);
        lane.ready.remove(priority);
        lane.n_ready -= 1;
    }

    /// Counts a start, live or replayed, and takes the room that it needs.
    pub(super) fn start(&mut self, task: TaskIdx, now: Millis) {
        self.last_start = now;
        if self.is_limited {
            take(&mut self.starts);
            take(&mut self.lane_mut(task).room);
        }
        let lane = self.lane_mut(task);
        lane.n_running += 1;
        lane.n_started += 1;
    }

    pub(super) fn end(&mut self, task: TaskIdx) {
        self.lane_mut(task).n_running -= 1;
    }

    /// The ready task with the longest path of those that may start. Costs O(lanes).
    pub(super) fn next(&self) -> Option<Next> {
        if self.starts == 0 {
            return None;
        }
        if let [lane] = &*self.lanes {
            let priority =
                if lane.room == 0 || lane.n_ready == 0 { None } else { lane.ready.first() };
            return priority.map(|priority| Next { priority, overtakes: false });
        }
        let first = |is_open: bool| {
            let lanes = self.lanes.iter().filter(|it| (it.room > 0) == is_open);
            lanes.filter_map(|it| it.ready.first()).min()
        };
        let priority = first(true)?;
        Some(Next { priority, overtakes: first(false).is_some_and(|it| it < priority) })
    }

    /// Says how many may start now, in all and in some of the lanes.
    pub(super) fn allow(&mut self, starts: Room, lanes: &[(u16, Room)]) {
        self.starts = starts;
        for &(lane, room) in lanes {
            if let Some(lane) = self.lanes.get_mut(usize::from(lane)) {
                lane.room = room;
            }
        }
        let mut rooms = self.lanes.iter().map(|it| it.room);
        self.is_limited = starts != NO_LIMIT || rooms.any(|it| it != NO_LIMIT);
    }

    /// What was allowed and not used is not kept for later.
    pub(super) fn lapse(&mut self) {
        if self.is_limited {
            let lapse = |room: &mut Room| *room = if *room == NO_LIMIT { NO_LIMIT } else { 0 };
            lapse(&mut self.starts);
            self.lanes.iter_mut().for_each(|it| lapse(&mut it.room));
        }
    }

    /// How many could start if the lanes had these rooms; those not named have their own.
    pub(super) fn startable(&self, rooms: &[(u16, Room)]) -> u32 {
        let startable = |(at, lane): (usize, &Lane)| {
            let named = rooms.iter().find(|it| usize::from(it.0) == at);
            lane.n_ready.min(named.map_or(lane.room, |it| it.1))
        };
        self.lanes.iter().enumerate().map(startable).fold(0, u32::saturating_add)
    }

    pub(super) fn n_ready(&self) -> u32 {
        self.lanes.iter().map(|it| it.n_ready).sum()
    }

    /// How many are ready in a lane, how many run, and how many were started ever.
    pub(super) fn count(&self, lane: u16) -> (u32, u32, u64) {
        let lane = self.lanes.get(usize::from(lane));
        lane.map_or((0, 0, 0), |it| (it.n_ready, it.n_running, it.n_started))
    }

    pub(super) fn n_started(&self) -> u64 {
        self.lanes.iter().map(|it| it.n_started).sum()
    }

    pub(super) fn last_start(&self) -> Millis {
        self.last_start
    }

    fn lane_mut(&mut self, task: TaskIdx) -> &mut Lane {
        let at = self.lane_of.get(task.as_usize()).copied().unwrap_or(0);
        &mut self.lanes[usize::from(at)]
    }
}

fn take(room: &mut Room) {
    if *room != NO_LIMIT {
        *room = room.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Priorities are the tasks' own numbers here.
    fn add(queue: &mut Queue, tasks: &[u32]) {
        for &it in tasks {
            queue.insert(TaskIdx::from_usize(it as usize), it);
        }
    }

    fn start(queue: &mut Queue) -> Option<(u32, bool)> {
        let Next { priority, overtakes } = queue.next()?;
        let task = TaskIdx::from_usize(priority as usize);
        queue.remove(task, priority);
        queue.start(task, Millis(7));
        Some((priority, overtakes))
    }

    #[test]
    fn without_limits_lanes_make_no_difference() {
        for lanes in [vec![], vec![1, 0, 2, 0, 1]] {
            let mut queue = Queue::new(5, &lanes);
            add(&mut queue, &[4, 2, 0, 3, 1]);
            assert_eq!(queue.n_ready(), 5);
            for at in 0..5 {
                assert_eq!(start(&mut queue), Some((at, false)));
                queue.lapse();
            }
            assert_eq!((start(&mut queue), queue.n_started()), (None, 5));
        }
    }

    #[test]
    fn a_lane_without_room_is_overtaken() {
        let mut queue = Queue::new(5, &[0, 0, 1, 0, 1]);
        add(&mut queue, &[0, 1, 2, 3, 4]);
        queue.allow(NO_LIMIT, &[(0, 1)]);
        assert_eq!(queue.startable(&[]), 1 + 2);
        assert_eq!(queue.startable(&[(0, 2)]), 2 + 2);
        assert_eq!(start(&mut queue), Some((0, false)));
        assert_eq!(start(&mut queue), Some((2, true)));
        queue.lapse();
        assert_eq!(start(&mut queue), Some((4, true)));
        assert_eq!(start(&mut queue), None);
        assert_eq!((queue.count(0), queue.count(1)), ((2, 1, 1), (0, 2, 2)));
        queue.allow(NO_LIMIT, &[(0, NO_LIMIT)]);
        queue.lapse();
        assert_eq!(start(&mut queue), Some((1, false)));
    }

    #[test]
    fn the_limit_over_all_lanes_is_for_one_round() {
        let mut queue = Queue::new(4, &[0, 1, 0, 1]);
        add(&mut queue, &[0, 1, 2, 3]);
        queue.allow(2, &[]);
        assert_eq!(start(&mut queue), Some((0, false)));
        queue.lapse();
        assert_eq!(start(&mut queue), None);
        queue.allow(NO_LIMIT, &[]);
        assert_eq!(start(&mut queue), Some((1, false)));
        assert_eq!(queue.last_start(), Millis(7));
    }

    #[test]
    fn an_end_gives_back_what_runs_in_its_own_lane() {
        let mut queue = Queue::new(4, &[0, 1, 1, 1]);
        add(&mut queue, &[0, 1, 2, 3]);
        while start(&mut queue).is_some() {}
        queue.end(TaskIdx::from_usize(2));
        assert_eq!((queue.count(0), queue.count(1)), ((0, 1, 1), (0, 2, 3)));
    }
}

//! What holds of dispatches whose tasks dispatch others and wait for them, over random ones.

use std::sync::Arc;

use super::{
    Action, Fleet, Governor, Input, LaneId, Outbox, Scheduler, TaskState, random::Rng,
    testing::policy,
};
use crate::{
    model::{Attempt, Millis, OnFailure, TaskIdx},
    plan::TaskGraph,
};

/// How many random families are simulated.
const N_SEEDS: u64 = 300;
/// How many dispatches there are at most.
const MEMBERS_MAX: usize = 9;

#[derive(Default)]
struct Members {
    now: Millis,
    all: Vec<Member>,
}

struct Member {
    scheduler: Scheduler,
    workers_max: u32,
    parent: Option<(usize, TaskIdx)>,
    lanes: Vec<LaneId>,
    out: Outbox,
}

impl Fleet for Members {
    fn n_members(&self) -> usize {
        self.all.len()
    }

    fn scheduler(&self, member: usize) -> &Scheduler {
        &self.all[member].scheduler
    }

    fn lanes(&self, member: usize) -> &[LaneId] {
        &self.all[member].lanes
    }

    fn parent(&self, member: usize) -> Option<(usize, TaskIdx)> {
        self.all[member].parent
    }

    fn tell(&mut self, member: usize, input: Input) {
        let member = &mut self.all[member];
        member.scheduler.handle(self.now, input, &mut member.out);
    }
}

impl Members {
    fn is_running(&self, (member, task): (usize, TaskIdx)) -> bool {
        self.all[member].scheduler.state(task) == TaskState::Running
    }

    /// The attempts below a dispatch at which an agent works: it does not wait for others.
    fn n_working(&self, member: usize, is_under: &dyn Fn(usize) -> bool) -> u32 {
        let members = (0..self.all.len()).filter(|it| *it == member || is_under(*it));
        let waits = |at: (usize, TaskIdx)| {
            self.all.iter().any(|it| it.parent == Some(at) && it.scheduler.n_running() > 0)
        };
        members
            .map(|it| {
                let tasks = (0..self.all[it].scheduler.n_tasks()).map(TaskIdx::from_usize);
                let works =
                    tasks.filter(|task| self.is_running((it, *task)) && !waits((it, *task)));
                u32::try_from(works.count()).unwrap()
            })
            .sum()
    }

    fn is_below(&self, member: usize, above: usize) -> bool {
        let parent = |it: &usize| self.all[*it].parent.map(|it| it.0);
        std::iter::successors(parent(&member), parent).any(|it| it == above)
    }

    fn assert_caps_hold(&self, workers_total_max: u32) {
        for (at, member) in self.all.iter().enumerate() {
            let n_working = self.n_working(at, &|it| self.is_below(it, at));
            assert!(n_working <= member.workers_max, "{n_working} work below {at}");
        }
        let roots = (0..self.all.len()).filter(|it| self.all[*it].parent.is_none());
        let all = roots.map(|at| self.n_working(at, &|it| self.is_below(it, at))).sum::<u32>();
        assert!(all <= workers_total_max, "{all} work in all");
    }
}

struct World {
    members: Members,
    governor: Governor,
    running: Vec<(usize, TaskIdx, Attempt)>,
}

impl World {
    fn admit(&mut self, rng: &mut Rng, parent: Option<(usize, TaskIdx)>) {
        let n_tasks = 1 + usize::try_from(rng.below(5)).unwrap();
        let graph = TaskGraph::build(vec![Millis(1); n_tasks], &[]).unwrap();
        let workers_max = 1 + u32::try_from(rng.below(4)).unwrap();
        let policy = policy(workers_max, OnFailure::SkipDependents);
        let scheduler = Scheduler::new(Arc::new(graph), policy);
        let lanes = vec![self.governor.lane(&"lane".into())];
        let out = Outbox::default();
        self.members.all.push(Member { scheduler, workers_max, parent, lanes, out });
        self.governor.admit(&mut self.members);
        self.members.tell(self.members.all.len() - 1, Input::Start);
    }

    fn share(&mut self) {
        if self.governor.is_needed() {
            self.governor.share(self.members.now, &mut self.members);
        }
        for (at, member) in self.members.all.iter_mut().enumerate() {
            member.out.events.clear();
            for action in member.out.actions.drain(..) {
                if let Action::StartAttempt { task, attempt, .. } = action {
                    self.running.push((at, task, attempt));
                }
            }
        }
    }

    /// Ends an attempt whose agent waits for nothing.
    fn end_one(&mut self, rng: &mut Rng) {
        let is_open = |at: (usize, TaskIdx)| {
            self.members.all.iter().any(|it| it.parent == Some(at) && !it.scheduler.is_ended())
        };
        let free: Vec<_> = (0..self.running.len())
            .filter(|it| {
                let (member, task, _) = self.running[*it];
                !is_open((member, task))
            })
            .collect();
        assert!(!free.is_empty(), "everybody waits for somebody");
        let at = free[usize::try_from(rng.below(free.len() as u64)).unwrap()];
        let (member, task, attempt) = self.running.swap_remove(at);
        let ended = Input::AttemptEnded { task, attempt, result: Ok(()), usage: None };
        self.members.tell(member, ended);
    }
}

#[test]
fn families_keep_every_cap_above_them_and_nobody_waits_for_ever() {
    for seed in 1..=N_SEEDS {
        let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let workers_total_max = 1 + u32::try_from(rng.below(6)).unwrap();
        let governor = Governor::new(workers_total_max, seed);
        let mut world = World { members: Members::default(), governor, running: Vec::new() };
        world.admit(&mut rng, None);
        world.share();
        while world.members.all.iter().any(|it| !it.scheduler.is_ended()) {
            world.members.now = world.members.now + Millis(1);
            if world.members.all.len() < MEMBERS_MAX && rng.below(3) == 0 {
                let at = usize::try_from(rng.below(world.running.len() as u64 + 1)).unwrap();
                let parent = world.running.get(at).map(|it| (it.0, it.1));
                world.admit(&mut rng, parent);
            } else {
                world.end_one(&mut rng);
            }
            world.share();
            world.members.assert_caps_hold(workers_total_max);
        }
    }
}

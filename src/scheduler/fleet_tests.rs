//! What holds of several dispatches that share workers and upstreams, over random ones.

use std::{cmp::Reverse, collections::BinaryHeap, fmt::Write as _, sync::Arc};

use expect_test::{Expect, expect};

use super::{
    Action, Event, Fleet, Governor, Input, LaneId, Outbox, Policy, Scheduler, Verdict,
    random::{Rng, random_graph},
    testing::policy,
};
use crate::{
    model::{
        Attempt, AttemptResult, DispatchStatus, Failure, FailureCode, Millis, OnFailure, TaskIdx,
    },
    plan::TaskGraph,
};

/// How many random fleets are simulated.
const N_SEEDS: u64 = 400;

/// Dispatches in one process, their governor, and upstreams that take so many attempts at once.
struct World {
    now: Millis,
    governor: Governor,
    members: Members,
    upstreams: Vec<Upstream>,
    /// The ends of attempts that run, by when they come.
    ends: BinaryHeap<Reverse<(Millis, usize, TaskIdx, Attempt)>>,
    submissions: Vec<(Millis, Policy, Arc<TaskGraph>)>,
    workers_max: u32,
}

#[derive(Default)]
struct Members {
    now: Millis,
    all: Vec<Member>,
    /// Which of them was allowed what, since somebody looked.
    allowed: Vec<(usize, Input)>,
}

struct Member {
    scheduler: Scheduler,
    lane_of: Vec<u16>,
    lanes: Vec<LaneId>,
    out: Outbox,
    status: Option<DispatchStatus>,
}

/// An upstream as it really is, which only the test knows.
struct Upstream {
    capacity: usize,
    running: Vec<Flight>,
    /// It has asked to be left alone until then.
    closed_until: Millis,
}

/// An attempt that an upstream has.
#[derive(Clone, Debug, PartialEq)]
struct Flight {
    of: (usize, TaskIdx, Attempt),
    started: Millis,
    result: AttemptResult,
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

    fn tell(&mut self, member: usize, input: Input) {
        if matches!(input, Input::Allow { .. }) {
            self.allowed.push((member, input.clone()));
        }
        let member = &mut self.all[member];
        member.scheduler.handle(self.now, input, &mut member.out);
    }
}

impl World {
    fn new(workers_max: u32, capacities: &[usize]) -> Self {
        let upstream =
            |it: &usize| Upstream { capacity: *it, running: Vec::new(), closed_until: Millis(0) };
        Self {
            now: Millis(0),
            governor: Governor::new(workers_max, 7),
            members: Members::default(),
            upstreams: capacities.iter().map(upstream).collect(),
            ends: BinaryHeap::new(),
            submissions: Vec::new(),
            workers_max,
        }
    }

    /// A random fleet.
    fn random(rng: &mut Rng, capacities: &[usize]) -> Self {
        let mut world = Self::new(small(rng, 1, 12), capacities);
        for _ in 0..small(rng, 1, 5) {
            let drawing = random_graph(rng);
            let mut policy = policy(small(rng, 1, 8), OnFailure::SkipDependents);
            policy.timeout = Millis(1_000_000);
            policy.seed = rng.below(1_000);
            let n_lanes = capacities.len() as u64;
            let lane = |_| u16::try_from(rng.below(n_lanes)).unwrap();
            policy.lanes = drawing.names.iter().map(lane).collect();
            let graph = TaskGraph::build(drawing.estimates, &drawing.edges).unwrap();
            let at = Millis(rng.below(4) * rng.below(500));
            world.submissions.push((at, policy, Arc::new(graph)));
        }
        world.submissions.sort_by_key(|it| Reverse(it.0));
        world
    }

    /// Runs to the end of all.
    fn run(&mut self, rng: &mut Rng) {
        for _ in 0..100_000 {
            self.round(rng);
            let next = [
                self.submissions.last().map(|it| it.0),
                self.ends.peek().map(|it| it.0.0),
                self.members.all.iter().filter_map(|it| it.scheduler.poll_timeout()).min(),
                self.governor.wake_at(),
            ];
            let is_over = self.submissions.is_empty()
                && self.members.all.iter().all(|it| it.status.is_some());
            if is_over {
                return;
            }
            self.now = next.into_iter().flatten().min().expect("nothing goes on").max(self.now);
            self.members.now = self.now;
        }
        panic!("the dispatches do not end");
    }

    /// Takes what is due, shares out, and carries out what follows.
    fn round(&mut self, rng: &mut Rng) {
        while self.submissions.last().is_some_and(|it| it.0 <= self.now) {
            let (_, policy, graph) = self.submissions.pop().unwrap();
            self.admit(policy, graph);
        }
        while self.ends.peek().is_some_and(|it| it.0.0 <= self.now) {
            let Reverse((_, member, task, attempt)) = self.ends.pop().unwrap();
            self.end((member, task, attempt));
        }
        for it in &mut self.members.all {
            it.scheduler.handle_timeout(self.now, &mut it.out);
        }
        let before = self.running();
        if self.governor.is_needed() {
            self.governor.share(self.now, &mut self.members);
        }
        self.assert_shared(&before);
        for member in 0..self.members.all.len() {
            self.carry_out(member, rng);
        }
        self.assert_nothing_is_idle();
    }

    fn admit(&mut self, policy: Policy, graph: Arc<TaskGraph>) {
        let lane_of = policy.lanes.clone();
        let n_lanes = 1 + lane_of.iter().copied().max().unwrap_or(0);
        let lanes = (0..n_lanes).map(|it| self.governor.lane(&it.to_string().into()));
        let lanes = lanes.collect();
        let scheduler = Scheduler::new(graph, policy);
        let out = Outbox::default();
        self.members.all.push(Member { scheduler, lane_of, lanes, out, status: None });
        self.governor.admit(&mut self.members);
        self.members.tell(self.members.all.len() - 1, Input::Start);
    }

    fn end(&mut self, of: (usize, TaskIdx, Attempt)) {
        let lane = self.lane(of);
        let upstream = &mut self.upstreams[usize::from(lane)];
        let at = upstream.running.iter().position(|it| it.of == of).unwrap();
        let Flight { started, result, .. } = upstream.running.swap_remove(at);
        let verdict = Verdict::of(result.as_ref().copied());
        if let Verdict::TurnedAway(Some(millis)) = verdict {
            upstream.closed_until = upstream.closed_until.max(self.now + Millis(millis));
        }
        let id = self.members.all[of.0].lanes[usize::from(lane)];
        self.governor.end_attempt(self.now, (id, started), verdict, &mut self.members);
        let (member, task, attempt) = of;
        self.members.tell(member, Input::AttemptEnded { task, attempt, result, usage: None });
    }

    fn carry_out(&mut self, member: usize, rng: &mut Rng) {
        let out = std::mem::take(&mut self.members.all[member].out);
        for event in out.events {
            let is_failure =
                matches!(event, Event::AttemptEnded { result: Err(_), retry_at: None, .. });
            assert!(!is_failure, "{event:?}");
        }
        for action in out.actions {
            match action {
                Action::Ask { .. } => (),
                Action::StartAttempt { task, attempt, .. } => {
                    self.start((member, task, attempt), rng);
                }
                Action::StopAttempt { .. } => panic!("nothing is stopped here"),
                Action::Finish { status } => self.members.all[member].status = Some(status),
            }
        }
    }

    fn start(&mut self, of: (usize, TaskIdx, Attempt), rng: &mut Rng) {
        let lane = self.lane(of);
        let upstream = &mut self.upstreams[usize::from(lane)];
        assert!(self.now >= upstream.closed_until, "it asked to be left alone");
        let is_too_much =
            upstream.running.iter().filter(|it| it.result.is_ok()).count() >= upstream.capacity;
        let (span, result) = if is_too_much {
            let retry_after = (rng.below(2) == 0).then(|| rng.below(5_000));
            let failure = Failure::new(FailureCode::RateLimited, "too much");
            (rng.below(5), Err(failure.retry_after(retry_after)))
        } else {
            (rng.below(2_000), Ok(()))
        };
        upstream.running.push(Flight { of, started: self.now, result });
        self.ends.push(Reverse((self.now + Millis(span), of.0, of.1, of.2)));
        let id = self.members.all[of.0].lanes[usize::from(lane)];
        self.governor.start_attempt(self.now, id);
    }

    fn lane(&self, (member, task, _): (usize, TaskIdx, Attempt)) -> u16 {
        self.members.all[member].lane_of[task.as_usize()]
    }

    fn running(&self) -> Vec<u32> {
        self.members.all.iter().map(|it| it.scheduler.n_running()).collect()
    }

    /// Nothing waits for which there is a worker and room.
    fn assert_nothing_is_idle(&self) {
        let n_running: u32 = self.running().iter().sum();
        for member in &self.members.all {
            let room = |(at, it): (usize, &LaneId)| {
                (u16::try_from(at).unwrap(), self.governor.room(self.now, *it))
            };
            let rooms: Vec<_> = member.lanes.iter().enumerate().map(room).collect();
            let is_content = member.scheduler.startable(&rooms) == 0;
            assert!(is_content || n_running == self.workers_max, "{n_running} run, {rooms:?}");
        }
    }

    /// Never too many; and nobody starts something while another one has less, and wants more, and
    /// could have it.
    fn assert_shared(&self, before: &[u32]) {
        let after = self.running();
        let n_running: u32 = after.iter().sum();
        assert!(n_running <= self.workers_max, "{after:?} run, of {}", self.workers_max);
        let has_limits = self.upstreams.iter().any(|it| it.capacity < usize::MAX);
        let wants = |member: usize| self.members.scheduler(member).startable(&[(0, u32::MAX)]) > 0;
        if has_limits {
            return;
        }
        for poor in (0..after.len()).filter(|it| wants(*it)) {
            let fair = self.workers_max / u32::try_from(after.len()).unwrap();
            for rich in (0..after.len()).filter(|it| after[*it] > before[*it]) {
                let is_fair = after[poor] >= fair || after[rich] <= after[poor] + 1;
                assert!(is_fair, "{before:?} became {after:?}");
            }
        }
    }

    fn assert_success(&self) {
        for member in &self.members.all {
            assert_eq!(member.status, Some(DispatchStatus::Success));
        }
    }
}

/// A number from `from` to `to`.
fn small(rng: &mut Rng, from: u32, to: u32) -> u32 {
    from + u32::try_from(rng.below(u64::from(to - from + 1))).unwrap()
}

#[test]
fn random_fleets_share_their_workers_and_no_dispatch_starves() {
    for seed in 1..=N_SEEDS {
        let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut world = World::random(&mut rng, &[usize::MAX]);
        world.run(&mut rng);
        world.assert_success();
    }
}

#[test]
fn upstreams_that_turn_attempts_away_fail_nothing_and_are_left_alone() {
    for seed in 1..=N_SEEDS {
        let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let n_lanes = small(&mut rng, 1, 3);
        let capacities: Vec<_> = (0..n_lanes).map(|_| small(&mut rng, 1, 6) as usize).collect();
        let mut world = World::random(&mut rng, &capacities);
        world.run(&mut rng);
        world.assert_success();
    }
}

/// Plays `script`, one `TIME WHAT` a line, and shows after each what the governor says, and which
/// dispatches start attempts; `admit N` brings a dispatch of N tasks and two workers, `served M`
/// and `away M MS` end the attempt of dispatch M that runs longest.
#[track_caller]
fn check(workers_max: u32, script: &str, expected: &Expect) {
    let (mut world, mut running, mut log) = (World::new(workers_max, &[]), Vec::new(), Vec::new());
    for line in script.lines().map(str::trim) {
        let words: Vec<_> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<usize>().unwrap();
        world.now = Millis(number(0) as u64);
        world.members.now = world.now;
        match words[1] {
            "admit" => {
                let graph = TaskGraph::build(vec![Millis(1); number(2)], &[]).unwrap();
                world.admit(policy(2, OnFailure::SkipDependents), Arc::new(graph));
            }
            "share" => world.governor.share(world.now, &mut world.members),
            word => {
                let at = running.iter().position(|it: &(usize, Millis, _)| it.0 == number(2));
                let (member, started, (task, attempt)) = running.remove(at.unwrap());
                let result = if word == "served" {
                    Ok(())
                } else {
                    let failure = Failure::new(FailureCode::RateLimited, "too much");
                    Err(failure.retry_after(Some(number(3) as u64)))
                };
                let verdict = Verdict::of(result.as_ref().copied());
                let of = (world.members.all[member].lanes[0], started);
                world.governor.end_attempt(world.now, of, verdict, &mut world.members);
                world
                    .members
                    .tell(member, Input::AttemptEnded { task, attempt, result, usage: None });
            }
        }
        log.push(format!("{line}:{}", world.said_and_started(&mut running)));
    }
    expected.assert_eq(&log.join("\n"));
}

/// The attempts that run: their dispatches, since when, and which.
type Running = Vec<(usize, Millis, (TaskIdx, Attempt))>;

impl World {
    /// What the governor said since this was asked, and which dispatches started attempts.
    fn said_and_started(&mut self, running: &mut Running) -> String {
        let mut said = String::new();
        for (member, input) in self.members.allowed.drain(..) {
            let Input::Allow { starts, lanes } = input else { panic!("{input:?}") };
            let limit = |it: u32| if it == u32::MAX { "all".to_owned() } else { it.to_string() };
            let lanes = lanes.iter().map(|it| format!(", {} in lane {}", limit(it.1), it.0));
            let lanes = lanes.collect::<String>();
            write!(said, " [{member}: {}{lanes}]", limit(starts)).unwrap();
        }
        for (member, it) in self.members.all.iter_mut().enumerate() {
            for event in std::mem::take(&mut it.out).events {
                if let Event::AttemptStarted { task, attempt, decision, .. } = event {
                    self.governor.start_attempt(self.now, it.lanes[0]);
                    running.push((member, self.now, (task, attempt)));
                    let why = if decision.is_allowed { " when allowed" } else { "" };
                    write!(said, " {member} starts{why}").unwrap();
                }
            }
        }
        let wake = self.governor.wake_at().map(|it| format!(", wake {}", it.0));
        let is_needed = if self.governor.is_needed() { ", needed" } else { "" };
        said + is_needed + &wake.unwrap_or_default()
    }
}

#[test]
fn a_governor_says_nothing_before_something_is_scarce() {
    check(
        4,
        "0 admit 2
         0 admit 3
         1 served 0
         2 served 1
         3 served 1",
        &expect![[r"
            0 admit 2: 0 starts 0 starts
            0 admit 3: 1 starts 1 starts
            1 served 0:
            2 served 1: 1 starts
            3 served 1:"]],
    );
}

#[test]
fn too_few_workers_are_shared_until_they_are_enough() {
    check(
        3,
        "0 admit 2
         1 admit 3
         1 share
         2 share
         3 served 0
         3 share
         4 served 1
         4 share
         5 served 1
         5 share",
        &expect![[r"
            0 admit 2: 0 starts 0 starts
            1 admit 3: [0: 0] [1: 0], needed
            1 share: [1: 1] 1 starts when allowed, needed
            2 share:, needed
            3 served 0:, needed
            3 share: [0: all] [1: all] 1 starts when allowed
            4 served 1: 1 starts
            4 share:
            5 served 1:
            5 share:"]],
    );
}

#[test]
fn a_single_worker_goes_round() {
    check(
        1,
        "0 admit 3
         0 admit 3
         1 share
         2 served 0
         2 share
         3 served 1
         3 share
         4 served 0
         4 share",
        &expect![[r"
            0 admit 3: [0: 0], needed
            0 admit 3: [1: 0], needed
            1 share: [0: 1] 0 starts when allowed, needed
            2 served 0:, needed
            2 share: [1: 1] 1 starts when allowed, needed
            3 served 1:, needed
            3 share: [0: 1] 0 starts when allowed, needed
            4 served 0:, needed
            4 share: [1: 1] 1 starts when allowed, needed"]],
    );
}

#[test]
fn what_an_upstream_lets_in_is_shared() {
    check(
        9,
        "0 admit 9
         0 admit 9
         0 admit 9
         1 away 0 5000
         2 share
         2 served 1
         3 served 1
         4 served 2
         5 served 2
         6 served 0
         6 share
         7000 share
         7001 served 0
         7001 share",
        &expect![[r"
            0 admit 9: 0 starts 0 starts
            0 admit 9: 1 starts 1 starts
            0 admit 9: 2 starts 2 starts
            1 away 0 5000: [0: all, 0 in lane 0] [1: all, 0 in lane 0] [2: all, 0 in lane 0], needed, wake 5087
            2 share:, needed, wake 5087
            2 served 1:, needed, wake 5087
            3 served 1:, needed, wake 5087
            4 served 2:, needed, wake 5087
            5 served 2:, needed, wake 5087
            6 served 0:, needed, wake 5087
            6 share:, needed, wake 5087
            7000 share: [0: all, 1 in lane 0] 0 starts when allowed, needed, wake 17000
            7001 served 0:, needed
            7001 share: [1: all, 1 in lane 0] [2: all, 1 in lane 0] [0: all, 1 in lane 0] 0 starts when allowed 1 starts when allowed 2 starts when allowed, needed"]],
    );
}

//! What a task must pass between its dependencies and its start, in order.
//!
//! The scheduler cannot look at outputs, ask people or search the store. It asks
//! ([`Action::Ask`]), holds the task, and goes on with the answer ([`super::Input::Answer`]).

use serde::{Deserialize, Serialize};

use super::{
    machine::Scheduler,
    message::{Action, Event, Outbox},
    state::TaskState,
    timer::{Timer, TimerKind},
};
use crate::model::{Failure, FailureCode, Millis, Reused, TaskIdx};

/// What a task must pass before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Its condition (`when`) holds.
    Condition,
    /// No result that could be taken instead is known.
    Reuse,
    /// Somebody approves of it.
    Approval,
    /// It becomes as many tasks as it stands for, and then one again.
    Expansion,
}

/// A set of gates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateSet(u8);

/// What becomes of a task at a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateAnswer {
    /// It goes on.
    Pass,
    /// It is not needed; the text says why, for the user.
    Omit(Box<str>),
    /// It has a result already, which is stored with this answer.
    Reuse(Box<Reused>),
    /// All that it became has ended, and its result is stored with this answer.
    Join,
    /// It cannot run.
    Fail(Failure),
}

/// Where a held task stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    gate: Gate,
    /// Whether the question was recorded.
    is_reached: bool,
}

impl Gate {
    /// All, in the order in which a task passes them.
    const ALL: [Self; 4] = [Self::Condition, Self::Reuse, Self::Approval, Self::Expansion];
}

impl GateSet {
    /// No gates.
    pub const NONE: Self = Self(0);

    /// Whether a task passes at once.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `gate` is one of them.
    pub fn contains(self, gate: Gate) -> bool {
        self.0 & 1 << gate as u8 != 0
    }

    fn next(self, after: Option<Gate>) -> Option<Gate> {
        Gate::ALL.into_iter().find(|it| self.contains(*it) && after < Some(*it))
    }
}

impl FromIterator<Gate> for GateSet {
    fn from_iter<T: IntoIterator<Item = Gate>>(gates: T) -> Self {
        Self(gates.into_iter().fold(0, |set, it| set | 1 << it as u8))
    }
}

impl Scheduler {
    /// The gate that holds `task`, if one does.
    pub fn gate(&self, task: TaskIdx) -> Option<Gate> {
        self.stages.get(&task).map(|it| it.gate)
    }

    /// Lets a task that waits for no other go on: to its first gate, or to the queue.
    pub(super) fn open(&mut self, task: TaskIdx) {
        // What has become many comes back to be joined.
        let after = self.expanded.contains_key(&task).then_some(Gate::Approval);
        self.go_on(task, after);
    }

    /// Takes the answer to a question; one that is no longer asked is ignored.
    pub(super) fn answer(&mut self, task: TaskIdx, of: Gate, answer: GateAnswer, out: &mut Outbox) {
        let is_asked = self.stages.get(&task).is_some_and(|it| it.gate == of && it.is_reached);
        if !is_asked {
            return;
        }
        match answer {
            GateAnswer::Pass => self.record(Event::GatePassed { task, gate: of }, out),
            GateAnswer::Reuse(from) => self.record(Event::TaskReused { task, from }, out),
            GateAnswer::Join => self.record(Event::TaskJoined { task }, out),
            GateAnswer::Omit(reason) => {
                self.record(Event::TaskOmitted { task, because: None, reason }, out);
                self.skip_dependents(task, out);
            }
            GateAnswer::Fail(failure) => self.fail_at(task, of, failure, out),
        }
    }

    /// Asks what is to be asked: for every held task once, and once more after a replay.
    pub(super) fn ask(&mut self, now: Millis, out: &mut Outbox) {
        for task in std::mem::take(&mut self.asks) {
            let Some(&Stage { gate, is_reached }) = self.stages.get(&task) else { continue };
            if !is_reached {
                let limit = self.policy.of(task).approval_timeout;
                let until = limit.filter(|_| gate == Gate::Approval).map(|it| now + it);
                self.record(Event::GateReached { task, gate, until }, out);
            }
            out.actions.push(Action::Ask { task, gate });
        }
    }

    /// After a replay: who asked in the former process has to ask again.
    pub(super) fn ask_again(&mut self) {
        self.asks = self.stages.keys().copied().collect();
        self.asks.sort_unstable();
    }

    /// Nobody answered in time, if it is still that question which holds the task.
    pub(super) fn lapse_gate(&mut self, task: TaskIdx, out: &mut Outbox) {
        if let Some(gate @ Gate::Approval) = self.gate(task) {
            let span = self.policy.of(task).approval_timeout.unwrap_or_default().0;
            let message =
                format!("nobody decided within {span} ms, its approval's timeout_seconds");
            self.fail_at(task, gate, Failure::new(FailureCode::Timeout, message), out);
        }
    }

    /// Takes the fact that a question was asked.
    pub(super) fn reach_gate(&mut self, task: TaskIdx, until: Option<Millis>) {
        if let Some(stage) = self.stages.get_mut(&task) {
            stage.is_reached = true;
        }
        if let Some(at) = until {
            let attempt = self.attempt(task);
            self.add_timer(Timer { at, task, attempt, kind: TimerKind::Gate });
        }
    }

    /// Takes the fact that a gate was passed.
    pub(super) fn go_on(&mut self, task: TaskIdx, after: Option<Gate>) {
        let gates = if self.uses.gates { self.policy.of(task).gates } else { GateSet::NONE };
        match gates.next(after) {
            Some(gate) => {
                self.set(task, TaskState::Held);
                self.stages.insert(task, Stage { gate, is_reached: false });
                self.asks.push(task);
            }
            None => self.set(task, TaskState::Ready),
        }
    }

    /// Whether `gate` holds `task`, and was asked about or not.
    pub(super) fn is_held(&self, task: TaskIdx, gate: Gate, is_reached: bool) -> bool {
        self.stages.get(&task).is_some_and(|it| it.gate == gate && it.is_reached == is_reached)
    }

    fn fail_at(&mut self, task: TaskIdx, gate: Gate, failure: Failure, out: &mut Outbox) {
        self.record(Event::GateFailed { task, gate, failure }, out);
        self.react_to_failure(task, out);
    }
}

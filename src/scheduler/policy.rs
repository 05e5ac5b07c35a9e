//! The limits that a dispatch and its tasks run under.

use std::sync::Arc;

use super::{
    budget::{Funds, SpendEstimate},
    gate::GateSet,
    retry::RetryPolicy,
};
use crate::{
    model::{Millis, OnFailure, TaskIdx, TriggerRule},
    plan::ClaimTable,
};

/// The limits a dispatch runs under.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How many attempts may run at once; at least 1.
    pub workers_max: u32,
    /// What a failed task means for the others.
    pub on_failure: OnFailure,
    /// How long one attempt may take.
    pub timeout: Millis,
    /// The limits of tasks that have their own, sorted by task.
    pub tasks: Vec<(TaskIdx, TaskPolicy)>,
    /// The lane of each task: tasks with the same number are done by the same agent of the same
    /// upstream. Empty where there is one lane.
    pub lanes: Vec<u16>,
    /// What keeps tasks apart while they run.
    pub claims: Arc<ClaimTable>,
    /// What it has to spend.
    pub funds: Funds,
    /// What the chance in backoffs is made of; the same for a dispatch wherever it goes on.
    pub seed: u64,
}

/// The limits of one task; what is absent does not limit, but for the timeout, which is the
/// dispatch's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskPolicy {
    /// How long one attempt may take.
    pub timeout: Option<Millis>,
    /// How long the task may take from its first start on, all attempts and waits included.
    pub total_timeout: Option<Millis>,
    /// How long an attempt may go on without a sign of progress.
    pub idle_timeout: Option<Millis>,
    /// How it is tried again.
    pub retry: RetryPolicy,
    /// Which ends of its dependencies let it run.
    pub trigger: TriggerRule,
    /// Which ends of the tasks that it becomes let it be joined.
    pub join: TriggerRule,
    /// What it must pass before it starts.
    pub gates: GateSet,
    /// How long it waits for an approval.
    pub approval_timeout: Option<Millis>,
    /// What an attempt is expected to use.
    pub expected: SpendEstimate,
}

/// Which of the things that few dispatches use any task of this one does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uses {
    pub(super) rules: bool,
    pub(super) gates: bool,
    pub(super) claims: bool,
}

impl Uses {
    pub(super) fn of(policy: &Policy) -> Self {
        Self {
            rules: policy.tasks.iter().any(|(_, it)| {
                [it.trigger, it.join].iter().any(|it| *it != TriggerRule::AllSuccess)
            }),
            gates: policy.tasks.iter().any(|it| !it.1.gates.is_empty()),
            claims: !policy.claims.is_empty(),
        }
    }
}

impl Policy {
    /// The limits of `task`. Costs O(log n) in the number of tasks with limits of their own.
    pub(super) fn of(&self, task: TaskIdx) -> &TaskPolicy {
        let own = self.tasks.binary_search_by_key(&task, |it| it.0);
        own.map_or(&TaskPolicy::NONE, |at| &self.tasks[at].1)
    }
}

impl TaskPolicy {
    /// No limits of its own.
    const NONE: Self = Self {
        timeout: None,
        total_timeout: None,
        idle_timeout: None,
        retry: RetryPolicy::ONCE,
        trigger: TriggerRule::AllSuccess,
        join: TriggerRule::AllSuccess,
        gates: GateSet::NONE,
        approval_timeout: None,
        expected: SpendEstimate::NONE,
    };
}

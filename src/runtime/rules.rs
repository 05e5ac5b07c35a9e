//! The rules that documents are checked by, owned, so that handles and attempts can share them.

use std::sync::Arc;

use super::{Options, Paths};
use crate::{
    model::{ErrorCode, Refusal},
    plan::{AgentRule, Limits, Rules},
};

/// What [`Rules`] borrows.
#[derive(Debug)]
pub(super) struct OwnedRules {
    limits: Limits,
    workers_total_max: u32,
    agents: Vec<AgentRule>,
    checks: Vec<String>,
    paths: Arc<Paths>,
}

impl OwnedRules {
    pub(super) fn new(options: &Options, paths: Arc<Paths>) -> Self {
        let agents = options.agents.iter();
        let rule = |it: &super::AgentOptions| it.input;
        Self {
            limits: options.limits.clone(),
            workers_total_max: options.workers_total_max,
            agents: agents
                .map(|(name, it)| AgentRule { name: name.clone(), input: rule(it) })
                .collect(),
            checks: options.checks.clone(),
            paths,
        }
    }

    /// Refuses more workers than a dispatch of this process may have.
    pub(super) fn check_workers(&self, max_workers: u32) -> Result<(), Refusal> {
        let most = self.limits.max_workers.min(self.workers_total_max).max(1);
        if (1..=most).contains(&max_workers) {
            return Ok(());
        }
        let message = format!("\"max_workers\" must be from 1 to {most}, not {max_workers}");
        let hint = format!("pass a number from 1 to {most}, or raise limits.max_workers");
        Err(Refusal::of(ErrorCode::OutOfRange, "/max_workers", &message, &hint))
    }

    /// The rules as the plan room takes them.
    pub(super) fn as_rules(&self) -> Rules<'_> {
        Rules {
            limits: self.limits.clone(),
            agents: &self.agents,
            checks: &self.checks,
            paths: self.paths.as_ref(),
        }
    }
}

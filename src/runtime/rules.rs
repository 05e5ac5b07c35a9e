//! The rules that documents are checked by, owned, so that handles and attempts can share them.

use std::sync::Arc;

use super::{Options, Paths};
use crate::plan::{AgentRule, Limits, Rules};

/// What [`Rules`] borrows.
#[derive(Debug)]
pub(super) struct OwnedRules {
    limits: Limits,
    agents: Vec<AgentRule>,
    paths: Arc<Paths>,
}

impl OwnedRules {
    pub(super) fn new(options: &Options, paths: Arc<Paths>) -> Self {
        let agents = options.agents.iter();
        let rule = |it: &super::AgentOptions| it.input;
        Self {
            limits: options.limits.clone(),
            agents: agents
                .map(|(name, it)| AgentRule { name: name.clone(), input: rule(it) })
                .collect(),
            paths,
        }
    }

    /// The rules as the plan room takes them.
    pub(super) fn as_rules(&self) -> Rules<'_> {
        Rules { limits: self.limits.clone(), agents: &self.agents, paths: self.paths.as_ref() }
    }
}

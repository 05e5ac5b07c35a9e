//! The name of an agent, with the aliases that the first documents used.

use std::{borrow::Cow, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The canonical name of a kind of agent, such as `coder`.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct AgentName(Cow<'static, str>);

impl AgentName {
    /// The built-in agent that writes code.
    pub const CODER: &'static str = "coder";
    /// The built-in agent that investigates.
    pub const DEBUG: &'static str = "debug";
    /// The agent that looks things up; there is one where a recipe for it can be bound.
    pub const RESEARCH: &'static str = "research";

    /// Wraps `name`, with the aliases `agent_coder` and `agent_debug_intelligence` resolved.
    pub fn new(name: &str) -> Self {
        // Nearly every task names one of these, so they cost no memory.
        Self(match name {
            Self::CODER | "agent_coder" => Cow::Borrowed(Self::CODER),
            Self::DEBUG | "agent_debug_intelligence" => Cow::Borrowed(Self::DEBUG),
            _ => Cow::Owned(name.to_owned()),
        })
    }

    /// The canonical name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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

    /// The agent that calls any tool that the settings allow.
    pub const TOOL: &'static str = "tool";

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

/// An agent that documents may name, and who does its work now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentReport {
    /// Its name.
    pub name: AgentName,
    /// What it is for.
    pub description: String,
    /// Whether somebody serves it.
    pub is_available: bool,
    /// Who does its work: an upstream or a kind of program, and what it is called there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<String>,
    /// Why nobody serves it, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What the caller should know of who serves it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// How long one attempt may take, in seconds, unless its task says it.
    pub timeout_seconds: f64,
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

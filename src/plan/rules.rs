//! What a document is checked against: limits, agents, and where paths may lead.

use crate::model::AgentName;

/// How much of everything a document may have or ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The most tasks in one dispatch.
    pub tasks_max: usize,
    /// The most dependencies in one dispatch.
    pub edges_max: usize,
    /// The most tasks of one dispatch that may run at once.
    pub max_workers: u32,
    /// The longest timeout, in seconds.
    pub timeout_seconds_max: f64,
}

impl Limits {
    /// The most tasks that may run at once, whatever the settings allow.
    const WORKERS_MAX: u32 = 1_024;

    /// How many workers a document may ask for at most.
    pub fn workers_max(&self) -> u32 {
        self.max_workers.clamp(1, Self::WORKERS_MAX)
    }
}

/// What an agent takes as `input_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// The fields of [`crate::model::CoderInput`].
    Coder,
    /// The fields of [`crate::model::DebugInput`].
    Debug,
    /// Any object.
    Free,
    /// That of the agent `tool`: which tool is called.
    Tool,
}

/// An agent that tasks may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRule {
    /// Its canonical name.
    pub name: AgentName,
    /// What it takes.
    pub input: InputKind,
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// It does not start at the root of the file system.
    NotAbsolute,
    /// It leads out of every workspace.
    NotAllowed,
}

/// Where paths in a document may lead; whoever knows the workspaces implements it.
pub trait PathPolicy {
    /// Checks a path that an agent reads or writes.
    fn check(&self, path: &str) -> Result<(), PathFault>;
    /// The workspaces, the main one first; for hints, and for paths that a plan fills in.
    fn roots(&self) -> Vec<String>;
    /// Checks a `trace_dir`, which may also be relative to the main workspace.
    fn check_trace_dir(&self, dir: &str) -> Result<(), PathFault>;
}

/// Everything that a document is checked against.
#[derive(Clone)]
pub struct Rules<'a> {
    /// How much of everything.
    pub limits: Limits,
    /// The agents that tasks may name, in the order in which hints list them.
    pub agents: &'a [AgentRule],
    /// The checks that tasks may name, in the order in which hints list them.
    pub checks: &'a [String],
    /// Where paths may lead.
    pub paths: &'a dyn PathPolicy,
}

impl Limits {
    /// The limits of the tools, which answer one client out of many.
    pub const SERVER: Self = Self {
        tasks_max: 10_000,
        edges_max: 1_000_000,
        max_workers: 1_024,
        timeout_seconds_max: 86_400.0,
    };
    /// The limits of `run`, which has the machine to itself.
    pub const RUN: Self = Self { tasks_max: 1_000_000, ..Self::SERVER };
}

impl AgentRule {
    /// The two built-in agents.
    pub fn built_in() -> [Self; 2] {
        [
            Self { name: AgentName::new(AgentName::CODER), input: InputKind::Coder },
            Self { name: AgentName::new(AgentName::DEBUG), input: InputKind::Debug },
        ]
    }
}

impl Rules<'_> {
    /// The rule of an agent, by canonical name.
    pub fn agent(&self, name: &str) -> Option<&AgentRule> {
        self.agents.iter().find(|it| it.name.as_str() == name)
    }
}

impl std::fmt::Debug for Rules<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules")
            .field("limits", &self.limits)
            .field("agents", &self.agents)
            .finish_non_exhaustive()
    }
}

//! What the runtime is built from: its ports, and the settings in force.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{Paths, retention::Retention};
use crate::{
    model::{
        AgentName, AnalysisDepth, CacheMode, OnFailure, ParentTask, RetrySpec, ValidationLevel,
    },
    plan::{InputKind, Limits},
    ports::{
        AgentDirectory, Checks, Clock, ContextSource, Journal, Meter, Ownership, Spans, TraceFiles,
        Upkeep,
    },
};

/// The ports that the runtime works through.
#[derive(Clone, Debug)]
pub struct Dependencies {
    /// The store.
    pub journal: Arc<dyn Journal>,
    /// The upkeep of the same store.
    pub upkeep: Arc<dyn Upkeep>,
    /// Who does the work.
    pub agents: Arc<dyn AgentDirectory>,
    /// What runs the checks of the settings.
    pub checks: Arc<dyn Checks>,
    /// Where context comes from, one source per prefix.
    pub sources: Vec<Arc<dyn ContextSource>>,
    /// Where trace files go.
    pub traces: Arc<dyn TraceFiles>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Which process owns which dispatch.
    pub ownership: Arc<dyn Ownership>,
    /// What paths documents may name.
    pub paths: Arc<Paths>,
    /// Who counts what happens, if anybody does.
    pub meter: Option<Arc<dyn Meter>>,
    /// Where spans go, if anybody wants them.
    pub spans: Option<Arc<dyn Spans>>,
}

/// The settings in force; a document's own `config` goes before the defaults here, within limits.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many attempts of a dispatch run at once.
    pub max_workers: u32,
    /// How long one attempt may take, in seconds.
    pub timeout_seconds: f64,
    /// What a failed task means for the others.
    pub on_failure: OnFailure,
    /// Whether context is gathered for documents that do not say.
    pub enable_context: bool,
    /// What tasks do with results of the same work, in documents that do not say.
    pub cache: CacheMode,
    /// Where traces go for documents that do not say; absolute.
    pub trace_dir: PathBuf,
    /// The agents that documents may name.
    pub agents: BTreeMap<AgentName, AgentOptions>,
    /// The checks that documents may name.
    pub checks: Vec<String>,
    /// What documents may ask for at most.
    pub limits: Limits,
    /// How many attempts of all dispatches together run at once in this process.
    pub workers_total_max: u32,
    /// How deep agents may dispatch below each other; 0 means that they may not.
    pub nesting_max: u32,
    /// The task on whose behalf this process dispatches, if it was started by an agent.
    pub parent: Option<ParentTask>,
    /// How many dispatches may be open at once in this process.
    pub dispatches_open_max: usize,
    /// Whether to take over dispatches of processes that are gone.
    pub recover: Recover,
    /// What is removed in the background; nothing if absent.
    pub retention: Option<Retention>,
}

/// Whether to take over dispatches of processes that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recover {
    /// From the start, every 2 s.
    AtStart,
    /// Every 2 s, but not at once: quick commands leave others' work alone.
    Later,
    /// Never: for commands that only look.
    Never,
}

/// What is expected of everything that an agent does.
#[derive(Clone, Debug, Default)]
pub struct AgentExpect {
    /// Checks of the settings that must end well.
    pub checks: Vec<String>,
    /// An expression (CEL) over `output`, `input` and `config`; the task's own goes before.
    pub condition: Option<String>,
    /// Whether the input's `output_path` must be new or changed.
    pub output_path: bool,
}

/// The settings of one agent; what a task says goes before.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// What its `input_data` looks like.
    pub input: InputKind,
    /// How long one attempt may take, in seconds.
    pub timeout_seconds: Option<f64>,
    /// How its tasks are tried again.
    pub retry: Option<RetrySpec>,
    /// What must hold when it says that it is done, whatever its tasks expect.
    pub expect: AgentExpect,
    /// For `coder`: how much written code must satisfy.
    pub validation_level: Option<ValidationLevel>,
    /// For `debug`: how far an investigation looks.
    pub analysis_depth: Option<AnalysisDepth>,
}

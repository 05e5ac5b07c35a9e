//! What the settings say of an agent that is a program.

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use super::process::{GuardProgram, Variables};
use crate::{
    model::ParentTask,
    ports::{AttemptCall, Clock},
};

/// The variable by which a program knows the dispatch and the task that it works for.
pub(super) const PARENT: &str = ParentTask::VARIABLE;
/// The variable by which it finds the same dispatches.
pub(super) const STATE_DIR: &str = "PARALLEL_DISPATCH_STATE_DIR";

/// A program that does an agent's work.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandSetting {
    /// Which conventions it keeps.
    pub program: Program,
    /// What is run, with the arguments that go before those of the conventions; the program's own
    /// name if empty.
    pub argv: Vec<String>,
    /// What its output is.
    pub output: OutputForm,
    /// How it gets the prompt.
    pub prompt: PromptBy,
    /// The file with the JSON schema that its output has to have.
    pub output_schema: Option<PathBuf>,
    /// The model, by the program's own name for it.
    pub model: Option<String>,
    /// What it may do without asking, by the program's own name for it.
    pub permission_mode: Option<String>,
    /// The tools that it may use without asking.
    pub allowed_tools: Vec<String>,
    /// The most that one attempt may cost, in US dollars.
    pub max_budget_usd: Option<f64>,
    /// The most turns of one attempt.
    pub max_turns: Option<u64>,
    /// The variables that it gets.
    pub variables: Variables,
    /// Where it runs.
    pub dir: PathBuf,
    /// How much memory one process of it is expected to need.
    pub memory_mb: u64,
    /// Whether it may write only where it runs, and where `writable` says.
    pub confine: bool,
    /// Where else a confined one may write.
    pub writable: Vec<PathBuf>,
    /// Whether each task gets a git worktree of its own.
    pub worktree: bool,
}

impl CommandSetting {
    /// A program that runs in `dir`, of which nothing else is said.
    pub fn new(program: Program, dir: PathBuf) -> Self {
        Self {
            program,
            argv: Vec::new(),
            output: OutputForm::StreamJson,
            prompt: PromptBy::Stdin,
            output_schema: None,
            model: None,
            permission_mode: None,
            allowed_tools: Vec::new(),
            max_budget_usd: None,
            max_turns: None,
            variables: Variables::default(),
            dir,
            memory_mb: 250,
            confine: false,
            writable: Vec::new(),
            worktree: false,
        }
    }
}

/// The conventions that a program keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Claude Code, headless.
    Claude,
    /// Codex, `exec`.
    Codex,
    /// Gemini CLI, headless.
    Gemini,
    /// Any other.
    Custom,
}

/// What a program's standard output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputForm {
    /// One JSON value.
    Json,
    /// Text.
    Text,
    /// A JSON object a line; the last one, or that of the type `result`, is the result.
    StreamJson,
}

/// How a program gets the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptBy {
    /// On standard input.
    Stdin,
    /// As its last argument.
    Argument,
}

/// What all agents that are programs share.
#[derive(Clone, Debug)]
pub struct CommandHost {
    /// How guards are started.
    pub guard: GuardProgram,
    /// Where dispatches are kept, and worktrees.
    pub state_dir: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl CommandHost {
    /// The variables by which a program knows where it belongs.
    pub(super) fn belonging(&self, call: &AttemptCall) -> [(String, OsString); 2] {
        let parent = format!("{}/{}", call.dispatch_id, call.task_id);
        [(PARENT.to_owned(), parent.into()), (STATE_DIR.to_owned(), self.state_dir.clone().into())]
    }
}

impl Program {
    /// Its name: what is run unless the settings say otherwise, and how results call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Custom => "custom",
        }
    }
}

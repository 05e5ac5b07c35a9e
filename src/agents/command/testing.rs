//! Settings and attempts for the tests of this folder.

use serde_json::Value;
use tokio::sync::mpsc;

use super::settings::{CommandSetting, OutputForm, Program, PromptBy};
use crate::{agents::tool::testing::attempt_call, ports::AttemptCall};

/// A program of which nothing is set.
pub(super) fn setting(program: Program) -> CommandSetting {
    CommandSetting {
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
        variables: super::Variables::default(),
        dir: "/".into(),
        memory_mb: 250,
        confine: false,
        writable: Vec::new(),
        worktree: false,
    }
}

/// An attempt at the task `t-1`, "write it".
pub(super) fn call(input: &Value) -> AttemptCall {
    let input = input.as_object().unwrap().clone();
    AttemptCall { input, ..attempt_call(mpsc::unbounded_channel().0) }
}

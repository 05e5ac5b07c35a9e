//! Settings and attempts for the tests of this folder.

use serde_json::Value;
use tokio::sync::mpsc;

use super::settings::{CommandSetting, Program};
use crate::{agents::tool::testing::attempt_call, ports::AttemptCall};

/// A program of which nothing is set.
pub(super) fn setting(program: Program) -> CommandSetting {
    CommandSetting::new(program, "/".into())
}

/// An attempt at the task `t-1`, "write it".
pub(super) fn call(input: &Value) -> AttemptCall {
    let input = input.as_object().unwrap().clone();
    AttemptCall { input, ..attempt_call(mpsc::unbounded_channel().0) }
}

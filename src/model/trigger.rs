//! Which ends of the tasks before it let a task run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which ends of its dependencies let a task run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TriggerRule {
    /// All of them succeeded.
    #[default]
    AllSuccess,
    /// One of them succeeded; the others may still run.
    OneSuccess,
    /// All have ended, none failed or was cancelled, and at least one succeeded.
    NoneFailedMinOneSuccess,
    /// All have ended, however.
    AllDone,
}

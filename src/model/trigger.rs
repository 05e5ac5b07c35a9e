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

impl TriggerRule {
    /// All, in the order of the docs.
    pub const ALL: [Self; 4] =
        [Self::AllSuccess, Self::OneSuccess, Self::NoneFailedMinOneSuccess, Self::AllDone];

    /// The rule as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllSuccess => "all_success",
            Self::OneSuccess => "one_success",
            Self::NoneFailedMinOneSuccess => "none_failed_min_one_success",
            Self::AllDone => "all_done",
        }
    }

    /// Whether it is the rule of tasks that name none.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(super) fn is_default(&self) -> bool {
        *self == Self::AllSuccess
    }
}

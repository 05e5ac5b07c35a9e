//! What must hold when an agent says that it is done, and what was found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What must hold after an attempt that succeeded; where it does not, the attempt failed with
/// `check_failed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectSpec {
    /// Files that are there, absolute and in a workspace; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub files: Vec<String>,
    /// Files that are new or other than before the attempt, absolute and in a workspace; at most
    /// 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub changed: Vec<String>,
    /// Checks of the settings (`checks`) whose command ends with exit code 0; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub checks: Vec<String>,
    /// An expression (CEL) over `output`, `input` and `config` that is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub condition: Option<String>,
}

impl ExpectSpec {
    /// The most files of one list.
    pub const FILES_MAX: usize = 100;
    /// The most checks.
    pub const CHECKS_MAX: usize = 20;
}

/// One thing that was looked at after an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// What was looked at.
    pub kind: EvidenceKind,
    /// The file, the check's name, the expression.
    pub subject: String,
    /// Whether it is as expected.
    pub ok: bool,
    /// What was found instead, or how the check ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What evidence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// A file is there.
    File,
    /// A file is new or another one than before.
    Changed,
    /// A command of the settings ends with exit code 0.
    Check,
    /// An expression is true.
    Condition,
    /// The output keeps a schema.
    Schema,
}

impl EvidenceKind {
    /// The kind as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Changed => "changed",
            Self::Check => "check",
            Self::Condition => "condition",
            Self::Schema => "schema",
        }
    }
}

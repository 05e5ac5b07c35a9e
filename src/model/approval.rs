//! A question that somebody must answer before a task runs: as it is asked, and how it stands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Timestamp;

/// A task that somebody must approve of before it starts; it holds only what depends on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalSpec {
    /// What is asked: 1 to 4,000 characters.
    #[schemars(length(min = 1, max = 4_000))]
    pub message: String,
    /// What may be decided: 1 to 20 words of letters, digits, `.`, `_`, `-`, at most 64 characters
    /// each; `["approve", "reject"]` unless set. `reject` fails the task, every other decision lets
    /// it run.
    #[serde(default = "default_decisions")]
    #[schemars(length(min = 1, max = 20))]
    pub decisions: Vec<String>,
    /// How long to wait for a decision, in seconds: above 0, at most 2,592,000; 86,400 unless set.
    /// After that the task fails with `timeout`.
    #[serde(default = "default_timeout_seconds")]
    #[schemars(range(max = 2_592_000))]
    pub timeout_seconds: f64,
}

/// How the approval of a task stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalReport {
    /// What is asked.
    pub message: String,
    /// What may be decided: one of these words.
    pub decisions: Vec<String>,
    /// Until when; then the task fails with `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// What was said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a task waits for that is neither another task nor a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitingFor {
    /// A decision on its approval.
    Approval,
}

impl ApprovalSpec {
    /// The longest message, in characters.
    pub const MESSAGE_CHARS_MAX: usize = 4_000;
    /// The most decisions to choose from.
    pub const DECISIONS_MAX: usize = 20;
    /// The longest decision, in characters.
    pub const DECISION_CHARS_MAX: usize = 64;
    /// The longest wait, in seconds: 30 days.
    pub const TIMEOUT_SECONDS_MAX: f64 = 2_592_000.0;
    /// How long a decision is waited for unless the task says otherwise, in seconds: a day.
    pub const TIMEOUT_SECONDS_DEFAULT: f64 = 86_400.0;
    /// The decision that lets the task run, where none are named.
    pub const APPROVE: &'static str = "approve";
    /// The decision that fails the task.
    pub const REJECT: &'static str = "reject";

    /// Whether a word may be a decision.
    pub fn is_decision(word: &str) -> bool {
        let is_fit = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'_' | b'-');
        !word.is_empty() && word.len() <= Self::DECISION_CHARS_MAX && word.bytes().all(is_fit)
    }
}

fn default_decisions() -> Vec<String> {
    [ApprovalSpec::APPROVE, ApprovalSpec::REJECT].map(str::to_owned).to_vec()
}

fn default_timeout_seconds() -> f64 {
    ApprovalSpec::TIMEOUT_SECONDS_DEFAULT
}

//! Why an agent of the embedded Archon did not do what it was asked.

use serde_json::{Value, json};

use crate::{
    confine::ConfineError,
    model::{FailureCode, text},
};

/// Why an agent of the embedded Archon did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ArchonError {
    /// The arguments of a tool do not have its shape.
    #[error("arguments: {0}")]
    Arguments(String),
    /// A file that the agent needs could not be read or written.
    #[error(transparent)]
    File(#[from] ConfineError),
    /// The written code does not satisfy the checks of its level; nothing was written.
    #[error("the generated code fails checks of the level {level}: {}", failed.join(", "))]
    CheckFailed {
        /// The validation level.
        level: &'static str,
        /// The names of the checks that failed.
        failed: Vec<String>,
        /// All checks with their findings.
        validation: Value,
    },
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
    /// Something that cannot happen did; the sentence says what.
    #[error("internal error: {0}")]
    Internal(String),
    /// The session with the client could not be opened.
    #[error("failed to open the session: {0}")]
    Session(String),
}

impl ArchonError {
    /// The error as a tool's structured content.
    pub(super) fn to_json(&self) -> Value {
        let error = text::escape(&text::cut(&self.to_string(), 1_000));
        match self {
            Self::CheckFailed { validation, .. } => json!({
                "error": error,
                "code": FailureCode::CheckFailed.as_str(),
                "validation": validation,
            }),
            Self::Cancelled => json!({"error": error, "code": FailureCode::Cancelled.as_str()}),
            Self::Arguments(_) | Self::File(_) | Self::Internal(_) | Self::Session(_) => {
                json!({ "error": error })
            }
        }
    }
}

//! `doctor`: says what is in order, what is not, and what to do about it.

use super::output::{Exit, Outcome, print};
use crate::model::text;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; empty if nothing.
    pub advice: String,
}

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In order.
    Good,
    /// Works, but the user should know.
    Note,
    /// Does not work.
    Bad,
}

/// Prints the checks; fails if any is bad.
pub fn doctor(checks: &[Check]) -> Outcome {
    for it in checks {
        let mark = match it.verdict {
            Verdict::Good => "ok  ",
            Verdict::Note => "note",
            Verdict::Bad => "BAD ",
        };
        print(&format!("{mark} {}: {}", it.name, text::escape(&it.found)))?;
        if !it.advice.is_empty() {
            print(&format!("     -> {}", text::escape(&it.advice)))?;
        }
    }
    let is_bad = checks.iter().any(|it| it.verdict == Verdict::Bad);
    Ok(if is_bad { Exit::Failure } else { Exit::Success })
}

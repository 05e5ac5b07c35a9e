//! What commands leave behind: text on standard output, words on standard error, an exit code.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::model::{DispatchStatus, ErrorCode, Fault, Refusal, text};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well: 0.
    Success,
    /// Partial, failure or cancelled: 1.
    Failure,
    /// The request was refused; nothing has run: 2.
    Refused,
}

/// What a command function returns: an error is one of standard output, say a closed pipe.
pub type Outcome = io::Result<Exit>;

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Refused => 2,
        }
    }
}

impl From<DispatchStatus> for Exit {
    fn from(status: DispatchStatus) -> Self {
        match status {
            DispatchStatus::Success | DispatchStatus::Running => Self::Success,
            DispatchStatus::Partial | DispatchStatus::Failure | DispatchStatus::Cancelled => {
                Self::Failure
            }
        }
    }
}

/// Writes text to standard output, with a line break at its end.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

/// Writes a value to standard output as JSON, of which a terminal takes nothing for a command.
pub(super) fn print_json(value: &impl Serialize) -> io::Result<()> {
    print(&text::escape_json(&serde_json::to_string_pretty(value)?))
}

/// The same, on one line.
pub(super) fn print_json_line(value: &impl Serialize) -> io::Result<()> {
    print(&text::escape_json(&serde_json::to_string(value)?))
}

/// A status or another plain word as it is written in JSON.
pub(super) fn word(value: &impl Serialize) -> io::Result<String> {
    let word = serde_json::to_value(value)?;
    Ok(word.as_str().unwrap_or_default().to_owned())
}

/// Writes one line for people to standard error; that nobody reads it is no error.
pub(super) fn say(line: &str) {
    let _closed = writeln!(io::stderr().lock(), "{}", text::escape_lines(line));
}

/// Says why a request was refused: every fault with its place and what to do.
pub(super) fn refuse(refusal: &Refusal) -> Exit {
    let body = refusal.to_body();
    for it in &body.errors {
        let place = if it.path.is_empty() { String::new() } else { format!(" at {}", it.path) };
        say(&format!("error[{}]{place}: {}\n  hint: {}", it.code.as_str(), it.message, hint(it)));
    }
    let n_more = body.error_count - body.errors.len();
    if n_more > 0 {
        say(&format!("and {n_more} more"));
    }
    Exit::Refused
}

/// What to do, with the shell's commands where the hint names a tool.
fn hint(fault: &Fault) -> &str {
    if fault.code == ErrorCode::UnknownDispatch {
        "`parallel-dispatch list` shows the recent dispatches"
    } else if fault.code == ErrorCode::UnknownTask && fault.hint.starts_with("get_result") {
        "`parallel-dispatch result ID --summary` lists the tasks"
    } else {
        &fault.hint
    }
}

/// Says that the program cannot do its work at all.
pub fn report_error(error: &dyn std::fmt::Display) {
    say(&format!("error: {error}"));
}

/// Says that the command line means nothing, which may quote anything of it.
pub fn report_usage(usage: &dyn std::fmt::Display) {
    say(usage.to_string().trim_end());
}

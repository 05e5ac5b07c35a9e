//! How a run that gave no result is told: by its exit, by what it said, and whether it was turned
//! away for a while.

use super::super::{guard::CANNOT_START, process::Ended};
use crate::model::{Failure, FailureCode, redact::redact, text};

/// How much of what a program said is shown, in characters.
const SAID_CHARS_MAX: usize = 600;
/// How much of what a program said is looked at, in bytes.
const LOOK_BYTES_MAX: usize = 4 << 10;
/// What services say that turn somebody away for a while.
const BUSY_PHRASES: [&str; 7] = [
    "rate limit",
    "rate_limit",
    "too many requests",
    "overloaded",
    "usage limit",
    "quota exceeded",
    "resource_exhausted",
];
/// The same as statuses of HTTP.
const BUSY_STATUSES: [&str; 2] = ["429", "529"];
/// What stands before the time to wait.
const WAITS: [&str; 4] = ["try again in ", "retry after ", "retry-after: ", "reset after "];

/// The program says itself that it failed.
pub(super) fn failed(said: &str) -> Failure {
    let message = format!("the program failed: {}", safe(said));
    if is_busy(said) {
        return Failure::new(FailureCode::RateLimited, message).retry_after(wait_ms(said));
    }
    Failure::new(FailureCode::AgentError, message)
}

/// The program ended without a result; `expected` says what its result would have been.
pub(super) fn no_result(ended: &Ended, expected: &str) -> Failure {
    if ended.code == 0 {
        let message = format!("the program ended well, but did not write {expected}");
        return Failure::new(FailureCode::OutputInvalid, message);
    }
    exited(ended)
}

/// The program ended with an exit code that means a failure.
pub(in super::super) fn exited(ended: &Ended) -> Failure {
    let said = last_lines(&ended.stderr);
    let how = match ended.code {
        it if it == i32::from(CANNOT_START) => "could not be started or executed".to_owned(),
        it if it > 128 && it < 160 => format!("was ended by signal {}", it - 128),
        it => format!("ended with exit code {it}"),
    };
    let colon = if said.is_empty() { "" } else { ": " };
    let message = format!("the program {how}{colon}{}", safe(said));
    if is_busy(said) {
        return Failure::new(FailureCode::RateLimited, message).retry_after(wait_ms(said));
    }
    Failure::new(FailureCode::AgentError, message)
}

/// What was said, made safe to show.
pub(super) fn safe(said: &str) -> String {
    let said = text::cut(said.trim(), SAID_CHARS_MAX);
    text::escape(&redact(&said)).replace("\\u{a}", " / ")
}

/// Whether a service said that it is busy.
pub(super) fn is_busy(said: &str) -> bool {
    let said = start_of(said).to_lowercase();
    let mut words = said.split(|it: char| !it.is_ascii_alphanumeric());
    BUSY_PHRASES.iter().any(|it| said.contains(it)) || words.any(|it| BUSY_STATUSES.contains(&it))
}

/// How long to stay away, if that was said.
fn wait_ms(said: &str) -> Option<u64> {
    let said = start_of(said).to_lowercase();
    let rest = WAITS.iter().find_map(|it| said.split_once(it))?.1;
    let digits = rest.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(rest.len());
    let amount: f64 = rest[..digits].trim_end_matches('.').parse().ok()?;
    let unit_ms = match rest[digits..].trim_start() {
        it if it.starts_with("ms") || it.starts_with("mill") => 1.0,
        it if it.starts_with('m') => 60_000.0,
        it if it.starts_with('h') => 3_600_000.0,
        _ => 1_000.0,
    };
    let millis = (amount * unit_ms).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float becomes the nearest whole number; digits have no sign"
    )]
    millis.is_finite().then_some(millis as u64)
}

/// The last lines that say something.
fn last_lines(stderr: &str) -> &str {
    let trimmed = stderr.trim_end();
    let from = trimmed.floor_char_boundary(trimmed.len().saturating_sub(SAID_CHARS_MAX));
    let tail = &trimmed[from..];
    // A line that was cut tells little.
    tail.split_once('\n').filter(|_| from > 0).map_or(tail, |it| it.1)
}

fn start_of(said: &str) -> &str {
    &said[..said.floor_char_boundary(LOOK_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_busy_is_known_by_what_it_says() {
        for it in [
            "API Error: 429 {\"type\":\"error\"}",
            "Claude usage limit reached",
            "stream error: exceeded retry limit, last status: 429 Too Many Requests",
            "429: RESOURCE_EXHAUSTED",
            "Overloaded",
        ] {
            assert!(is_busy(it), "{it}");
        }
        for it in ["", "line 1429 is odd", "the limit of turns"] {
            assert!(!is_busy(it), "{it}");
        }
    }

    #[test]
    fn the_time_to_wait_is_read_with_its_unit() {
        for (said, expected) in [
            ("Please try again in 1.5s.", Some(1_500)),
            ("Try again in 20 ms", Some(20)),
            ("retry after 2 minutes", Some(120_000)),
            ("Retry-After: 7", Some(7_000)),
            ("your quota will reset after 2h3m", Some(7_200_000)),
            ("try again in a while", None),
            ("try again", None),
            ("try again in 9999999999999999999999", Some(u64::MAX)),
        ] {
            assert_eq!(wait_ms(said), expected, "{said}");
        }
    }

    #[test]
    fn the_end_of_standard_error_is_shown_by_whole_lines() {
        assert_eq!(last_lines("a\nb\n\n"), "a\nb");
        let long = format!("{}\nthe end", "é".repeat(SAID_CHARS_MAX));
        assert_eq!(last_lines(&long), "the end");
        let ended = Ended { code: 137, stderr: "a\nb".into(), stdout_bytes: 0 };
        assert_eq!(&*exited(&ended).message, "the program was ended by signal 9: a / b");
    }
}

//! When a server asks to come back later: its `Retry-After` header (RFC 9110, section 10.2.3).

use std::fmt;

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::{
    Response,
    header::{DATE, RETRY_AFTER},
};

use super::link::header;
use crate::model::Failure;

/// A `Retry-After` header with the time it counts from. Shows as the end of a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RetryAfter {
    /// Seconds or a date, as the server wrote it.
    value: Option<String>,
    /// The server's own time; its clock and not ours is what its dates mean.
    date: Option<String>,
}

impl RetryAfter {
    /// What an answer says.
    pub(super) fn of(response: &Response) -> Self {
        Self {
            value: header(response, RETRY_AFTER.as_str()),
            date: header(response, DATE.as_str()),
        }
    }

    /// How long to wait, in milliseconds, at most an hour; `None` for what cannot be read.
    pub(super) fn millis(&self) -> Option<u64> {
        let value = self.value.as_deref()?.trim();
        let millis = if value.bytes().all(|it| it.is_ascii_digit()) && !value.is_empty() {
            // More digits than fit are more than an hour.
            value.parse().unwrap_or(u64::MAX).saturating_mul(1_000)
        } else {
            let span = read_date(value)? - read_date(self.date.as_deref()?)?;
            u64::try_from(span).unwrap_or(0)
        };
        Some(millis.min(Failure::RETRY_AFTER_MS_MAX))
    }
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, ", retry after {value}"),
            None => Ok(()),
        }
    }
}

/// Milliseconds since 1970.
fn read_date(text: &str) -> Option<i64> {
    let at = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text.trim()).ok()?;
    Some(at.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(value: &str, date: Option<&str>) -> Option<u64> {
        let date = date.map(str::to_owned);
        RetryAfter { value: Some(value.to_owned()), date }.millis()
    }

    #[test]
    fn seconds_and_dates_are_read_and_an_hour_is_the_most() {
        assert_eq!(millis("7", None), Some(7_000));
        assert_eq!(millis(" 0 ", None), Some(0));
        assert_eq!(millis("86400", None), Some(3_600_000));
        assert_eq!(millis(&"9".repeat(40), None), Some(3_600_000));
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(millis("Sun, 06 Nov 1994 08:49:47 GMT", date), Some(10_000));
        assert_eq!(millis("Sun, 06 Nov 1994 08:49:27 GMT", date), Some(0));
        assert_eq!(millis("Mon, 07 Nov 1994 08:49:37 GMT", date), Some(3_600_000));
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        assert_eq!(millis("soon", Some("Sun, 06 Nov 1994 08:49:37 GMT")), None);
        assert_eq!(millis("-5", None), None);
        assert_eq!(millis("", None), None);
        assert_eq!(millis("Sun, 06 Nov 1994 08:49:47 GMT", None), None);
        assert_eq!(RetryAfter::default().millis(), None);
    }
}

//! Reads a task's `retry`.

use super::{
    faults::{Faults, Place},
    fields::{self, Fields},
};
use crate::model::{ErrorCode, FailureCode, RetrySpec, json::Json};

pub(super) static RETRY: Fields<4> = Fields {
    names: ["max_attempts", "backoff_ms", "max_backoff_ms", "on"],
    alias: None,
    hint: "retry takes max_attempts, backoff_ms, max_backoff_ms, on",
};

/// Reads `retry`; what is left out has its default.
pub(super) fn read(json: &Json<'_>, place: &Place<'_>, faults: &mut Faults) -> Option<RetrySpec> {
    let object = RETRY.read(json, place, faults)?;
    let [attempts, backoff, backoff_max, on] = RETRY.names.map(|it| place.key(it));
    let default = RetrySpec::default();
    let range = (1, RetrySpec::ATTEMPTS_MAX.into());
    let max_attempts = object
        .get(0)
        .and_then(|it| fields::integer(it, &attempts, range, faults))
        .and_then(|it| u32::try_from(it).ok());
    let range = (0, RetrySpec::BACKOFF_MS_MAX);
    let backoff_ms = object.get(1).and_then(|it| fields::integer(it, &backoff, range, faults));
    let max_backoff_ms =
        object.get(2).and_then(|it| fields::integer(it, &backoff_max, range, faults));
    if let (Some(first), Some(max)) = (backoff_ms, max_backoff_ms)
        && max < first
    {
        let what = format_args!("must not be below \"backoff_ms\" ({first}), is {max}");
        let hint = "raise max_backoff_ms or lower backoff_ms";
        faults.add(|| backoff_max.fault(ErrorCode::OutOfRange, what, hint));
    }
    let longest = |it| default.max_backoff_ms.max(it);
    Some(RetrySpec {
        max_attempts: max_attempts.unwrap_or(default.max_attempts),
        backoff_ms: backoff_ms
            .unwrap_or_else(|| default.backoff_ms.min(max_backoff_ms.unwrap_or(u64::MAX))),
        max_backoff_ms: max_backoff_ms
            .unwrap_or_else(|| backoff_ms.map_or(default.max_backoff_ms, longest)),
        on: object.get(3).and_then(|it| read_codes(it, &on, faults)),
    })
}

fn read_codes(json: &Json<'_>, place: &Place<'_>, faults: &mut Faults) -> Option<Vec<FailureCode>> {
    let items = fields::list(json, place, faults)?;
    if items.is_empty() {
        let what = format_args!("must name at least one failure");
        let hint = "leave it out to mean every retryable failure";
        faults.add(|| place.fault(ErrorCode::EmptyValue, what, hint));
    }
    let words = RetrySpec::CODES.map(FailureCode::as_str);
    let mut codes = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let Some(word) = fields::word(item, &place.index(at), &words, faults) else { continue };
        let code = RetrySpec::CODES.into_iter().find(|it| it.as_str() == word);
        codes.extend(code.filter(|it| !codes.contains(it)));
    }
    Some(codes)
}

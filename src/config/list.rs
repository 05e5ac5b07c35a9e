//! A list of texts, each in its own normal form.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::yaml::Yaml;

/// How many items the lists have that may be empty.
pub(super) const ANY: RangeInclusive<usize> = 0..=64;

/// Reads a list of as many `what` as may be. An error is the end of a sentence that begins with
/// the key.
pub(super) fn list<T: Into<Value>>(
    value: &Yaml,
    (what, n_items): (&str, RangeInclusive<usize>),
    item: impl Fn(&str) -> Result<T, String>,
) -> Result<Value, String> {
    let Yaml::List(items) = value else {
        return Err(format!("must be a list of {what}, is {}", value.kind()));
    };
    if !n_items.contains(&items.len()) {
        let (least, most) = n_items.into_inner();
        let wanted = if least == 0 { "at most".to_owned() } else { format!("{least} to") };
        return Err(format!("must hold {wanted} {most} {what}, holds {}", items.len()));
    }
    let checked = items.iter().map(|it| match it.as_text() {
        Some(text) => item(text).map(Into::into),
        None => Err(format!("must be a list of texts, holds {}", it.kind())),
    });
    checked.collect()
}

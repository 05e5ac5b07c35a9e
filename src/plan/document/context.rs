//! Reads `context_requirements`: `PREFIX:KEY`, where the prefix names a source of context.

use super::{
    config,
    faults::{Faults, Place, quote},
    fields,
};
use crate::{
    model::{ErrorCode, json::Json, text},
    plan::rules::Rules,
};

/// The sources of context.
pub(super) const PREFIXES: [&str; 4] = ["file", "structure", "rag", "pattern"];

const REQUIREMENTS_MAX: usize = 100;
const KEY_CHARS_MAX: usize = 1_000;
const HINT: &str = "write file:PATH, structure:PATH, rag:QUERY or pattern:NAME";

/// Reads a task's requirements; faulty ones are left out.
pub(super) fn read(
    json: &Json<'_>,
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Vec<String> {
    let Some(items) = fields::list(json, place, faults) else { return Vec::new() };
    if items.len() > REQUIREMENTS_MAX {
        let n_items = items.len();
        let what = format_args!("has {n_items} items; at most {REQUIREMENTS_MAX} are allowed");
        let hint = "ask for directories with structure: or for topics with rag:";
        faults.add(|| place.fault(ErrorCode::LimitExceeded, what, hint));
        return Vec::new();
    }
    let mut requirements = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let place = place.index(at);
        let Json::String(text) = item else {
            fields::wrong_type(item, "a string", &place, faults);
            continue;
        };
        if check(text, &place, rules, faults) {
            requirements.push(text.as_ref().to_owned());
        }
    }
    requirements
}

fn check(text: &str, place: &Place<'_>, rules: &Rules<'_>, faults: &mut Faults) -> bool {
    let refuse = |why: &str, faults: &mut Faults| {
        faults.add(|| {
            let prefix = text.split_once(':').map_or("", |it| it.0);
            let is_known = PREFIXES.contains(&prefix);
            let guess = if is_known { String::new() } else { text::did_you_mean(prefix, PREFIXES) };
            let what = format_args!("{why}: {}{guess}", quote(text));
            place.fault(ErrorCode::InvalidContextRequirement, what, HINT)
        });
        false
    };
    let Some((prefix, key)) = text.split_once(':') else {
        return refuse("is not of the form PREFIX:KEY", faults);
    };
    if !PREFIXES.contains(&prefix) {
        return refuse("has an unknown prefix", faults);
    }
    if key.trim().is_empty() {
        return refuse("has nothing behind the colon", faults);
    }
    if !fields::check_length(key, place, KEY_CHARS_MAX, faults) {
        return false;
    }
    let is_path = matches!(prefix, "file" | "structure");
    if is_path && (key.contains('\0') || key.split(['/', '\\']).any(|it| it == "..")) {
        return refuse("must not lead upwards with \"..\"", faults);
    }
    !(is_path && key.starts_with('/')) || config::check_path(key, place, rules, faults)
}

//! Reads what a task claims while it runs: `writes` and `resources`.

use std::collections::BTreeMap;

use super::{
    config::check_path,
    faults::{Faults, Place, Subject, quote},
    fields::{self, Blank},
};
use crate::{
    model::{ErrorCode, TaskId, TaskSpec, json::Json},
    plan::{
        claims::{GlobFault, check_glob},
        rules::Rules,
    },
};

/// The most globs of one task, and the most resources of one task or dispatch.
const CLAIMS_MAX: usize = 100;
/// The most there can be of a resource.
const AMOUNT_MAX: u64 = 1_000_000;
/// The longest glob, in characters.
const GLOB_CHARS_MAX: usize = 1_024;

/// Reads `writes`; the globs come out absolute.
pub(super) fn read_writes(
    json: &Json<'_>,
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Option<Box<[String]>> {
    let items = fields::list(json, place, faults)?;
    if is_too_long(items.len(), "globs", place, faults) {
        return None;
    }
    let mut globs = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let place = place.index(at);
        let text = fields::text(item, &place, Blank::Refused, GLOB_CHARS_MAX, faults);
        if let Some(glob) = text.and_then(|it| read_glob(it, &place, rules, faults))
            && !globs.contains(&glob)
        {
            globs.push(glob);
        }
    }
    (!globs.is_empty()).then(|| globs.into_boxed_slice())
}

fn read_glob(
    text: &str,
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Option<String> {
    let glob = match rules.paths.roots().first() {
        Some(root) if !text.starts_with('/') => {
            format!("{}/{}", root.trim_end_matches('/'), text.trim_start_matches("./"))
        }
        _ => text.to_owned(),
    };
    if let Err(fault) = check_glob(&glob) {
        let (what, hint) = match fault {
            GlobFault::TooLong => ("is too long a glob", "name the folder and write /** after it"),
            GlobFault::Stars => {
                ("has ** beside other signs", "write ** between slashes: src/**/*.rs")
            }
            GlobFault::Syntax => (
                "has signs that are no glob here",
                "use *, ? and **; write several globs for others",
            ),
        };
        let text = quote(text);
        faults.add(|| place.fault(ErrorCode::InvalidClaim, format_args!("{what}: {text}"), hint));
        return None;
    }
    // Where its signs stand for the shortest there is, it must be a path that may be written.
    let sample = glob.replace("**", "x").replace(['*', '?'], "x");
    check_path(&sample, place, rules, faults).then_some(glob)
}

/// Reads `resources`, of a task or of a dispatch: how much of what.
pub(super) fn read_resources(
    json: &Json<'_>,
    place: &Place<'_>,
    faults: &mut Faults,
) -> Option<BTreeMap<String, u32>> {
    let Json::Object(entries) = json else {
        fields::wrong_type(json, "an object", place, faults);
        return None;
    };
    if is_too_long(entries.len(), "resources", place, faults) {
        return None;
    }
    let mut resources = BTreeMap::new();
    for (name, amount) in entries {
        let place = place.key(name);
        if !TaskId::is_valid(name) {
            let what = format_args!("is no name for a resource");
            let hint = "use 1 to 128 letters, digits, dots, dashes and underscores";
            faults.add(|| place.fault(ErrorCode::InvalidClaim, what, hint));
            continue;
        }
        let amount = fields::integer(amount, &place, (1, AMOUNT_MAX), faults);
        resources.extend(amount.and_then(|it| Some((name.to_string(), u32::try_from(it).ok()?))));
    }
    Some(resources)
}

/// Checks that no task wants more of a resource than there is.
pub(super) fn check_amounts(
    tasks: &[TaskSpec],
    capacities: Option<&BTreeMap<String, u32>>,
    faults: &mut Faults,
) {
    let list = Place::ROOT.key("tasks");
    for (at, task) in tasks.iter().enumerate() {
        for (name, amount) in task.resources.iter().flat_map(|it| it.iter()) {
            let capacity = capacities.and_then(|it| it.get(name)).copied().unwrap_or(1);
            if *amount <= capacity {
                continue;
            }
            faults.at(at + 1);
            let mut task_place = list.index(at);
            task_place.subject = Subject::Task(task.task_id.as_str());
            let field = task_place.key("resources");
            let what = format_args!("asks for {amount}, and there is {capacity}");
            let hint = "say how much there is in config.resources, which is 1 unless said";
            faults.add(|| field.key(name).fault(ErrorCode::OutOfRange, what, hint));
        }
    }
}

fn is_too_long(n: usize, noun: &str, place: &Place<'_>, faults: &mut Faults) -> bool {
    if n <= CLAIMS_MAX {
        return false;
    }
    let what = format_args!("has {n} {noun}; at most {CLAIMS_MAX} are allowed");
    faults.add(|| place.fault(ErrorCode::LimitExceeded, what, "claim whole folders: src/**"));
    true
}

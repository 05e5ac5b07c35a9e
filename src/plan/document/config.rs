//! Reads a document's `config`.

use super::{
    budget, claims,
    faults::{Faults, Place},
    fields::{self, Blank, Fields},
};
use crate::{
    model::{CacheMode, DispatchConfig, ErrorCode, OnFailure, json::Json},
    plan::rules::{PathFault, Rules},
};

pub(super) static CONFIG: Fields<8> = Fields {
    names: [
        "max_workers",
        "timeout_seconds",
        "trace_dir",
        "on_failure",
        "enable_context",
        "resources",
        "cache",
        "budget",
    ],
    alias: None,
    hint: "config takes max_workers, timeout_seconds, trace_dir, on_failure, enable_context, \
           resources, cache, budget",
};

const ON_FAILURE: [&str; 3] = ["skip_dependents", "fail_fast", "continue"];

/// The longest timeout in seconds, whatever the server allows.
pub(super) const TIMEOUT_SECONDS_MAX: f64 = 86_400.0;

/// Reads `config`; what is faulty comes out as absent.
pub(super) fn read(
    json: &Json<'_>,
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> DispatchConfig {
    let Some(object) = CONFIG.read(json, place, faults) else {
        return DispatchConfig::default();
    };
    let [workers, timeout, trace_dir, on_failure, enable_context, resources, cache, budget] =
        CONFIG.names.map(|it| place.key(it));
    let workers_max = rules.limits.workers_max();
    let max_workers = object
        .get(0)
        .and_then(|it| fields::integer(it, &workers, (1, workers_max.into()), faults))
        .and_then(|it| u32::try_from(it).ok());
    let timeout_seconds = object.get(1).and_then(|it| read_timeout(it, &timeout, rules, faults));
    let trace_dir = object.get(2).and_then(|it| read_trace_dir(it, &trace_dir, rules, faults));
    let on_failure = object
        .get(3)
        .and_then(|it| fields::word(it, &on_failure, &ON_FAILURE, faults))
        .map(|it| match it {
            "fail_fast" => OnFailure::FailFast,
            "continue" => OnFailure::Continue,
            _ => OnFailure::SkipDependents,
        });
    let enable_context = object.get(4).and_then(|it| fields::flag(it, &enable_context, faults));
    let resources = object.get(5).and_then(|it| claims::read_resources(it, &resources, faults));
    let cache = object.get(6).and_then(|it| read_cache(it, &cache, faults));
    let budget = object.get(7).and_then(|it| budget::read(it, &budget, faults));
    DispatchConfig {
        max_workers,
        timeout_seconds,
        trace_dir,
        on_failure,
        enable_context,
        resources,
        cache,
        budget,
    }
}

/// Reads what is done with results of the same work, of a task or of a dispatch.
pub(super) fn read_cache(
    json: &Json<'_>,
    place: &Place<'_>,
    faults: &mut Faults,
) -> Option<CacheMode> {
    fields::word(json, place, &CacheMode::WORDS, faults).map(CacheMode::of_word)
}

/// Reads a timeout; the server's limit may be narrower than the contract's.
pub(super) fn read_timeout(
    json: &Json<'_>,
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Option<f64> {
    let max = rules.limits.timeout_seconds_max.min(TIMEOUT_SECONDS_MAX);
    fields::seconds(json, place, max, faults)
}

fn read_trace_dir(
    json: &Json<'_>,
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Option<String> {
    let dir = fields::text(json, place, Blank::Refused, fields::TEXT_CHARS_MAX, faults)?;
    match rules.paths.check_trace_dir(dir) {
        Ok(()) => Some(dir.to_owned()),
        Err(fault) => {
            faults.add(|| describe_path(dir, place, fault, rules));
            None
        }
    }
}

/// Checks a path that an agent reads or writes.
pub(super) fn check_path(
    path: &str,
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> bool {
    match rules.paths.check(path) {
        Ok(()) => true,
        Err(fault) => {
            faults.add(|| describe_path(path, place, fault, rules));
            false
        }
    }
}

fn describe_path(
    path: &str,
    place: &Place<'_>,
    fault: PathFault,
    rules: &Rules<'_>,
) -> crate::model::Fault {
    let leads_upwards = path.split('/').any(|it| it == "..");
    let path = super::faults::quote(path);
    let roots = rules.paths.roots();
    let root = roots.first().map_or("/absolute/path/to", String::as_str);
    match fault {
        PathFault::NotAbsolute => place.fault(
            ErrorCode::PathNotAbsolute,
            format_args!("must be an absolute path, not {path}"),
            &format!("begin with a workspace, as in {root}/…; variables are not expanded"),
        ),
        PathFault::NotAllowed if leads_upwards => place.fault(
            ErrorCode::PathNotAllowed,
            format_args!("must not contain \"..\": {path}"),
            "write the path that it comes to, without \"..\"",
        ),
        PathFault::NotAllowed => place.fault(
            ErrorCode::PathNotAllowed,
            format_args!("leads outside every workspace: {path}"),
            &if roots.is_empty() {
                "no workspace is set; start with --workspace DIR".to_owned()
            } else {
                format!("allowed is what is below {}", roots.join(", "))
            },
        ),
    }
}

//! Reads a dispatch's `budget`, and what a caller expects a task to use of it.

use super::{
    faults::{Faults, Place},
    fields::{self, Fields},
};
use crate::model::{BudgetSpec, ErrorCode, OnExceeded, json::Json};

pub(super) static BUDGET: Fields<5> = Fields {
    names: ["tokens", "cost_usd", "wall_seconds", "tasks", "on_exceeded"],
    alias: None,
    hint: "budget takes tokens, cost_usd, wall_seconds, tasks, on_exceeded",
};

/// The most tokens of a budget or an estimate.
const TOKENS_MAX: u64 = 1_000_000_000_000;
/// The most money of a budget or an estimate, in US dollars.
const COST_USD_MAX: f64 = 1_000_000.0;
/// The least money that can be counted, in US dollars.
const COST_USD_MIN: f64 = 0.000_001;
/// The longest time of a budget, in seconds.
const WALL_SECONDS_MAX: f64 = 2_592_000.0;
/// The most tasks of a budget.
const TASKS_MAX: u64 = 1_000_000;

/// Reads `budget`; it must limit something.
pub(super) fn read(json: &Json<'_>, place: &Place<'_>, faults: &mut Faults) -> Option<BudgetSpec> {
    let object = BUDGET.read(json, place, faults)?;
    let [tokens, cost, wall, tasks, on_exceeded] = BUDGET.names.map(|it| place.key(it));
    if (0..4).all(|it| object.get(it).is_none()) {
        let what = format_args!("must limit something");
        let hint = "name tokens, cost_usd, wall_seconds or tasks, or leave it out";
        faults.add(|| place.fault(ErrorCode::EmptyValue, what, hint));
        return None;
    }
    let dollars = (COST_USD_MIN, COST_USD_MAX);
    Some(BudgetSpec {
        tokens: object.get(0).and_then(|it| fields::integer(it, &tokens, (1, TOKENS_MAX), faults)),
        cost_usd: object.get(1).and_then(|it| fields::dollars(it, &cost, dollars, faults)),
        wall_seconds: object
            .get(2)
            .and_then(|it| fields::seconds(it, &wall, WALL_SECONDS_MAX, faults)),
        tasks: object
            .get(3)
            .and_then(|it| fields::integer(it, &tasks, (1, TASKS_MAX), faults))
            .and_then(|it| u32::try_from(it).ok()),
        on_exceeded: object
            .get(4)
            .and_then(|it| fields::word(it, &on_exceeded, &OnExceeded::WORDS, faults))
            .map(|it| match it {
                "pause" => OnExceeded::Pause,
                "fail" => OnExceeded::Fail,
                _ => OnExceeded::HandBack,
            }),
    })
}

/// Reads a task's `estimate_tokens` and `estimate_cost_usd`.
pub(super) fn read_estimates(
    [tokens, cost]: [Option<&Json<'_>>; 2],
    place: &Place<'_>,
    faults: &mut Faults,
) -> (Option<u64>, Option<f64>) {
    let at = place.key("estimate_tokens");
    let tokens = tokens.and_then(|it| fields::integer(it, &at, (0, TOKENS_MAX), faults));
    let at = place.key("estimate_cost_usd");
    let cost = cost.and_then(|it| fields::dollars(it, &at, (0.0, COST_USD_MAX), faults));
    (tokens, cost)
}

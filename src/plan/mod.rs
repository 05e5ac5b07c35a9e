//! Turns documents into checked graphs, all faults at once, and says what a graph means.
//!
//! Pure: no IO, no clock. What comes out of here can be run; nothing downstream checks it again.

mod claims;
mod condition;
mod cost;
mod cycle;
mod document;
mod drafts;
mod drawing;
mod estimate;
mod fuzzing;
mod graph;
mod markdown;
mod order;
mod page;
mod part;
mod phrase;
mod reference;
mod report;
mod request;
#[cfg(test)]
mod request_tests;
mod routing;
mod rules;
mod schema;
#[cfg(test)]
pub(crate) mod testing;
mod unique;

pub use claims::{ClaimTable, Holders, Need};
pub use condition::{Condition, ConditionFault, Facts, WHEN_CHARS_MAX};
pub use cycle::{Cycles, find_cycles};
pub use document::{
    Checked, DispatchCall, ESTIMATE_DEFAULT, NOTE_CHARS_MAX, RetryCall, Source, WAIT_MS_DEFAULT,
    WAIT_MS_MAX, check_addition, check_approve, check_cancel, check_claim, check_complete,
    check_control, check_dispatch, check_document, check_fail, check_get_result, check_heartbeat,
    check_plan, check_read_trace, check_replacement, check_resolved_input, check_retry,
    check_specs,
};
pub use estimate::{DurationKeys, Estimate, History, duration_key};
#[doc(hidden)]
pub use fuzzing::fuzz_document;
pub use graph::{Edge, TaskGraph};
pub use page::page;
pub use part::{Pattern, Scope};
pub use reference::{RESOLVED_BYTES_MAX, has_references, referenced_ids, resolve};
pub use report::{critical_path, makespan, report};
pub use routing::route;
pub use rules::{AgentRule, InputKind, Limits, PathFault, PathPolicy, Rules};
pub use schema::OutputSchema;

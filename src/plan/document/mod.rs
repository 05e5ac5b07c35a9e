//! Reads documents and arguments: every fault at once, in document order (contract, 2 and 4).
//!
//! The reader works on [`Json`], not on serde's derived code, because that stops at the first
//! fault; the types of [`crate::model`] make the schemas, and a test keeps the two in step.

mod addition;
mod approval;
#[cfg(test)]
mod approval_tests;
mod budget;
#[cfg(test)]
mod budget_tests;
#[cfg(test)]
mod cache_tests;
mod call;
#[cfg(test)]
mod call_tests;
mod claims;
#[cfg(test)]
mod claims_tests;
mod config;
mod context;
mod control;
#[cfg(test)]
mod control_tests;
mod expect;
mod fan_out;
#[cfg(test)]
mod fan_out_tests;
mod faults;
mod fields;
mod fill;
#[cfg(test)]
mod hostile_tests;
mod ids;
mod input;
mod input_from;
mod links;
#[cfg(test)]
mod links_tests;
mod retry;
#[cfg(test)]
mod retry_tests;
mod table;
mod task;
mod tasks;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod when;
#[cfg(test)]
mod when_tests;
mod work;
#[cfg(test)]
mod work_tests;

use serde_json::{Map, Value};

pub use self::{
    addition::check_addition,
    call::{
        DispatchCall, RetryCall, Source, WAIT_MS_DEFAULT, WAIT_MS_MAX, check_cancel,
        check_dispatch, check_get_result, check_plan, check_read_trace, check_retry,
    },
    control::{NOTE_CHARS_MAX, check_approve, check_control, check_replacement},
    tasks::ESTIMATE_DEFAULT,
    work::{check_claim, check_complete, check_fail, check_heartbeat},
};
use self::{
    faults::{Faults, Place, Warnings},
    fields::Fields,
    task::Mode,
};
use super::{InputKind, Rules, TaskGraph};
use crate::model::{
    AgentName, DispatchConfig, ErrorCode, Failure, FailureCode, Refusal, TaskSpec, json::Json,
};

/// A document without faults.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The tasks, in document order; agents under their canonical names, each dependency once.
    pub tasks: Vec<TaskSpec>,
    /// The settings as given.
    pub config: DispatchConfig,
    /// The graph; task `n` of it is `tasks[n]`.
    pub graph: TaskGraph,
    /// What the caller should know that is no fault.
    pub warnings: Vec<String>,
}

static DOCUMENT: Fields<2> =
    Fields { names: ["tasks", "config"], alias: None, hint: "a document takes tasks and config" };

/// Checks a document of `tasks` and `config`.
///
/// Costs O(bytes), whatever the document holds.
pub fn check_document(json: &Json<'_>, rules: &Rules<'_>) -> Result<Checked, Refusal> {
    let mut faults = Faults::default();
    let root = Place::ROOT;
    let object = DOCUMENT.read(json, &root, &mut faults);
    let hint = "give a list of tasks";
    let tasks = object.as_ref().and_then(|it| it.require(0, &root, hint, &mut faults));
    let config = object.as_ref().and_then(|it| it.get(1));
    check_parts(tasks, config, Mode::Dispatch, rules, faults)
}

/// Checks tasks that were stored or changed, as if they came as a document.
pub fn check_specs(
    tasks: Vec<TaskSpec>,
    config: DispatchConfig,
    rules: &Rules<'_>,
) -> Result<Checked, Refusal> {
    let document = serde_json::to_value(Document { tasks, config }).map_err(|error| {
        let message = format!("failed to write the tasks as JSON: {error}");
        Refusal::of(ErrorCode::Internal, "", &message, "report this")
    })?;
    check_document(&Json::from_value(&document)?, rules)
}

/// A document that was read before.
#[derive(serde::Serialize)]
struct Document {
    tasks: Vec<TaskSpec>,
    config: DispatchConfig,
}

/// Checks an agent's input again once its references are resolved.
pub fn check_resolved_input(
    agent: &AgentName,
    input: &Map<String, Value>,
    rules: &Rules<'_>,
) -> Result<(), Failure> {
    let kind = rules.agent(agent.as_str()).map_or(InputKind::Free, |it| it.input);
    input::check_map(input, kind, rules).map_err(|refusal| {
        let message =
            format!("input_data does not fit once its references are resolved: {refusal}");
        Failure::new(FailureCode::OutputInvalid, message)
    })
}

/// Checks tasks and config wherever they came from; `faults` are those of what is around them.
fn check_parts(
    tasks: Option<&Json<'_>>,
    config: Option<&Json<'_>>,
    mode: Mode,
    rules: &Rules<'_>,
    mut faults: Faults,
) -> Result<Checked, Refusal> {
    let mut warnings = Warnings::default();
    let rewritten = tasks.and_then(|it| input_from::rewrite(it, &mut faults));
    let tasks = rewritten.as_ref().or(tasks);
    let read = tasks.and_then(|it| tasks::read(it, mode, rules, &mut faults, &mut warnings));
    faults.at(usize::MAX);
    let config = config.map(|it| config::read(it, &Place::ROOT.key("config"), rules, &mut faults));
    // One look at all tasks tells whether they need any of what few use.
    let is_rare = |it: &TaskSpec| it.resources.is_some() || !it.runs_itself();
    if let Some((tasks, _)) = &read
        && tasks.iter().any(is_rare)
    {
        let capacities = config.as_ref().and_then(|it| it.resources.as_ref());
        fan_out::check_part_ids(tasks, &mut faults);
        claims::check_amounts(tasks, capacities, &mut faults);
    }
    faults.finish()?;
    let Some((tasks, graph)) = read else {
        return Err(Refusal::of(
            ErrorCode::Internal,
            "",
            "the document was refused for no reason that could be named",
            "report this",
        ));
    };
    let config = config.unwrap_or_default();
    Ok(Checked { tasks, config, graph, warnings: warnings.finish() })
}

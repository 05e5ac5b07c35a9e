//! Reads the arguments of the tools that steer a dispatch while it runs.

use super::{
    call::{finish, read_task_id, require_dispatch_id},
    faults::{Faults, Place},
    fields::{self, Blank, Fields},
};
use crate::model::{ApprovalSpec, ApproveRequest, Refusal, json::Json};

pub(super) static APPROVE: Fields<4> = Fields {
    names: ["dispatch_id", "task_id", "decision", "note"],
    alias: None,
    hint: "approve_task takes dispatch_id, task_id, decision, note",
};

/// The longest note, in characters.
const NOTE_CHARS_MAX: usize = 4_000;

/// Checks the arguments of `approve_task`; whether the task takes the decision is known only when
/// it is carried out.
pub fn check_approve(args: &Json<'_>) -> Result<ApproveRequest, Refusal> {
    let mut faults = Faults::default();
    let root = Place::ROOT;
    let Some(object) = APPROVE.read(args, &root, &mut faults) else {
        return Err(finish(faults));
    };
    let dispatch_id = require_dispatch_id(&object, &mut faults);
    let [_, at_task, at_decision, at_note] = APPROVE.names.map(|it| root.key(it));
    let hint = "get_result shows waiting_for \"approval\" where a decision is wanted";
    let task_id = object
        .require(1, &root, hint, &mut faults)
        .and_then(|it| read_task_id(it, &at_task, &mut faults));
    let longest = ApprovalSpec::DECISION_CHARS_MAX;
    let decision = object
        .require(2, &root, "choose one of the decisions that get_result shows", &mut faults)
        .and_then(|it| fields::text(it, &at_decision, Blank::Refused, longest, &mut faults));
    let note = object
        .get(3)
        .and_then(|it| fields::text(it, &at_note, Blank::Allowed, NOTE_CHARS_MAX, &mut faults))
        .map(str::to_owned);
    match (dispatch_id, task_id, decision) {
        (Some(dispatch_id), Some(task_id), Some(decision)) if faults.count() == 0 => {
            Ok(ApproveRequest { dispatch_id, task_id, decision: decision.to_owned(), note })
        }
        _ => Err(finish(faults)),
    }
}

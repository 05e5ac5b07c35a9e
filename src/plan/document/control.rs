//! Reads the arguments of the tools that steer a dispatch while it runs.

use super::{
    budget,
    call::{finish, read_task_id, read_task_ids, require_dispatch_id},
    check_specs,
    faults::{Faults, Place},
    fields::{self, Blank, Fields, Object},
    task::DESCRIPTION_CHARS_MAX,
};
use crate::{
    model::{
        ApprovalSpec, ApproveRequest, ControlAction, ControlRequest, DispatchConfig, ErrorCode,
        InputData, Refusal, TaskSpec,
        json::{self, Json},
    },
    plan::rules::Rules,
};

pub(super) static APPROVE: Fields<4> = Fields {
    names: ["dispatch_id", "task_id", "decision", "note"],
    alias: None,
    hint: "approve_task takes dispatch_id, task_id, decision, note",
};

pub(super) static CONTROL: Fields<9> = Fields {
    names: [
        "dispatch_id",
        "action",
        "task_ids",
        "task_id",
        "max_workers",
        "input_data",
        "description",
        "reason",
        "budget",
    ],
    alias: None,
    hint: "control_dispatch takes dispatch_id, action, reason, and what the action needs: task_ids \
           for pause and resume, max_workers for set_max_workers, task_id with input_data or \
           description for replace_input, budget for set_budget",
};

const TASK_IDS: usize = 2;
const TASK_ID: usize = 3;
const MAX_WORKERS: usize = 4;
const INPUT_DATA: usize = 5;
const DESCRIPTION: usize = 6;
const REASON: usize = 7;
const BUDGET: usize = 8;

/// The longest note on a decision, in characters.
pub const NOTE_CHARS_MAX: usize = 4_000;

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

/// Checks the arguments of `control_dispatch`; what is asked of its task is checked when the task
/// is known, by [`check_replacement`].
pub fn check_control(args: &Json<'_>, rules: &Rules<'_>) -> Result<ControlRequest, Refusal> {
    let mut faults = Faults::default();
    let root = Place::ROOT;
    let Some(object) = CONTROL.read(args, &root, &mut faults) else {
        return Err(finish(faults));
    };
    let at = CONTROL.names.map(|it| root.key(it));
    let dispatch_id = require_dispatch_id(&object, &mut faults);
    let words = ControlAction::ALL.map(ControlAction::as_str);
    let action = object
        .require(1, &root, "say what to do", &mut faults)
        .and_then(|it| fields::word(it, &at[1], &words, &mut faults))
        .and_then(|word| ControlAction::ALL.into_iter().find(|it| it.as_str() == word));
    if let Some(action) = action {
        check_fields(action, &object, &mut faults);
    }
    let task_ids = object.get(TASK_IDS).and_then(|it| read_task_ids(it, &mut faults));
    let task_id = object.get(TASK_ID).and_then(|it| read_task_id(it, &at[TASK_ID], &mut faults));
    let most = u64::from(rules.limits.workers_max());
    let max_workers = object
        .get(MAX_WORKERS)
        .and_then(|it| fields::integer(it, &at[MAX_WORKERS], (1, most), &mut faults))
        .and_then(|it| u32::try_from(it).ok());
    let input_data =
        object.get(INPUT_DATA).and_then(|it| read_object(it, &at[INPUT_DATA], &mut faults));
    let description = object.get(DESCRIPTION).and_then(|it| {
        let longest = DESCRIPTION_CHARS_MAX;
        fields::text(it, &at[DESCRIPTION], Blank::Refused, longest, &mut faults)
    });
    let budget = object.get(BUDGET).and_then(|it| budget::read(it, &at[BUDGET], &mut faults));
    let reason = object
        .get(REASON)
        .and_then(|it| fields::text(it, &at[REASON], Blank::Allowed, 1_000, &mut faults));
    let (Some(dispatch_id), Some(action), 0) = (dispatch_id, action, faults.count()) else {
        return Err(finish(faults));
    };
    let (description, reason) = (description.map(str::to_owned), reason.map(str::to_owned));
    Ok(ControlRequest {
        dispatch_id,
        action,
        task_ids,
        task_id,
        max_workers,
        input_data,
        description,
        budget,
        reason,
    })
}

/// Checks a task that is told something else as its document would be; `others` are all other
/// tasks of that document. Paths of faults begin at the task. Costs O(document).
pub fn check_replacement(
    task: TaskSpec,
    others: Vec<TaskSpec>,
    rules: &Rules<'_>,
) -> Result<TaskSpec, Refusal> {
    let n_edges = others.iter().map(|it| it.dependencies.len()).sum::<usize>();
    let mut limits = rules.limits.clone();
    limits.tasks_max = limits.tasks_max.max(others.len() + 1);
    limits.edges_max = limits.edges_max.max(n_edges + task.dependencies.len());
    let rules = Rules { limits, paths: rules.paths, agents: rules.agents, checks: rules.checks };
    let as_given = task.clone();
    // The first of a document's tasks comes first among its faults; those of the others stay as
    // they were when they were let in. What they stand for may be there already, under ids that no
    // caller may give.
    let one = |it| TaskSpec { for_each: None, repeat: None, ..it };
    let tasks = std::iter::once(task).chain(others.into_iter().map(one)).collect();
    match check_specs(tasks, DispatchConfig::default(), &rules) {
        Ok(mut checked) => Ok(checked.tasks.swap_remove(0)),
        Err(refusal) => refusal.within("/tasks/0", "").map_or(Ok(as_given), Err),
    }
}

/// The fields that an action needs and may have are there, and no others.
fn check_fields(action: ControlAction, object: &Object<'_, '_, 9>, faults: &mut Faults) {
    let root = Place::ROOT;
    let (taken, hint): (&[usize], _) = match action {
        ControlAction::Pause => (&[TASK_IDS], "pause takes task_ids and reason"),
        ControlAction::Resume => (&[TASK_IDS], "resume takes task_ids and reason"),
        ControlAction::SetMaxWorkers => {
            object.require(MAX_WORKERS, &root, "say how many", faults);
            (&[MAX_WORKERS], "set_max_workers takes max_workers and reason")
        }
        ControlAction::SetBudget => {
            object.require(BUDGET, &root, "say which limits change", faults);
            (&[BUDGET], "set_budget takes budget and reason")
        }
        ControlAction::ReplaceInput => {
            object.require(TASK_ID, &root, "name the task", faults);
            if object.get(DESCRIPTION).is_none() {
                let hint = "give the task's whole new input_data, or a description";
                object.require(INPUT_DATA, &root, hint, faults);
            }
            let hint = "replace_input takes task_id, input_data, description and reason";
            (&[TASK_ID, INPUT_DATA, DESCRIPTION], hint)
        }
    };
    for field in (TASK_IDS..REASON).filter(|it| !taken.contains(it)) {
        if object.get(field).is_some() {
            let at = root.key(CONTROL.names[field]);
            let what = format_args!("is nothing that action {:?} takes", action.as_str());
            faults.add(|| at.fault(ErrorCode::UnknownField, what, hint));
        }
    }
}

fn read_object(json: &Json<'_>, place: &Place<'_>, faults: &mut Faults) -> Option<InputData> {
    let Json::Object(entries) = json else {
        fields::wrong_type(json, "an object", place, faults);
        return None;
    };
    Some(json::to_map(entries).into())
}

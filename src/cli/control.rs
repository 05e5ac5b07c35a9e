//! `pause`, `resume`, `workers`, `budget`, `steer`: change how a dispatch goes on, anywhere.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    args::{BudgetArguments, PauseArguments, SteerArguments, WorkersArguments},
    expand::{Places, expand},
    output::{Exit, Outcome, print_json, refuse},
    source,
};
use crate::{
    model::{
        BudgetSpec, ControlAction, ControlRequest, DispatchId, OnExceeded, Refusal,
        json::{self, Json},
    },
    runtime::DispatcherHandle,
};

/// Pauses or resumes a dispatch or tasks of it, and prints the result.
pub async fn pause(
    handle: &DispatcherHandle,
    action: ControlAction,
    PauseArguments { ids, reason }: PauseArguments,
) -> Outcome {
    let mut request = request(ids.id, action, reason);
    request.task_ids = (!ids.tasks.is_empty()).then_some(ids.tasks);
    ask(handle, request).await
}

/// Lets another number of tasks run at once, and prints the result.
pub async fn workers(handle: &DispatcherHandle, arguments: WorkersArguments) -> Outcome {
    let WorkersArguments { id, max_workers, reason } = arguments;
    let mut request = request(id, ControlAction::SetMaxWorkers, reason);
    request.max_workers = Some(max_workers);
    ask(handle, request).await
}

/// Changes limits of the budget, and prints the result.
pub async fn budget(handle: &DispatcherHandle, arguments: BudgetArguments) -> Outcome {
    let BudgetArguments { id, tokens, cost_usd, wall_seconds, tasks, on_exceeded, reason } =
        arguments;
    let on_exceeded = on_exceeded.map(OnExceeded::from);
    let mut request = request(id, ControlAction::SetBudget, reason);
    request.budget = Some(BudgetSpec { tokens, cost_usd, wall_seconds, tasks, on_exceeded });
    ask(handle, request).await
}

/// Tells a task that has not started something else, and prints the result.
pub async fn steer(
    handle: &DispatcherHandle,
    arguments: SteerArguments,
    (workspace, bytes_max): (&Path, u64),
) -> Outcome {
    let SteerArguments { id, task, input, description, reason } = arguments;
    let mut request = request(id, ControlAction::ReplaceInput, reason);
    request.task_id = Some(task);
    request.description = description;
    if let Some(source) = input {
        let text = source::read(&source, bytes_max);
        match text.and_then(|it| Ok(json::read(&it)?.to_value())) {
            Ok(value) => return ask_with(handle, request, input_of(&value, workspace)).await,
            Err(refusal) => return Ok(refuse(&refusal)),
        }
    }
    ask(handle, request).await
}

async fn ask(handle: &DispatcherHandle, request: ControlRequest) -> Outcome {
    let value = serde_json::to_value(&request).unwrap_or_default();
    tell(handle, value).await
}

async fn ask_with(handle: &DispatcherHandle, request: ControlRequest, input: Value) -> Outcome {
    let mut value = serde_json::to_value(&request).unwrap_or_default();
    value["input_data"] = input;
    tell(handle, value).await
}

/// The shell's words are checked as the tool's arguments are.
async fn tell(handle: &DispatcherHandle, arguments: Value) -> Outcome {
    let read =
        |it| -> Result<ControlRequest, Refusal> { handle.check_control(&Json::from_value(it)?) };
    let answer = match read(&arguments) {
        Ok(request) => handle.control(request).await,
        Err(refusal) => Err(refusal),
    };
    match answer {
        Ok(result) => {
            print_json(&result)?;
            Ok(Exit::Success)
        }
        Err(refusal) => Ok(refuse(&refusal)),
    }
}

/// The input with its places put in, as in a document.
fn input_of(input: &Value, workspace: &Path) -> Value {
    let mut document = Value::Object(Map::new());
    document["tasks"] = Value::Array(vec![serde_json::json!({ "input_data": input })]);
    if let Some(places) = Places::of(workspace) {
        expand(&mut document, &places);
    }
    document["tasks"][0]["input_data"].take()
}

fn request(
    dispatch_id: DispatchId,
    action: ControlAction,
    reason: Option<String>,
) -> ControlRequest {
    ControlRequest {
        budget: None,
        dispatch_id,
        action,
        task_ids: None,
        task_id: None,
        max_workers: None,
        input_data: None,
        description: None,
        reason,
    }
}

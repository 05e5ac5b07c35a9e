//! `approve`: decides on a task that waits for an approval, wherever its dispatch runs.

use super::{
    args::ApproveArguments,
    output::{Exit, Outcome, print_json, refuse},
};
use crate::{model::ApproveRequest, runtime::DispatcherHandle};

/// Decides, waits until that is durable, and prints the result.
pub async fn approve(handle: &DispatcherHandle, arguments: ApproveArguments) -> Outcome {
    let ApproveArguments { id, task, decision, note } = arguments;
    let request = ApproveRequest { dispatch_id: id, task_id: task, decision, note };
    match handle.approve(request).await {
        Ok(result) => {
            print_json(&result)?;
            Ok(Exit::Success)
        }
        Err(refusal) => Ok(refuse(&refusal)),
    }
}

//! `cancel`: gives up a dispatch or some of its tasks, wherever it runs.

use super::{
    IdArguments,
    output::{Exit, Outcome, print_json, refuse},
};
use crate::{model::CancelRequest, runtime::DispatcherHandle};

/// Cancels, waits until it took effect, and prints the result.
pub async fn cancel(handle: &DispatcherHandle, ids: IdArguments, reason: String) -> Outcome {
    let IdArguments { id, tasks } = ids;
    let request = CancelRequest {
        dispatch_id: id,
        task_ids: (!tasks.is_empty()).then_some(tasks),
        reason: Some(reason),
    };
    match handle.cancel(request).await {
        Ok(result) => {
            print_json(&result)?;
            Ok(Exit::Success)
        }
        Err(refusal) => Ok(refuse(&refusal)),
    }
}

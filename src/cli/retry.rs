//! `retry`: runs again what did not succeed, in this process.

use super::{
    IdArguments,
    output::{Outcome, refuse},
    run::see_through,
};
use crate::{model::RetryRequest, plan::RetryCall, runtime::DispatcherHandle};

/// Runs the retry to its end and prints its result.
pub async fn retry(
    handle: &DispatcherHandle,
    ids: IdArguments,
    interrupted: impl Future<Output = ()>,
) -> Outcome {
    let IdArguments { id, tasks } = ids;
    let request = RetryRequest {
        dispatch_id: id,
        task_ids: (!tasks.is_empty()).then_some(tasks),
        overrides: None,
        budget: None,
        wait: None,
        wait_ms: None,
    };
    match handle.retry(RetryCall { request, wait_ms: 0 }, None).await {
        Ok(ticket) => see_through(handle, ticket.dispatch, interrupted).await,
        Err(refusal) => Ok(refuse(&refusal)),
    }
}

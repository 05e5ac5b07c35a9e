//! `result`: what became of a dispatch.

use std::time::Duration;

use super::output::{Exit, Outcome, print, print_json, refuse};
use crate::{
    model::{DispatchId, View},
    runtime::DispatcherHandle,
};

/// Prints the result of a dispatch, after waiting for its end if that was asked for.
pub async fn result(
    handle: &DispatcherHandle,
    dispatch: DispatchId,
    wait: Duration,
    view: View,
) -> Outcome {
    if let Err(refusal) = handle.wait(dispatch, wait).await {
        return Ok(refuse(&refusal));
    }
    match handle.whole_result(dispatch, view).await {
        Err(refusal) => Ok(refuse(&refusal)),
        Ok(result) => {
            match &result.markdown {
                Some(markdown) => print(markdown)?,
                None => print_json(&result)?,
            }
            Ok(Exit::from(result.status))
        }
    }
}

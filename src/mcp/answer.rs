//! Tool results: the same JSON as text and as structured content, because clients show one or the
//! other.

use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
use serde::Serialize;
use serde_json::Value;

use super::call::Outcome;
use crate::model::Refusal;

/// What a tool answers, or why it refuses.
pub(super) fn answer<T: Serialize>(outcome: Result<T, Refusal>) -> CallToolResult {
    match outcome {
        Ok(value) => match serde_json::to_value(value) {
            Ok(json) => in_both(json, CallToolResult::success),
            Err(error) => CallToolResult::error(vec![ContentBlock::text(error.to_string())]),
        },
        Err(refusal) => refused(&refusal),
    }
}

/// What a tool that waits comes to, or why it refuses.
pub(super) fn respond(outcome: Result<Outcome, Refusal>) -> CallToolResponse {
    match outcome {
        Ok(Outcome::Result(result)) => answer(Ok(result)).into(),
        Ok(Outcome::Task(task)) => task.into(),
        Ok(Outcome::Asks(questions)) => questions.into(),
        Err(refusal) => refused(&refusal).into(),
    }
}

/// A refusal as a tool result, so that the model sees code and hint.
pub(super) fn refused(refusal: &Refusal) -> CallToolResult {
    let json = serde_json::to_value(refusal.to_body()).unwrap_or_default();
    in_both(json, CallToolResult::error)
}

fn in_both(json: Value, make: fn(Vec<ContentBlock>) -> CallToolResult) -> CallToolResult {
    let mut result = make(vec![ContentBlock::text(json.to_string())]);
    result.structured_content = Some(json);
    result
}

//! Tool results: the same JSON as text and as structured content, because clients show one or the
//! other.

use rmcp::model::{CallToolResult, ContentBlock};
use serde::Serialize;
use serde_json::Value;

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

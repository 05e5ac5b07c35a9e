//! Tool results: the same JSON as text and as structured content, because clients show one or the
//! other.

use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, MetaObject, ProtocolVersion, Resource,
};
use serde::Serialize;
use serde_json::Value;

use super::{call::Outcome, resources::Linked};
use crate::model::{Refusal, TraceContext};

/// The longest answer, in characters of what stands in its content.
const ANSWER_CHARS_MAX: usize = 40_000;

/// What a tool answers, or why it refuses. Behind the text come links to what it leaves out, as
/// far as there is room for them.
pub(super) fn answer<T: Serialize + Linked>(outcome: Result<T, Refusal>) -> CallToolResult {
    let value = match outcome {
        Ok(value) => value,
        Err(refusal) => return refused(&refusal),
    };
    let (links, trace) = (value.links(), value.trace().cloned());
    match serde_json::to_value(value) {
        Ok(json) => {
            let mut result = in_both(json, CallToolResult::success);
            link(&mut result.content, links);
            result.meta = trace.map(in_meta);
            result
        }
        Err(error) => CallToolResult::error(vec![ContentBlock::text(error.to_string())]),
    }
}

/// Without what the revision does not know: links came with 2025-06-18.
pub(super) fn as_understood(
    mut answer: CallToolResponse,
    version: Option<&ProtocolVersion>,
) -> CallToolResponse {
    if let CallToolResponse::Complete(answer) = &mut answer
        && version.is_none_or(|it| *it < ProtocolVersion::V_2025_06_18)
    {
        answer.content.retain(|it| it.as_resource_link().is_none());
    }
    answer
}

/// A trace as every message says it.
fn in_meta(trace: TraceContext) -> MetaObject {
    let mut meta = MetaObject::default();
    meta.insert(TraceContext::TRACEPARENT.to_owned(), trace.traceparent().into());
    if let Some(state) = trace.state {
        meta.insert(TraceContext::TRACESTATE.to_owned(), (*state).into());
    }
    meta
}

fn link(content: &mut Vec<ContentBlock>, links: Vec<Resource>) {
    let chars = |it: &ContentBlock| match it.as_text() {
        Some(text) => text.text.chars().count(),
        None => serde_json::to_string(it).map_or(usize::MAX, |it| it.chars().count()),
    };
    let mut chars_left = ANSWER_CHARS_MAX.saturating_sub(content.iter().map(chars).sum());
    for block in links.into_iter().map(ContentBlock::resource_link) {
        let Some(left) = chars_left.checked_sub(chars(&block)) else { return };
        chars_left = left;
        content.push(block);
    }
}

/// What a tool that waits comes to, or why it refuses.
pub(super) fn respond(outcome: Result<Outcome, Refusal>) -> CallToolResponse {
    match outcome {
        Ok(Outcome::Result(result)) => answer(Ok(*result)).into(),
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

//! One call of an upstream's tool for an attempt: said whose it is, and noted in the trace.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::{
    model::{Failure, FailureCode},
    ports::AttemptCall,
    upstream::{CallMeta, Upstream, UpstreamError},
};

/// Calls `tool` on behalf of the attempt, within `limit`; the attempt's trace hears of it.
pub(super) async fn call_tool(
    upstream: &Upstream,
    tool: &str,
    arguments: Map<String, Value>,
    attempt: &AttemptCall,
    limit: Duration,
) -> Result<Value, UpstreamError> {
    let meta = CallMeta {
        key: key(attempt),
        attempt: attempt.attempt,
        traceparent: None,
        heartbeat: attempt.heartbeat.clone(),
    };
    let outcome = upstream.call(tool, arguments, meta, limit, &attempt.cancelled).await;
    if attempt.calls.send(outcome.record).is_err() {
        tracing::trace!(tool, "nobody notes the call");
    }
    outcome.result
}

/// What every call for the task says it is for, on each attempt: `<dispatch_id>/<task_id>`.
pub(super) fn key(attempt: &AttemptCall) -> String {
    format!("{}/{}", attempt.dispatch_id, attempt.task_id)
}

/// How an attempt ends that was told to.
pub(super) fn cancelled() -> Failure {
    Failure::new(FailureCode::Cancelled, "the attempt was cancelled")
}

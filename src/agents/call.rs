//! One call of an upstream's tool for an attempt: said whose it is, and noted in the trace.

use std::{ffi::OsString, time::Duration};

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    model::{Failure, FailureCode, SpanId, TraceContext},
    ports::AttemptCall,
    upstream::{CallMeta, Upstream, UpstreamError},
};

/// What one run of a program hands on of the trace of its attempt.
#[derive(Clone, Debug, Default)]
pub(super) struct Traced {
    pub(super) context: Option<TraceContext>,
    /// The span that the run is, where this program makes spans.
    pub(super) span_id: Option<SpanId>,
}

impl Traced {
    /// Of a new run for the attempt.
    pub(super) fn new(attempt: &AttemptCall) -> Self {
        let Some(lineage) = &attempt.trace else { return Self::default() };
        let (context, span_id) = lineage.of_call(SpanId::new(&Uuid::new_v4().as_bytes()[8..]));
        Self { context: Some(context), span_id }
    }

    /// The variables by which a program that is started knows the trace.
    pub(super) fn variables(&self) -> impl Iterator<Item = (String, OsString)> + use<> {
        let parent = self.context.as_ref().map(TraceContext::traceparent);
        let state = self.context.as_ref().and_then(|it| it.state.as_deref().map(str::to_owned));
        let named = |name: &str, value: Option<String>| Some((name.to_owned(), value?.into()));
        [
            named(TraceContext::TRACEPARENT_VARIABLE, parent),
            named(TraceContext::TRACESTATE_VARIABLE, state),
        ]
        .into_iter()
        .flatten()
    }
}

/// Calls `tool` on behalf of the attempt, within `limit`; the attempt's trace hears of it.
pub(super) async fn call_tool(
    upstream: &Upstream,
    tool: &str,
    arguments: Map<String, Value>,
    attempt: &AttemptCall,
    limit: Duration,
) -> Result<Value, UpstreamError> {
    let meta = CallMeta {
        heartbeat: attempt.heartbeat.clone(),
        ..CallMeta::new(key(attempt), attempt.attempt, attempt.trace.as_ref())
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

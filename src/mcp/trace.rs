//! The trace that a call belongs to: `_meta` says it, or the header of its HTTP request.

use axum::http;
use rmcp::{RoleServer, service::RequestContext};

use crate::model::TraceContext;

/// What the caller hands on of its trace. What is no trace context counts as none.
pub(super) fn trace(context: &RequestContext<RoleServer>) -> Option<TraceContext> {
    let (parent, state) = (TraceContext::TRACEPARENT, TraceContext::TRACESTATE);
    let of_meta = |name: &str| context.meta.get(name)?.as_str();
    if let Some(traceparent) = of_meta(parent) {
        return TraceContext::read(traceparent, of_meta(state));
    }
    let headers = &context.extensions.get::<http::request::Parts>()?.headers;
    let of_header = |name: &str| headers.get(name)?.to_str().ok();
    TraceContext::read(of_header(parent)?, of_header(state))
}

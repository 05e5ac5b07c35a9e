//! `/health`: whether this server is up, what it is, and how its upstreams stand.

use std::sync::Arc;

use axum::{Router, response::IntoResponse, routing::get};
use serde_json::json;

use crate::{model::UpstreamStatus, runtime::DispatcherHandle};

/// Says how the upstreams stand.
pub type UpstreamStates = Arc<dyn Fn() -> Vec<UpstreamStatus> + Send + Sync>;

/// The routes of this face.
pub fn router(handle: DispatcherHandle, upstreams: UpstreamStates) -> Router {
    let answer = move || std::future::ready(health(&handle, &upstreams()));
    Router::new().route("/health", get(answer))
}

/// An upstream that is down leaves this server healthy: others go on.
fn health(handle: &DispatcherHandle, upstreams: &[UpstreamStatus]) -> impl IntoResponse + use<> {
    let agents: Vec<_> = handle.agents().map(ToString::to_string).collect();
    let body = json!({
        "status": "healthy",
        "version": env!("CARGO_PKG_VERSION"),
        "agents_available": agents,
        "upstreams": upstreams,
    });
    ([("content-type", "application/json")], body.to_string())
}

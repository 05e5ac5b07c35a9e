//! `/health`: whether this server is up, and what it is.

use axum::{Router, response::IntoResponse, routing::get};
use serde_json::json;

use crate::runtime::DispatcherHandle;

/// The routes of this face.
pub fn router(handle: DispatcherHandle) -> Router {
    Router::new().route("/health", get(move || std::future::ready(health(&handle))))
}

fn health(handle: &DispatcherHandle) -> impl IntoResponse + use<> {
    let agents: Vec<_> = handle.agents().map(ToString::to_string).collect();
    let body = json!({
        "status": "healthy",
        "version": env!("CARGO_PKG_VERSION"),
        "agents_available": agents,
    });
    ([("content-type", "application/json")], body.to_string())
}

//! What monitors may ask, and what they are answered from.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::future::BoxFuture;
use serde::Serialize;

use super::{health::Health, metrics};
use crate::{model::UpstreamStatus, runtime::DispatcherHandle};

/// What the face asks of the rest of the program.
pub trait Monitored: Send + Sync + 'static {
    /// How the upstreams stand, as far as calls have shown.
    fn upstreams(&self) -> Vec<UpstreamStatus>;

    /// Whether the Archon that serves the built-in agents can be called.
    fn is_connected(&self) -> BoxFuture<'_, bool>;

    /// How the store stands.
    fn store(&self) -> StoreStanding;

    /// How long the program has been up.
    fn uptime(&self) -> Duration;

    /// What is counted, in the text format of Prometheus.
    fn metrics(&self) -> String;
}

/// How the store stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreStanding {
    /// `ok`, or `failing` since the last commit failed.
    pub state: &'static str,
    /// What kind of store it is.
    pub kind: &'static str,
    /// The version of what stands in it.
    pub schema_version: i64,
    /// Dispatches of this process that have not ended.
    pub dispatches_open: u64,
}

/// The routes of this face, `/health` and `/metrics`. Who may ask, the transport before them
/// decides; counts are of everybody's work, and so for callers that see all.
pub fn router(handle: DispatcherHandle, monitored: Arc<dyn Monitored>) -> Router {
    let health = Arc::new(Health::new(handle, Arc::clone(&monitored)));
    let health = move || {
        let health = Arc::clone(&health);
        async move { health.answer().await }
    };
    let metrics = move |request: Request| {
        let caller = request.extensions().get().cloned();
        std::future::ready(metrics::metrics(caller.as_ref(), &*monitored))
    };
    Router::new().route("/health", get(health)).route("/metrics", get(metrics))
}

/// A body of a media type that a browser must not take for another one.
pub(super) fn answer(status: u16, content_type: &'static str, body: String) -> Response {
    let headers = [("content-type", content_type), ("cache-control", "no-store")];
    let status = axum::http::StatusCode::from_u16(status);
    (status.unwrap_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR), headers, body).into_response()
}

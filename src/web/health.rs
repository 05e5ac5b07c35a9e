//! `/health`: whether this server can do what it is for, what it is, and how its upstreams stand.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use serde_json::json;
use tokio::sync::Semaphore;

use super::monitor::{Monitored, StoreStanding, answer};
use crate::runtime::DispatcherHandle;

/// How long is waited at most to find out something that is not known yet.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Answers `/health`.
pub(super) struct Health {
    handle: DispatcherHandle,
    monitored: Arc<dyn Monitored>,
    /// The place of whoever tries the store.
    trying: Semaphore,
}

impl Health {
    pub(super) fn new(handle: DispatcherHandle, monitored: Arc<dyn Monitored>) -> Self {
        Self { handle, monitored, trying: Semaphore::new(1) }
    }

    /// Says `healthy`, or `degraded` with status 503 while the store cannot write: then nothing new
    /// is accepted. An upstream that is down leaves this server healthy: others go on.
    pub(super) async fn answer(&self) -> Response {
        let store = self.store().await;
        let (status, code) = if store.state == "ok" { ("healthy", 200) } else { ("degraded", 503) };
        let connected = tokio::time::timeout(LOOK_MAX, self.monitored.is_connected()).await;
        let agents: Vec<_> = self.handle.agents().map(ToString::to_string).collect();
        let body = json!({
            "status": status,
            "version": env!("CARGO_PKG_VERSION"),
            "mcp_connected": connected.unwrap_or(false),
            "agents_available": agents,
            "store": store,
            "upstreams": self.monitored.upstreams(),
            "uptime_seconds": self.monitored.uptime().as_secs(),
        });
        answer(code, "application/json", body.to_string())
    }

    /// How the store stands. Where it failed and nobody writes, nobody would find out that it works
    /// again: then it is tried.
    async fn store(&self) -> StoreStanding {
        let store = self.monitored.store();
        if store.state == "ok" || store.dispatches_open > 0 {
            return store;
        }
        if let Ok(_place) = self.trying.try_acquire() {
            // An answer that takes too long is none.
            let _late = tokio::time::timeout(LOOK_MAX, self.handle.try_store()).await;
        }
        self.monitored.store()
    }
}

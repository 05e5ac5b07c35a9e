//! `/health`: whether this server can do what it is for, what it is, and how its upstreams stand.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use serde_json::json;
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, timeout},
};

use super::monitor::{Monitored, StoreStanding, answer};
use crate::{model::AgentName, runtime::DispatcherHandle};

/// How long is waited at most to find out something that is not known yet.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// How long it counts which agents are available.
const AGENTS_FOR: Duration = Duration::from_secs(5);

/// Answers `/health`.
pub(super) struct Health {
    handle: DispatcherHandle,
    monitored: Arc<dyn Monitored>,
    /// The place of whoever tries the store.
    trying: Semaphore,
    /// The agents that were available, and when that was found out. Held while somebody finds out.
    available: Mutex<Option<(Instant, Vec<AgentName>)>>,
}

impl Health {
    pub(super) fn new(handle: DispatcherHandle, monitored: Arc<dyn Monitored>) -> Self {
        Self { handle, monitored, trying: Semaphore::new(1), available: Mutex::default() }
    }

    /// Says `healthy`, or `degraded` with status 503 while the store cannot write: then nothing new
    /// is accepted. An upstream that is down leaves this server healthy: others go on.
    pub(super) async fn answer(&self) -> Response {
        let store = self.store().await;
        let (status, code) = if store.state == "ok" { ("healthy", 200) } else { ("degraded", 503) };
        let (connected, agents) = tokio::join!(
            timeout(LOOK_MAX, self.monitored.is_connected()),
            timeout(LOOK_MAX, self.available_agents()),
        );
        let body = json!({
            "status": status,
            "version": env!("CARGO_PKG_VERSION"),
            "mcp_connected": connected.unwrap_or(false),
            "agents_available": agents.unwrap_or_default(),
            "store": store,
            "upstreams": self.monitored.upstreams(),
            "uptime_seconds": self.monitored.uptime().as_secs(),
        });
        answer(code, "application/json", body.to_string())
    }

    /// The agents that somebody serves; none that could not be found out in time.
    async fn available_agents(&self) -> Vec<AgentName> {
        let mut available = self.available.lock().await;
        if let Some((at, agents)) = &*available
            && at.elapsed() < AGENTS_FOR
        {
            return agents.clone();
        }
        let reports = self.handle.agent_reports().await;
        let agents: Vec<_> =
            reports.into_iter().filter(|it| it.is_available).map(|it| it.name).collect();
        *available = Some((Instant::now(), agents.clone()));
        agents
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
            let _late = timeout(LOOK_MAX, self.handle.try_store()).await;
        }
        self.monitored.store()
    }
}

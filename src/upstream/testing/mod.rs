//! Upstreams for tests: a well-behaved server and one that misbehaves as told.

mod rogue;
mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    rogue::{Reply, Request, Rogue, Then},
    server::{Call, HttpHost, TestServer},
};
use super::{CallMeta, CallOutcome, Era, Upstream, UpstreamSettings, UpstreamTransport};
use crate::{
    model::{Attempt, Millis},
    ports::Clock,
};

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub(crate) struct StillClock(AtomicU64);

impl StillClock {
    pub(crate) fn advance(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for StillClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, _at: Millis) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Settings for an upstream at `url` that give up only when the test hangs.
pub(crate) fn http_settings(url: &str) -> UpstreamSettings {
    let transport = UpstreamTransport::http(url);
    let settings = UpstreamSettings::new("archon", transport, Era::Legacy);
    UpstreamSettings { call_timeout: Duration::from_secs(20), ..settings }
}

/// An upstream at `url`.
pub(crate) fn http_upstream(url: &str) -> Arc<Upstream> {
    Upstream::new(http_settings(url), Arc::new(StillClock::default()))
}

/// An upstream in this process.
pub(crate) fn memory_upstream(server: TestServer, protocol: Era) -> Arc<Upstream> {
    let transport = UpstreamTransport::InMemory { connect: server.connector() };
    Upstream::new(
        UpstreamSettings::new("embedded", transport, protocol),
        Arc::new(StillClock::default()),
    )
}

/// What a test's calls carry.
pub(crate) fn meta() -> CallMeta {
    CallMeta {
        key: "d/t".to_owned(),
        attempt: Attempt(2),
        traceparent: None,
        heartbeat: crate::ports::Heartbeat::default(),
    }
}

/// The fields of an object.
pub(crate) fn fields(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("not an object: {value}") };
    map
}

/// Calls `tool` with one argument; nobody cancels.
pub(crate) async fn call(upstream: &Upstream, tool: &str) -> CallOutcome {
    let (limit, never) = (Duration::from_secs(20), CancellationToken::new());
    upstream.call(tool, fields(json!({ "n": 1 })), meta(), limit, &never).await
}

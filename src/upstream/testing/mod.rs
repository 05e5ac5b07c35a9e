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
    server::{Call, HttpHost, SseHost, TestServer},
};
use super::{CallMeta, CallOutcome, Era, Supply, Upstream, UpstreamSettings, UpstreamTransport};
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

/// An upstream of the older transport at `url`.
pub(crate) fn sse_upstream(url: &str) -> Arc<Upstream> {
    let transport = UpstreamTransport::sse(url);
    upstream(UpstreamSettings { transport, ..http_settings(url) })
}

/// A client with these settings.
pub(crate) fn upstream(settings: UpstreamSettings) -> Arc<Upstream> {
    Upstream::new(settings, Arc::new(StillClock::default()))
}

/// Settings for a child process: a shell that reads `script`.
pub(crate) fn child_settings(script: &str) -> UpstreamSettings {
    let path = [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())];
    let transport = UpstreamTransport::Stdio {
        command: "sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: Supply::fixed(path.into()),
    };
    UpstreamSettings { transport, ..http_settings("") }
}

/// An MCP server as a shell script; it answers `tools/call` by `on_call`, which has the request in
/// `$line` and its id in `$id`, and says `answer JSON`.
pub(crate) fn child_script(on_call: &str) -> String {
    let hello = r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}"#;
    let tools = r#"{"tools":[{"name":"coder","inputSchema":{"type":"object"}}]}"#;
    format!(
        r#"
answer() {{ printf '{{"jsonrpc":"2.0","id":%s,"result":%s}}\n' "$id" "$1"; }}
say() {{ answer '{{"content":[{{"type":"text","text":"'"$1"'"}}]}}'; }}
while IFS= read -r line; do
  id=${{line#*\"id\":}}; id=${{id%%,*}}
  case $line in
    *'"method":"initialize"'*) answer '{hello}' ;;
    *'"method":"tools/list"'*) answer '{tools}' ;;
    *'"method":"tools/call"'*) {on_call} ;;
  esac
done
"#
    )
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
        trace: None,
        span_id: None,
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

//! What this program adds to a call of an upstream over HTTP, beside a bare client of the same
//! library; and how long 64 calls of half a second take with 64 workers.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark times and prints"
)]

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, join_all};
use parallel_dispatch::{
    model::{Attempt, Millis},
    ports::{Clock, Heartbeat},
    transport::{HttpOptions, HttpServer},
    upstream::{CallMeta, Era, Upstream, UpstreamSettings, UpstreamTransport},
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::{
        StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

const ROUNDS: usize = 4_000;
const WORKERS: usize = 64;
const SLOW: Duration = Duration::from_millis(500);

type Failed = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Err("another TLS provider is there".into());
    }
    let server = tokio::runtime::Runtime::new()?;
    let any = ([127, 0, 0, 1], 0).into();
    let bound = server.block_on(HttpServer::bind(any, HttpOptions::default()))?;
    let address = bound.local_addr();
    server.spawn(bound.serve(|| Quick, axum::Router::new(), CancellationToken::new()));
    tokio::runtime::Runtime::new()?.block_on(measure(&address.to_string()))
}

async fn measure(address: &str) -> Result<(), Failed> {
    let url = format!("http://{address}/mcp");
    let http = reqwest::Client::builder().tcp_nodelay(true).no_proxy().tls_certs_only([]);
    let config = StreamableHttpClientTransportConfig::with_uri(&*url);
    let bare = StreamableHttpClientTransport::with_client(http.build()?, config);
    let bare = ().serve(bare).await?;
    let ours = [
        ("http", upstream(UpstreamTransport::http(&*url))),
        ("sse", upstream(UpstreamTransport::sse(format!("http://{address}/sse")))),
    ];
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..ROUNDS + 100 {
        let started = Instant::now();
        bare.call_tool(CallToolRequestParams::new("quick").with_arguments(arguments())).await?;
        let mut took = vec![started.elapsed()];
        for (_, upstream) in &ours {
            let started = Instant::now();
            call(upstream, "quick").await?;
            took.push(started.elapsed());
        }
        if round >= 100 {
            times.iter_mut().zip(took).for_each(|(times, took)| times.push(took));
        }
    }
    let [bare_times, http_times, sse_times] = times;
    report("one call, bare client over HTTP", bare_times);
    report("one call, upstream over HTTP", http_times);
    report("one call, upstream over HTTP+SSE", sse_times);
    for (name, upstream) in &ours {
        let started = Instant::now();
        for done in join_all((0..WORKERS).map(|_| call(upstream, "slow"))).await {
            done?;
        }
        let took = started.elapsed().as_millis();
        println!("{WORKERS} calls of {} ms over {name}: {took} ms", SLOW.as_millis());
        upstream.close().await;
    }
    Ok(())
}

fn upstream(transport: UpstreamTransport) -> Arc<Upstream> {
    Upstream::new(UpstreamSettings::new("bench", transport, Era::Legacy), Arc::new(Wall::start()))
}

async fn call(upstream: &Upstream, tool: &str) -> Result<Value, Failed> {
    let meta = CallMeta {
        key: "dispatch/task".to_owned(),
        attempt: Attempt(1),
        traceparent: None,
        heartbeat: Heartbeat::default(),
    };
    let (limit, never) = (Duration::from_secs(20), CancellationToken::new());
    Ok(upstream.call(tool, arguments(), meta, limit, &never).await.result?)
}

fn arguments() -> Map<String, Value> {
    let arguments = json!({ "task_id": "task", "description": "do nothing at all" });
    arguments.as_object().cloned().unwrap_or_default()
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    println!("{what}: p50 {} us, p99 {} us", at(50), at(99));
}

/// Answers at once, or after a while.
struct Quick;

impl ServerHandler for Quick {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(vec![Tool::new("quick", "", Map::new())]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if request.name == "slow" {
            tokio::time::sleep(SLOW).await;
        }
        Ok(CallToolResult::structured(json!({ "ok": true })).into())
    }
}

/// Milliseconds since the start.
#[derive(Debug)]
struct Wall(Instant);

impl Wall {
    fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Wall {
    fn now(&self) -> Millis {
        Millis(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()> {
        let wait = at.since(self.now());
        Box::pin(tokio::time::sleep(Duration::from_millis(wait.0)))
    }
}

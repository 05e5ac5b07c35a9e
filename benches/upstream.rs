//! What this program adds to a call of an upstream over HTTP, beside a bare client of the same
//! library; and how long 64 calls of half a second take with 64 workers.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark times and prints"
)]

#[path = "support/quick.rs"]
mod quick;

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use parallel_dispatch::{
    model::Attempt,
    ports::Heartbeat,
    transport::{HttpOptions, HttpServer},
    upstream::{CallMeta, Era, Upstream, UpstreamSettings, UpstreamTransport},
};
use rmcp::{
    ServiceExt as _,
    model::CallToolRequestParams,
    transport::{
        StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use self::quick::{Quick, SLOW, Wall};

const ROUNDS: usize = 4_000;
const WORKERS: usize = 64;

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
        trace: None,
        span_id: None,
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

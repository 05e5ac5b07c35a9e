//! rmcp's own client, in every protocol revision, over stdio and streamable HTTP.

use std::sync::Arc;

use parallel_dispatch::transport::{HttpOptions, serve_lines};
use rmcp::{
    ClientLifecycleMode, RoleClient,
    model::{
        CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation, ProtocolVersion,
    },
    serve_client, serve_client_with_lifecycle,
    service::{Peer, RunningService},
    transport::{
        StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    raw::{Server, http, within},
    toy::{Strings, Toy},
};

type Client = RunningService<RoleClient, ClientConfig>;

fn config(version: &ProtocolVersion) -> ClientConfig {
    let mut config =
        ClientConfig::new(ClientCapabilities::default(), Implementation::new("test", "1"));
    config.protocol_version = version.clone();
    config
}

fn old_versions() -> [ProtocolVersion; 4] {
    [
        ProtocolVersion::V_2024_11_05,
        ProtocolVersion::V_2025_03_26,
        ProtocolVersion::V_2025_06_18,
        ProtocolVersion::V_2025_11_25,
    ]
}

fn discover() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
}

fn over_http(server: &Server) -> StreamableHttpClientTransport<reqwest::Client> {
    let config = StreamableHttpClientTransportConfig::with_uri(server.url("/mcp"));
    StreamableHttpClientTransport::with_client(http(), config)
}

fn over_stdio() -> tokio::io::DuplexStream {
    let (theirs, ours) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(ours);
    let toy = Toy(Arc::<Strings>::default());
    tokio::spawn(serve_lines(toy, reader, writer, CancellationToken::new()));
    theirs
}

async fn use_tools(peer: &Peer<RoleClient>) {
    let tools = peer.list_all_tools().await.unwrap();
    assert_eq!(tools.len(), 2);
    let arguments = json!({"text": "größe\n"}).as_object().cloned().unwrap();
    let echo = CallToolRequestParams::new("echo").with_arguments(arguments);
    let result = peer.call_tool(echo).await.unwrap();
    assert_eq!(result.content[0].as_text().unwrap().text, "größe\n");
}

async fn check(client: Client, version: &ProtocolVersion) {
    assert_eq!(&client.peer_info().unwrap().protocol_version, version);
    within(Box::pin(use_tools(client.peer()))).await;
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn stdio_serves_every_revision_with_initialize() {
    for version in old_versions() {
        let client = within(Box::pin(serve_client(config(&version), over_stdio()))).await.unwrap();
        Box::pin(check(client, &version)).await;
    }
}

#[tokio::test]
async fn stdio_serves_the_revision_without_initialize() {
    let version = ProtocolVersion::V_2026_07_28;
    let opened = serve_client_with_lifecycle(config(&version), over_stdio(), discover());
    Box::pin(check(within(Box::pin(opened)).await.unwrap(), &version)).await;
}

#[tokio::test]
async fn e2e_http_serves_every_revision_with_initialize() {
    let server = Server::start(HttpOptions::default()).await;
    for version in old_versions() {
        let client =
            within(Box::pin(serve_client(config(&version), over_http(&server)))).await.unwrap();
        Box::pin(check(client, &version)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn e2e_http_serves_the_revision_without_initialize() {
    let server = Server::start(HttpOptions::default()).await;
    let version = ProtocolVersion::V_2026_07_28;
    let opened = serve_client_with_lifecycle(config(&version), over_http(&server), discover());
    Box::pin(check(within(Box::pin(opened)).await.unwrap(), &version)).await;
    server.stop().await;
}

//! A well-behaved MCP server for tests, in memory and over HTTP.

use std::sync::Arc;

use futures::{channel::mpsc, future::BoxFuture};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::{Peer, RequestContext},
    transport::{
        StreamableHttpServerConfig, StreamableHttpService,
        streamable_http_server::session::local::LocalSessionManager,
    },
};
use serde_json::{Map, Value};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    transport::{HttpOptions, HttpServer},
    upstream::Connect,
};

/// A call as the server sees it.
pub(crate) struct Call {
    pub(crate) tool: String,
    pub(crate) arguments: Map<String, Value>,
    pub(crate) meta: Map<String, Value>,
    pub(crate) cancelled: CancellationToken,
    pub(crate) peer: Peer<RoleServer>,
}

type Act = dyn Fn(Call) -> BoxFuture<'static, Result<CallToolResult, ErrorData>> + Send + Sync;

/// A server with the tools of its list, one a page, that all do the same.
#[derive(Clone)]
pub(crate) struct TestServer {
    /// Guards the list, which a test may change.
    tools: Arc<Mutex<Vec<Tool>>>,
    act: Arc<Act>,
}

impl TestServer {
    pub(crate) fn new<F>(tools: &[&str], act: impl Fn(Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<CallToolResult, ErrorData>> + Send + 'static,
    {
        Self::with_tools(tools.iter().map(|it| plain_tool(it)).collect(), act)
    }

    /// Like [`Self::new`], with tools that have schemas of their own.
    pub(crate) fn with_tools<F>(
        tools: Vec<Tool>,
        act: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<CallToolResult, ErrorData>> + Send + 'static,
    {
        let tools = Arc::new(Mutex::new(tools));
        Self { tools, act: Arc::new(move |call| Box::pin(act(call))) }
    }

    /// Has these tools from now on, in every session.
    pub(crate) fn set_tools(&self, tools: &[&str]) {
        *self.tools.lock() = tools.iter().map(|it| plain_tool(it)).collect();
    }

    /// Answers each call with its arguments and `_meta`.
    pub(crate) fn echo(tools: &[&str]) -> Self {
        Self::new(tools, |call| async move {
            let echo = serde_json::json!({
                "tool": call.tool, "arguments": call.arguments, "meta": call.meta
            });
            Ok(CallToolResult::structured(echo))
        })
    }

    /// Opens in-memory connections, each with a session of its own.
    pub(crate) fn connector(self) -> Connect {
        Arc::new(move || {
            let (to_server, from_client) = mpsc::channel(64);
            let (to_client, from_server) = mpsc::channel(64);
            let server = self.clone();
            tokio::spawn(async move {
                if let Ok(running) = Box::pin(server.serve((to_client, from_client))).await {
                    running.waiting().await.unwrap();
                }
            });
            (to_server, from_server)
        })
    }
}

fn plain_tool(name: &str) -> Tool {
    let schema = serde_json::json!({ "properties": { "match_count": {} } });
    let schema = Arc::new(schema.as_object().cloned().unwrap());
    Tool::new(name.to_owned(), "a tool", schema)
}

impl ServerHandler for TestServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let call = Call {
            tool: request.name.into_owned(),
            arguments: request.arguments.unwrap_or_default(),
            meta: context.meta.0.0,
            cancelled: context.ct,
            peer: context.peer,
        };
        (self.act)(call).await.map(CallToolResponse::from)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let cursor = request.and_then(|it| it.cursor);
        let page: usize = cursor.map_or(0, |it| it.parse().unwrap());
        let all = self.tools.lock().clone();
        let tools = all.iter().skip(page).take(1).cloned().collect();
        let mut result = ListToolsResult::with_all_items(tools);
        result.next_cursor = (page + 1 < all.len()).then(|| (page + 1).to_string());
        Ok(result)
    }
}

/// Serves a [`TestServer`] on a port of its own; dropping it cuts every connection.
pub(crate) struct HttpHost {
    pub(crate) url: String,
    _connections: JoinSet<()>,
}

impl HttpHost {
    pub(crate) async fn start(server: TestServer) -> Self {
        Self::start_at(server, "127.0.0.1:0").await
    }

    pub(crate) async fn start_at(server: TestServer, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let sessions = Arc::new(LocalSessionManager::default());
        let config = StreamableHttpServerConfig::default();
        let service = StreamableHttpService::new(move || Ok(server.clone()), sessions, config);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                let service = TowerToHyperService::new(service.clone());
                let http = hyper::server::conn::http1::Builder::new();
                open.spawn(http.serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { url, _connections: connections }
    }
}

/// Serves a [`TestServer`] as this program serves itself, for the older transport; dropping it
/// cuts every connection.
pub(crate) struct SseHost {
    pub(crate) url: String,
    serving: JoinSet<()>,
}

impl SseHost {
    /// Cuts every connection, and lets the address go.
    pub(crate) async fn stop(mut self) {
        self.serving.shutdown().await;
    }

    pub(crate) async fn start(server: TestServer) -> Self {
        Self::start_at(server, "127.0.0.1:0").await
    }

    pub(crate) async fn start_at(server: TestServer, address: &str) -> Self {
        let bound = HttpServer::bind(address.parse().unwrap(), HttpOptions::default()).await;
        let bound = bound.unwrap();
        let url = format!("http://{}/sse", bound.local_addr());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let new_handler = move || server.clone();
            bound.serve(new_handler, axum::Router::new(), CancellationToken::new()).await.unwrap();
        });
        Self { url, serving }
    }
}

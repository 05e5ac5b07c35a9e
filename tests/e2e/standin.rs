//! An MCP server in the place of an Archon: it answers at once, fails, or waits for its release,
//! and remembers how it was called.

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use parallel_dispatch::transport::{HttpOptions, HttpServer};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::space::within;

/// A call as the stand-in saw it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) tool: String,
    pub(crate) arguments: Map<String, Value>,
    /// `{dispatch}/{task}`, the same on every attempt.
    pub(crate) key: String,
    pub(crate) attempt: usize,
    pub(crate) meta_keys: Vec<String>,
    pub(crate) traceparent: Option<String>,
}

/// The running stand-in; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) url: String,
    calls: watch::Receiver<Vec<Call>>,
    gate: Arc<Semaphore>,
    _stop: DropGuard,
}

/// Answers the tools `agent_coder` and `agent_debug_intelligence` at once, `failing` with an
/// error, `big` with much text, `costly` with 1,000 tokens for a quarter of a dollar, and `gate` when it is released.
#[derive(Clone, Debug)]
struct Archon {
    calls: watch::Sender<Vec<Call>>,
    gate: Arc<Semaphore>,
}

const TOOLS: [&str; 7] = [
    "agent_coder",
    "agent_debug_intelligence",
    "failing",
    "big",
    "costly",
    "gate",
    "search_code_examples",
];

impl StandIn {
    pub(crate) async fn start() -> Self {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let server = HttpServer::bind(any, HttpOptions::default()).await.unwrap();
        let url = format!("http://{}/mcp", server.local_addr());
        let (calls, gate) = (watch::Sender::new(Vec::new()), Arc::new(Semaphore::new(0)));
        let archon = Archon { calls, gate: Arc::clone(&gate) };
        let (calls, stop) = (archon.calls.subscribe(), CancellationToken::new());
        let until = stop.clone();
        tokio::spawn(server.serve(move || archon.clone(), Router::new(), until));
        Self { url, calls, gate, _stop: stop.drop_guard() }
    }

    /// All calls so far, in the order in which they came.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    /// How often a task was called so far.
    pub(crate) fn calls_of(&self, task: &str) -> Vec<Call> {
        let is_it = |it: &Call| it.key.ends_with(&format!("/{task}"));
        self.calls().into_iter().filter(is_it).collect()
    }

    /// Waits until the gate was called so often, all in all.
    pub(crate) async fn at_gate(&self, n_calls: usize) {
        let is_there = |it: &Vec<Call>| it.iter().filter(|it| it.tool == "gate").count() >= n_calls;
        drop(within(self.calls.clone().wait_for(is_there)).await.unwrap());
    }

    /// Lets `n_calls` of the gate end, now or when they come.
    pub(crate) fn release(&self, n_calls: usize) {
        self.gate.add_permits(n_calls);
    }
}

impl ServerHandler for Archon {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({"type": "object"}).as_object().cloned().unwrap();
        let tool = |name| Tool::new(name, "a stand-in", schema.clone());
        Ok(ListToolsResult::with_all_items(TOOLS.map(tool).to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let call = seen(&request, &context);
        let answer = json!({ "tool": call.tool, "key": call.key, "attempt": call.attempt });
        self.calls.send_modify(|it| it.push(call));
        let result = match &*request.name {
            "failing" => CallToolResult::error(vec![ContentBlock::text("it cannot be done")]),
            "big" => CallToolResult::structured(json!({ "text": "\u{e9}".repeat(30_000) })),
            "costly" => CallToolResult::structured(json!({
                "usage": { "input_tokens": 900, "output_tokens": 100 }, "total_cost_usd": 0.25,
            })),
            "gate" => {
                tokio::select! {
                    permit = self.gate.acquire() => permit.unwrap().forget(),
                    () = context.ct.cancelled() => (),
                }
                CallToolResult::structured(answer)
            }
            _ => CallToolResult::structured(answer),
        };
        Ok(result.into())
    }
}

fn seen(request: &CallToolRequestParams, context: &RequestContext<RoleServer>) -> Call {
    let meta = &context.meta.0.0;
    let key = meta.get("parallel-dispatch/key").and_then(Value::as_str).unwrap_or_default();
    let attempt = meta.get("parallel-dispatch/attempt").and_then(Value::as_u64).unwrap_or(0);
    Call {
        tool: request.name.clone().into_owned(),
        arguments: request.arguments.clone().unwrap_or_default(),
        key: key.to_owned(),
        attempt: usize::try_from(attempt).unwrap(),
        meta_keys: meta.keys().cloned().collect(),
        traceparent: meta.get("traceparent").and_then(Value::as_str).map(str::to_owned),
    }
}

//! A small MCP server that can be held, watched and released.

use std::sync::Arc;

use parallel_dispatch::model::{Identity, Sees};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
        PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde_json::json;
use tokio::sync::Notify;

/// What a test sees of the toy, and how it steers it.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    /// A `slow` call began.
    pub(crate) started: Notify,
    /// Lets one `slow` call end.
    pub(crate) release: Notify,
    /// A `slow` call was cancelled.
    pub(crate) cancelled: Notify,
    /// A handler was dropped.
    pub(crate) dropped: Notify,
}

/// The server: `who` answers who calls, `echo` answers its text; `slow` reports progress and waits
/// for its release.
#[derive(Debug)]
pub(crate) struct Toy(pub(crate) Arc<Strings>);

impl Drop for Toy {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

impl ServerHandler for Toy {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({"type": "object"}).as_object().cloned().unwrap_or_default();
        let tool = |name: &'static str| Tool::new(name, "a toy", schema.clone());
        Ok(ListToolsResult::with_all_items(vec![tool("echo"), tool("slow")]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if request.name == "who" {
            return Ok(say(&who(&context)));
        }
        if request.name == "slow" {
            return self.wait(&context).await;
        }
        let text = request.arguments.unwrap_or_default().get("text").cloned().unwrap_or_default();
        Ok(say(text.as_str().unwrap_or_default()))
    }
}

impl Toy {
    async fn wait(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(token) = context.meta.get_progress_token() {
            let progress = ProgressNotificationParam::new(token, 1.0).with_message("waiting");
            context.peer.notify_progress(progress).await.unwrap();
        }
        self.0.started.notify_one();
        tokio::select! {
            () = self.0.release.notified() => Ok(say("released")),
            () = context.ct.cancelled() => {
                self.0.cancelled.notify_one();
                Err(ErrorData::internal_error("cancelled", None))
            }
        }
    }
}

/// The caller, as the transport says it; and no handler ever sees a token.
fn who(context: &RequestContext<RoleServer>) -> String {
    let parts = context.extensions.get::<axum::http::request::Parts>();
    assert!(parts.is_none_or(|it| !it.headers.contains_key("authorization")));
    let direct = context.extensions.get::<Identity>();
    let Some(caller) = direct.or_else(|| parts?.extensions.get()) else {
        return "nobody".to_owned();
    };
    let sees = if caller.sees() == Sees::All { "all" } else { "own" };
    format!("{caller} {sees}")
}

fn say(text: &str) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text)]).into()
}

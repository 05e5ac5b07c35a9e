//! The server handler: says what there is, and hands calls to the tools.

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, Implementation, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use tokio_util::sync::CancellationToken;

use super::{answer, catalog, tools};
use crate::{model::json::Json, runtime::DispatcherHandle};

/// One MCP session's view of the service; sessions share everything.
#[derive(Clone, Debug)]
pub struct DispatchServer {
    handle: DispatcherHandle,
    closing: CancellationToken,
}

impl DispatchServer {
    /// Serves `handle`. Calls that wait are answered soon after `closing`, with what is there then.
    pub fn new(handle: DispatcherHandle, closing: CancellationToken) -> Self {
        Self { handle, closing }
    }

    /// Cancelled when the server is about to end.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// The service behind the tools.
    pub(super) fn handle(&self) -> &DispatcherHandle {
        &self.handle
    }
}

impl ServerHandler for DispatchServer {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        let mut implementation = Implementation::from_build_env();
        env!("CARGO_PKG_NAME").clone_into(&mut implementation.name);
        env!("CARGO_PKG_VERSION").clone_into(&mut implementation.version);
        implementation.title = Some("Parallel Dispatch".to_owned());
        info.server_info = implementation;
        info.instructions = Some(catalog::INSTRUCTIONS.to_owned());
        info
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(catalog::tools().to_vec()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        catalog::tools().iter().find(|it| it.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let answer = match Json::from_map(&arguments) {
            Ok(args) => tools::call(self, &request.name, &args, &context).await?,
            Err(refusal) => answer::refused(&refusal),
        };
        Ok(answer.into())
    }
}

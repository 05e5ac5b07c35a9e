//! The server: answers `tools/list` and `tools/call`, and bounds what runs at once.

use std::sync::Arc;

use futures::channel::mpsc;
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientJsonRpcMessage,
        Implementation, JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities,
        ServerConfig, ServerJsonRpcMessage, Tool,
    },
    service::RequestContext,
    transport::IntoTransport,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{coder, debug, error::ArchonError, tools};
use crate::{confine::Workspaces, model::CoderInput};

/// How many calls work at once; more wait, and can be cancelled while they do.
const CALLS_MAX: usize = 64;
/// How many messages of either side may wait for the other.
const MESSAGES_MAX: usize = 64;

/// The client's end of a connection: where its messages go, and where the server's come from.
type ClientEnd = (mpsc::Sender<ClientJsonRpcMessage>, mpsc::Receiver<ServerJsonRpcMessage>);

/// An Archon in this process, for those who run none; cheap to clone.
#[derive(Clone, Debug)]
pub struct EmbeddedArchon {
    workspaces: Workspaces,
    calls: Arc<Semaphore>,
    tools: Arc<[Tool]>,
}

impl EmbeddedArchon {
    /// The name under which the server introduces itself.
    pub const SERVER_NAME: &'static str = "embedded-archon";

    /// Makes a server that reads and writes beneath `workspaces` only.
    pub fn new(workspaces: Workspaces) -> Self {
        let calls = Arc::new(Semaphore::new(CALLS_MAX));
        Self { workspaces, calls, tools: tools::list().into() }
    }

    /// Serves one client until it leaves or `stop` is cancelled.
    pub async fn serve_client<T, E, A>(
        self,
        transport: T,
        stop: CancellationToken,
    ) -> Result<(), ArchonError>
    where
        T: IntoTransport<RoleServer, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let session = |error: &dyn std::fmt::Display| ArchonError::Session(error.to_string());
        let service = self.serve_with_ct(transport, stop).await.map_err(|it| session(&it))?;
        service.waiting().await.map(|_| ()).map_err(|it| session(&it))
    }

    /// Starts to serve one client in this process; what is answered is the client's transport.
    ///
    /// The server's task belongs to `tasks` and ends when the client leaves or `stop` is cancelled.
    pub fn connect(&self, tasks: &TaskTracker, stop: CancellationToken) -> ClientEnd {
        let (to_server, from_client) = mpsc::channel(MESSAGES_MAX);
        let (to_client, from_server) = mpsc::channel(MESSAGES_MAX);
        let archon = self.clone();
        tasks.spawn(async move {
            let serving = archon.serve_client((to_client, from_client), stop);
            if let Err(error) = Box::pin(serving).await {
                warn!(%error, "embedded archon lost its client");
            }
        });
        (to_server, from_server)
    }

    async fn call(
        &self,
        name: &str,
        arguments: JsonObject,
        stop: CancellationToken,
    ) -> Result<Value, ArchonError> {
        if name == tools::HEALTH {
            return Ok(json!({ "success": true, "status": "ready" }));
        }
        let _permit = tokio::select! {
            () = stop.cancelled() => return Err(ArchonError::Cancelled),
            permit = self.calls.acquire() => {
                permit.map_err(|error| ArchonError::Internal(error.to_string()))?
            }
        };
        let workspaces = self.workspaces.clone();
        match name {
            tools::CODER => {
                let input: CoderInput = tools::read(arguments)?;
                blocking(move || coder::write(&workspaces, &input, &stop)).await
            }
            tools::GENERATE => {
                let input: CoderInput = tools::read(arguments)?;
                blocking(move || coder::generate(&workspaces, &input, &stop)).await
            }
            tools::ASSESS => {
                let input: coder::AssessInput = tools::read(arguments)?;
                blocking(move || coder::assess(&input, &stop)).await
            }
            _ => debug::investigate(workspaces, tools::read(arguments)?, stop).await,
        }
    }
}

/// Does what blocks on another thread.
async fn blocking(
    work: impl FnOnce() -> Result<Value, ArchonError> + Send + 'static,
) -> Result<Value, ArchonError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ArchonError::Internal(error.to_string()))?
}

impl ServerHandler for EmbeddedArchon {
    fn get_info(&self) -> ServerConfig {
        let version = env!("CARGO_PKG_VERSION");
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(Self::SERVER_NAME, version))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.iter().find(|it| it.name == name).cloned()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if self.get_tool(&request.name).is_none() {
            return Err(ErrorData::invalid_params("unknown tool", None));
        }
        let arguments = request.arguments.unwrap_or_default();
        let result = match self.call(&request.name, arguments, context.ct).await {
            Ok(output) => CallToolResult::structured(output),
            Err(error) => {
                debug!(tool = %request.name, %error, "call failed");
                CallToolResult::structured_error(error.to_json())
            }
        };
        Ok(result.into())
    }
}

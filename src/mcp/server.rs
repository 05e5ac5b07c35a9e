//! The server handler: says what there is, and hands calls to the tools.
#![expect(deprecated, reason = "clients of every revision are served, also of those with logging")]

use std::{
    borrow::Cow,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams,
        CompleteRequestParams, CompleteResult, CustomRequest, CustomResult,
        ErrorCode as RpcErrorCode, GetPromptRequestParams, GetPromptResponse, GetTaskParams,
        GetTaskResult, Implementation, InitializeRequestParams, InitializeResult,
        ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
        ServerCapabilities, ServerConfig, SetLevelRequestParams, SubscribeRequestParams,
        SubscriptionFilter, UnsubscribeRequestParams, UpdateTaskParams,
    },
    service::{RequestContext, SubscriptionContext},
};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{
    answer,
    call::Call,
    caller::{self, Service},
    catalog, completion,
    elicit::Asked,
    log::{self, Level, Tellers},
    prompts,
    resources::{self, Subscriptions},
    seal::Seal,
    tasks, tools,
};
use crate::{
    model::{ErrorCode, Refusal, json::Json, text},
    runtime::DispatcherHandle,
};

/// How much of an unknown method's name is said again.
const METHOD_CHARS_MAX: usize = 100;

/// One MCP session's view of the service; sessions share everything.
#[derive(Clone, Debug)]
pub struct DispatchServer {
    shared: Arc<Shared>,
    /// What this session wants to hear.
    pub(super) level: Level,
    /// Whether this session began with `initialize`: in those revisions there are no tasks.
    has_handshake: Arc<AtomicBool>,
    pub(super) tellers: Tellers,
    /// Ends with the session, as the tellers do.
    subscriptions: Subscriptions,
}

/// What all sessions have in common.
#[derive(Debug)]
struct Shared {
    service: Service,
    closing: CancellationToken,
    document_bytes_max: u64,
    /// What makes the state of calls in rounds.
    seal: Seal,
    /// What users are being asked.
    asked: Asked,
}

impl DispatchServer {
    /// Serves `handle`. Calls that wait are answered soon after `closing`, with what is there then;
    /// arguments of more than `document_bytes_max` bytes of compact JSON are refused. A call that
    /// asks its client something may be made again to any server with the same `seal`.
    pub fn new(
        handle: DispatcherHandle,
        closing: CancellationToken,
        document_bytes_max: u64,
        seal: Seal,
    ) -> Self {
        let (service, asked) = (Service::new(handle), Asked::default());
        Self {
            shared: Arc::new(Shared { service, closing, document_bytes_max, seal, asked }),
            level: Level::default(),
            has_handshake: Arc::default(),
            tellers: Tellers::default(),
            subscriptions: Subscriptions::default(),
        }
    }

    /// The same for another session.
    #[must_use]
    pub fn for_session(&self) -> Self {
        Self {
            level: Level::default(),
            has_handshake: Arc::default(),
            tellers: Tellers::default(),
            subscriptions: Subscriptions::default(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Cancelled when the server is about to end.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.shared.closing
    }

    /// What makes the state of calls in rounds.
    pub(super) fn seal(&self) -> &Seal {
        &self.shared.seal
    }

    /// What users are being asked, in all sessions.
    pub(super) fn asked(&self) -> &Asked {
        &self.shared.asked
    }

    /// The service behind the tools, as the caller of this request sees it.
    pub(super) fn handle(&self, context: &RequestContext<RoleServer>) -> Cow<'_, DispatcherHandle> {
        self.shared.service.seen_by(context)
    }

    /// Whether there are agents whose workers pull, whoever may be one.
    pub(super) fn has_workers(&self) -> bool {
        self.shared.service.has_workers()
    }

    async fn call(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let CallToolRequestParams { name, arguments, input_responses, request_state, .. } = request;
        let arguments = arguments.unwrap_or_default();
        let fits = check_size(&arguments, self.shared.document_bytes_max);
        let response = match fits.and_then(|()| Json::from_map(&arguments)) {
            Ok(args) => {
                let rounds = (input_responses, request_state);
                let call = Call::open(self, (&name, &arguments), rounds, &context)?;
                tools::call(self, &name, &args, &call).await?
            }
            Err(refusal) => answer::refused(&refusal).into(),
        };
        Ok(answer::as_understood(response, context.protocol_version().as_ref()))
    }

    /// Has a session hear of changes of the list that it looks at.
    async fn follow_lists(&self, context: &RequestContext<RoleServer>) {
        let handle = self.handle(context).into_owned();
        self.subscriptions.follow_lists(handle, &context.peer).await;
        if caller::is_made_again(context) {
            // What changed meanwhile, nobody told.
            resources::tell_again(None, &context.peer).await;
        }
    }
}

/// What is large is boxed: rmcp moves the future of each request about, with room for the largest
/// of all kinds.
impl ServerHandler for DispatchServer {
    fn get_info(&self) -> ServerConfig {
        let mut capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_resources()
            .enable_tools()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_tasks()
            .build();
        if self.has_handshake.load(Ordering::Relaxed) {
            tasks::hide(&mut capabilities);
        }
        let mut info = ServerConfig::new(capabilities);
        let mut implementation = Implementation::from_build_env();
        env!("CARGO_PKG_NAME").clone_into(&mut implementation.name);
        env!("CARGO_PKG_VERSION").clone_into(&mut implementation.version);
        implementation.title = Some("Parallel Dispatch".to_owned());
        info.server_info = implementation;
        info.instructions = Some(catalog::INSTRUCTIONS.to_owned());
        info
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        self.has_handshake.store(true, Ordering::Relaxed);
        self.negotiate_initialize(&request)
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        log::set_level(self, request.level, &context)
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        tasks::get(self, request, &context).await
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Box::pin(tasks::update(self, request, &context)).await
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        tasks::cancel(self, request, &context).await
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = catalog::tools(self.handle(&context).may_pull());
        Ok(ListToolsResult::with_all_items(tools.cloned().collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        Box::pin(self.call(request, context)).await
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        if !knows_cache_hints(&context) {
            // Who looks at the list wants to hear when it changes; later clients ask for that.
            Box::pin(self.follow_lists(&context)).await;
        }
        resources::list(&self.handle(&context), request.and_then(|it| it.cursor)).await
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let mut templates = resources::templates();
        if knows_cache_hints(&context) {
            templates.ttl_ms = Some(resources::FINAL_TTL_MS);
            templates.cache_scope = Some(CacheScope::Private);
        }
        Ok(templates)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let handle = self.handle(&context);
        let mut result = Box::pin(resources::read(&handle, request.uri)).await?;
        if knows_cache_hints(&context) {
            result.cache_scope = Some(CacheScope::Private);
        } else {
            result.ttl_ms = None;
        }
        Ok(result.into())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let handle = self.handle(&context);
        let uri = request.uri.clone();
        Box::pin(self.subscriptions.subscribe(&handle, uri, &context.peer)).await?;
        if caller::is_made_again(&context) {
            resources::tell_again(Some(request.uri), &context.peer).await;
        }
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.subscriptions.unsubscribe(request.uri, &context.peer).await;
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(resources::accepted(requested))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let handle = self.handle(context.request_context()).into_owned();
        let closing = self.closing().cancelled();
        Box::pin(resources::listen(handle, &self.subscriptions, closing, context)).await
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        completion::complete(&self.handle(&context), request).await
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let mut prompts = prompts::list();
        if knows_cache_hints(&context) {
            prompts.ttl_ms = Some(resources::FINAL_TTL_MS);
            prompts.cache_scope = Some(CacheScope::Private);
        }
        Ok(prompts)
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let method = text::escape(&text::cut(&request.method, METHOD_CHARS_MAX));
        Err(ErrorData::new(RpcErrorCode::METHOD_NOT_FOUND, method, None))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let handle = self.handle(&context);
        Ok(Box::pin(prompts::get(&handle, request)).await?.into())
    }
}

/// Whether the call is of a revision whose results say how long they hold, and which has
/// `subscriptions/listen`.
fn knows_cache_hints(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|it| it >= ProtocolVersion::V_2026_07_28)
}

/// Refuses arguments of more than `bytes_max` bytes of compact JSON.
fn check_size(arguments: &Map<String, Value>, bytes_max: u64) -> Result<(), Refusal> {
    serde_json::to_writer(Budget(bytes_max), arguments).map_err(|_| {
        let message = format!("the arguments are longer than {bytes_max} bytes");
        let hint = "split the document, or raise limits.document_bytes_max";
        Refusal::of(ErrorCode::RequestTooLarge, "", &message, hint)
    })
}

/// Takes so many bytes, and keeps none.
struct Budget(u64);

impl io::Write for Budget {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_above_the_limit_are_refused() {
        let Value::Object(arguments) = serde_json::json!({ "request": "x\u{7}" }) else {
            panic!("no object");
        };
        let n_bytes = serde_json::to_string(&arguments).unwrap().len() as u64;
        assert_eq!(check_size(&arguments, n_bytes), Ok(()));
        let refusal = check_size(&arguments, n_bytes - 1).unwrap_err();
        assert_eq!(refusal.code(), ErrorCode::RequestTooLarge);
        assert_eq!(refusal.to_string(), "the arguments are longer than 20 bytes");
    }
}

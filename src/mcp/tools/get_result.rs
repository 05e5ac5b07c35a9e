//! `get_result`: answers where a dispatch stands, now or after a wait.

use rmcp::{RoleServer, service::RequestContext};

use crate::{
    mcp::{
        DispatchServer,
        catalog::{Effect, Entry},
        progress,
    },
    model::{DispatchResult, GetResultRequest, Refusal, View, json::Json},
    plan,
};

pub(super) const NAME: &str = "get_result";

pub(super) fn entry() -> Entry {
    Entry::new::<GetResultRequest, DispatchResult>(
        NAME,
        "Get result",
        Effect::ReadOnly,
        "Read what became of a dispatch, at any time and from any session: status, each task's \
         output or error, counts and times. Set wait_ms to wait for the end (of task_ids, if \
         given) instead of polling. view \"summary\" leaves the outputs out and suits many tasks; \
         \"markdown\" is a text to show. Long results come in pages: pass next_cursor as cursor.",
    )
}

pub(super) async fn call(
    server: &DispatchServer,
    args: &Json<'_>,
    context: &RequestContext<RoleServer>,
) -> Result<DispatchResult, Refusal> {
    let mut request = plan::check_get_result(args)?;
    let handle = server.handle(context);
    if let Some(millis) = request.wait_ms.take() {
        let wait_ms = Some(millis);
        let wait = GetResultRequest { wait_ms, view: Some(View::Summary), ..request.clone() };
        progress::attend(server, request.dispatch_id, handle.get_result(wait), context).await?;
    }
    handle.get_result(request).await
}

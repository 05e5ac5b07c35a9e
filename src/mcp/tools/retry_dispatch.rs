//! `retry_dispatch`: runs again what did not succeed, and keeps the rest.

use rmcp::{RoleServer, service::RequestContext};

use crate::{
    mcp::{
        DispatchServer,
        catalog::{Effect, Entry},
        parent::parent,
        progress,
        trace::trace,
    },
    model::{DispatchResult, Refusal, RetryRequest, json::Json},
    plan,
};

pub(super) const NAME: &str = "retry_dispatch";

pub(super) fn entry() -> Entry {
    Entry::new::<RetryRequest, DispatchResult>(
        NAME,
        "Retry dispatch",
        Effect::Changes,
        "Run again what did not succeed in a dispatch that has ended. It becomes a new dispatch \
         (new dispatch_id, retry_of names the old one) that keeps every successful result. Name \
         task_ids to run those again although they succeeded. Change what was wrong with \
         overrides: {\"task-id\": {\"input_data\": {…}, \"description\": …, \
         \"timeout_seconds\": …}}. Waits like dispatch.",
    )
}

pub(super) async fn call(
    server: &DispatchServer,
    args: &Json<'_>,
    context: &RequestContext<RoleServer>,
) -> Result<DispatchResult, Refusal> {
    let handle = server.handle().in_trace(trace(context));
    let ticket = handle.retry(plan::check_retry(args)?, parent(context)?).await?;
    progress::finish(server, ticket, context).await
}

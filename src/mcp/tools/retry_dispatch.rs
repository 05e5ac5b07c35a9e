//! `retry_dispatch`: runs again what did not succeed, and keeps the rest.

use crate::{
    mcp::{
        DispatchServer,
        call::{Call, Outcome},
        catalog::{Effect, Entry},
        log,
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
    call: &Call<'_>,
) -> Result<Outcome, Refusal> {
    let ticket = if let Some(ticket) = call.round.ticket() {
        // An earlier round has dispatched it.
        ticket
    } else {
        let request = plan::check_retry(args)?;
        let handle = call.handle.in_trace(trace(call.context));
        let parent = parent(call.context, &handle).await?;
        let ticket = handle.retry(request, parent).await?;
        log::follow_for_session(server, ticket.dispatch, call);
        ticket
    };
    Box::pin(progress::finish(server, ticket, call)).await
}

//! `cancel_dispatch`: gives up a dispatch or some of its tasks.

use crate::{
    mcp::catalog::{Effect, Entry},
    model::{CancelRequest, DispatchResult, Refusal, json::Json},
    plan,
    runtime::DispatcherHandle,
};

pub(super) const NAME: &str = "cancel_dispatch";

pub(super) fn entry() -> Entry {
    Entry::new::<CancelRequest, DispatchResult>(
        NAME,
        "Cancel dispatch",
        Effect::Stops,
        "Stop a dispatch: running tasks are stopped, waiting ones never start, results that are \
         there are kept. With task_ids only those tasks and what depends on them are given up. \
         Cancelling what has ended changes nothing.",
    )
}

pub(super) async fn call(
    handle: &DispatcherHandle,
    args: &Json<'_>,
) -> Result<DispatchResult, Refusal> {
    handle.cancel(plan::check_cancel(args)?).await
}

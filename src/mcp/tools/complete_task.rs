//! `complete_task`: takes the result of a worker's task.

use crate::{
    mcp::catalog::{Effect, Entry},
    model::{CompleteRequest, HandedIn, Refusal, json::Json},
    plan,
    runtime::DispatcherHandle,
};

pub(super) const NAME: &str = "complete_task";

pub(super) fn entry() -> Entry {
    Entry::new::<CompleteRequest, HandedIn>(
        NAME,
        "Complete task",
        Effect::Works,
        "For workers: hand in what came out of the task of this lease, as JSON that later tasks \
         can refer to: put large text into a file and hand in its path. Answers how the task \
         stands then. Refused with lease_lost when the task is not yours any more: then the result \
         does not count.",
    )
}

pub(super) async fn call(handle: &DispatcherHandle, args: &Json<'_>) -> Result<HandedIn, Refusal> {
    handle.complete_task(plan::check_complete(args)?).await
}

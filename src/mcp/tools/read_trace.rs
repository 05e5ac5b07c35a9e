//! `read_trace`: answers what happened in a dispatch, event by event.

use crate::{
    mcp::catalog::{Effect, Entry},
    model::{ReadTraceRequest, Refusal, TracePage, json::Json},
    plan,
    runtime::DispatcherHandle,
};

pub(super) const NAME: &str = "read_trace";

pub(super) fn entry() -> Entry {
    Entry::new::<ReadTraceRequest, TracePage>(
        NAME,
        "Read trace",
        Effect::ReadOnly,
        "Read what happened in a dispatch, oldest first: attempts with their errors, upstream tool \
         calls with their durations, skips and their causes. Narrow it by task_id and kinds. \
         Without arguments it lists the recent dispatches with their ids: use that to find a \
         dispatch whose id was lost.",
    )
}

pub(super) async fn call(handle: &DispatcherHandle, args: &Json<'_>) -> Result<TracePage, Refusal> {
    let page = handle.read_trace(plan::check_read_trace(args)?).await;
    page.map_err(|it| it.moved("/task_ids", "/task_id"))
}

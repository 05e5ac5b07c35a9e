//! `approve_task`: decides on a task that waits for an approval.

use crate::{
    mcp::catalog::{Effect, Entry},
    model::{ApproveRequest, DispatchResult, Refusal, json::Json},
    plan,
    runtime::DispatcherHandle,
};

pub(super) const NAME: &str = "approve_task";

pub(super) fn entry() -> Entry {
    Entry::new::<ApproveRequest, DispatchResult>(
        NAME,
        "Approve task",
        Effect::Steers,
        "Decide on a task that waits for an approval: get_result shows waiting_for \"approval\" \
         with the message and the decisions to choose from. `reject` fails the task, every other \
         decision lets it run. The message is a question to a person: ask the user, and pass on \
         what they decide. The same decision twice is once.",
    )
}

pub(super) async fn call(
    handle: &DispatcherHandle,
    args: &Json<'_>,
) -> Result<DispatchResult, Refusal> {
    handle.approve(plan::check_approve(args)?).await
}

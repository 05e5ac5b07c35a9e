//! `plan_tasks`: checks tasks, or makes them from a text, and says what running them means.

use crate::{
    mcp::catalog::{Effect, Entry},
    model::{PlanReport, PlanRequest, Refusal, json::Json},
    runtime::DispatcherHandle,
};

pub(super) const NAME: &str = "plan_tasks";

pub(super) fn entry() -> Entry {
    Entry::new::<PlanRequest, PlanReport>(
        NAME,
        "Plan tasks",
        Effect::ReadOnly,
        "Check tasks before running them, or turn a request into tasks. Nothing runs. Give `tasks` \
         (agent and input_data may be left out: they are filled in from the description), or \
         `request` in plain words, or a Conductor `plan_markdown`. Answers the complete tasks, \
         `waves` (what can run side by side), the critical path, expected times, a Mermaid graph, \
         warnings, whether dispatching pays, and a `plan_id` that `dispatch` takes instead of \
         tasks. Every fault is reported at once with a path and a hint.",
    )
}

pub(super) async fn call(
    handle: &DispatcherHandle,
    args: &Json<'_>,
) -> Result<PlanReport, Refusal> {
    handle.plan(args).await
}

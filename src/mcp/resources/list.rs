//! What there is to read: the agents, the newest plans, the dispatches, and the templates.

use rmcp::{
    ErrorData,
    model::{
        Annotations, ListResourceTemplatesResult, ListResourcesResult, Resource, ResourceTemplate,
    },
};

use super::{fault::to_error, uri, uri::ResourceUri};
use crate::{
    model::{DispatchListing, Millis, PlanId, ReadTraceRequest, Timestamp},
    runtime::DispatcherHandle,
};

/// How many dispatches one page holds.
const DISPATCHES_MAX: u32 = 50;
/// How many plans the first page holds; all of them can be read.
const PLANS_MAX: usize = 10;

/// A page of the resources: first the agents and the newest plans, then the dispatches, newest
/// first.
pub(in crate::mcp) async fn list(
    handle: &DispatcherHandle,
    cursor: Option<String>,
) -> Result<ListResourcesResult, ErrorData> {
    let mut resources = Vec::new();
    if cursor.is_none() {
        resources.push(agents());
        let plans = handle.recent_plans(PLANS_MAX).await.map_err(|it| to_error(&it))?;
        resources.extend(plans.into_iter().map(|(id, at)| plan(id, at)));
    }
    let limit = Some(DISPATCHES_MAX);
    let request = ReadTraceRequest { cursor, limit, ..ReadTraceRequest::default() };
    let page = handle.read_trace(request).await.map_err(|it| to_error(&it))?;
    resources.extend(page.dispatches.iter().flatten().map(dispatch));
    let mut result = ListResourcesResult::with_all_items(resources);
    result.next_cursor = page.next_cursor;
    Ok(result)
}

/// The templates, in a fixed order.
pub(in crate::mcp) fn templates() -> ListResourceTemplatesResult {
    let json = "application/json";
    let template = |uri: &str, name: &str, title: &str, mime: &str, description: &str| {
        ResourceTemplate::new(uri, name)
            .with_title(title)
            .with_mime_type(mime)
            .with_description(description)
    };
    ListResourceTemplatesResult::with_all_items(vec![
        template(
            uri::DISPATCH,
            "dispatch",
            "Dispatch",
            json,
            "Where a dispatch and its tasks stand, without outputs: what get_result answers with \
             view summary. id: the dispatch_id.",
        ),
        template(
            uri::TASK,
            "task",
            "Task with its output",
            json,
            "One task of a dispatch with its whole output. id: the dispatch_id; task_id: the task.",
        ),
        template(
            uri::TRACE,
            "trace",
            "Trace of a task",
            json,
            "What happened to one task, oldest first: attempts, upstream calls, errors. id: the \
             dispatch_id; task_id: the task.",
        ),
        template(
            uri::PLAN,
            "plan",
            "Plan",
            "text/markdown",
            "What a plan of plan_tasks means, with its graph as a Mermaid drawing. id: the \
             plan_id.",
        ),
    ])
}

fn agents() -> Resource {
    Resource::new(ResourceUri::Agents.to_string(), "agents")
        .with_title("Agents")
        .with_description("The agents that tasks may name, and who serves each now.")
        .with_mime_type("application/json")
}

fn plan(id: PlanId, at: Millis) -> Resource {
    let at = Timestamp(at).to_rfc3339();
    Resource::new(ResourceUri::Plan(id).to_string(), format!("plan {id}"))
        .with_title(format!("Plan of {at}"))
        .with_description("A checked document, to be dispatched by its plan_id.")
        .with_mime_type("text/markdown")
        .with_annotations(modified(at))
}

fn dispatch(of: &DispatchListing) -> Resource {
    let id = of.dispatch_id;
    let changed_at = of.ended_at.unwrap_or(of.created_at).to_rfc3339();
    let title = format!("Dispatch of {}, {}", of.created_at.to_rfc3339(), of.status.as_str());
    let n_open = of.total_tasks.saturating_sub(of.successful + of.unsuccessful);
    let description = format!(
        "{} tasks: {} successful, {} without success, {n_open} open",
        of.total_tasks, of.successful, of.unsuccessful
    );
    Resource::new(ResourceUri::Dispatch(id).to_string(), format!("dispatch {id}"))
        .with_title(title)
        .with_description(description)
        .with_mime_type("application/json")
        .with_annotations(modified(changed_at))
}

fn modified(at: String) -> Annotations {
    let mut annotations = Annotations::default();
    annotations.last_modified = Some(at);
    annotations
}

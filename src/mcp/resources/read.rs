//! What a resource says.

use rmcp::{
    ErrorData,
    model::{ReadResourceResult, ResourceContents},
};
use serde::Serialize;

use super::{FINAL_TTL_MS, fault::to_error, uri::ResourceUri};
use crate::{
    model::{DispatchStatus, ErrorCode, PlanId, Refusal, text},
    plan,
    runtime::DispatcherHandle,
};

/// About the most that one resource says, in characters. JSON that is longer has fewer tasks or
/// events and a `next_cursor`, or `output_truncated`; Markdown ends with a sentence that says so.
const CONTENT_CHARS_MAX: usize = 4 * 1024 * 1024;

/// What a resource says, and how long that holds.
struct Content {
    text: String,
    mime: &'static str,
    ttl_ms: u64,
}

/// Reads the resource of a URI.
pub(in crate::mcp) async fn read(
    handle: &DispatcherHandle,
    uri: String,
) -> Result<ReadResourceResult, ErrorData> {
    let named = ResourceUri::parse(&uri)?;
    let content = content(handle, &named).await.map_err(|it| to_error(&it))?;
    let contents = ResourceContents::text(content.text, uri).with_mime_type(content.mime);
    Ok(ReadResourceResult::new(vec![contents]).with_ttl_ms(content.ttl_ms))
}

async fn content(handle: &DispatcherHandle, uri: &ResourceUri) -> Result<Content, Refusal> {
    match uri {
        ResourceUri::Agents => Content::json(&handle.agent_reports().await, Holds::Now),
        ResourceUri::Dispatch(id) => {
            let result = handle.bounded_result(*id, CONTENT_CHARS_MAX).await?;
            let has_ended = result.status != DispatchStatus::Running;
            Content::json(&result, Holds::once(has_ended))
        }
        ResourceUri::Task(id, task) => {
            let result = handle.task_result(*id, task, CONTENT_CHARS_MAX).await?;
            Content::json(&result, Holds::once(result.status.is_final()))
        }
        ResourceUri::Trace(id, task) => {
            let page = handle.task_trace(*id, task, CONTENT_CHARS_MAX).await?;
            Content::json(&page, Holds::Now)
        }
        ResourceUri::Plan(id) => plan_page(handle, *id).await,
    }
}

async fn plan_page(handle: &DispatcherHandle, id: PlanId) -> Result<Content, Refusal> {
    let page = plan::page(&handle.stored_plan(id).await?);
    let mut text = text::cut(&page, CONTENT_CHARS_MAX);
    if text.len() < page.len() {
        text.push_str("\n\nThe plan goes on; plan_tasks answers it as JSON.\n");
    }
    Ok(Content { text, mime: "text/markdown", ttl_ms: 0 })
}

/// Whether what a resource says may change.
#[derive(Clone, Copy)]
enum Holds {
    Now,
    Ever,
}

impl Holds {
    fn once(is_final: bool) -> Self {
        if is_final { Self::Ever } else { Self::Now }
    }
}

impl Content {
    fn json(value: &impl Serialize, holds: Holds) -> Result<Self, Refusal> {
        let text = serde_json::to_string(value).map_err(|error| {
            Refusal::of(ErrorCode::Internal, "", &error.to_string(), "report this")
        })?;
        let ttl_ms = match holds {
            Holds::Now => 0,
            Holds::Ever => FINAL_TTL_MS,
        };
        Ok(Self { text, mime: "application/json", ttl_ms })
    }
}

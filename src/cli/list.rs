//! `list`: the recent dispatches.

use std::fmt::Write as _;

use super::output::{Exit, Outcome, print, print_json, refuse, word};
use crate::{model::ReadTraceRequest, runtime::DispatcherHandle};

/// Prints the recent dispatches, newest first.
pub async fn list(handle: &DispatcherHandle, limit: u32, as_json: bool) -> Outcome {
    let request = ReadTraceRequest { limit: Some(limit), ..ReadTraceRequest::default() };
    let page = match handle.read_trace(request).await {
        Ok(page) => page,
        Err(refusal) => return Ok(refuse(&refusal)),
    };
    let dispatches = page.dispatches.unwrap_or_default();
    if as_json {
        print_json(&dispatches)?;
        return Ok(Exit::Success);
    }
    let mut table = String::new();
    for it in &dispatches {
        let status = word(&it.status)?;
        // Writing to a string cannot fail.
        let below = it.parent.as_ref().map_or_else(String::new, |it| format!("  below {it}"));
        _ = writeln!(
            table,
            "{}  {}  {:<9}  {}/{} successful{below}",
            it.dispatch_id,
            it.created_at.to_rfc3339(),
            status,
            it.successful,
            it.total_tasks,
        );
    }
    if !table.is_empty() {
        print(&table)?;
    }
    Ok(Exit::Success)
}

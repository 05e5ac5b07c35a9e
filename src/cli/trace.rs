//! `trace`: what happened in a dispatch.

use super::output::{Exit, Outcome, print_json_line, refuse};
use crate::{
    model::{DispatchId, ReadTraceRequest, TaskId, TraceKind},
    runtime::DispatcherHandle,
};

/// Prints the events of a dispatch, oldest first, one JSON object a line.
pub async fn trace(
    handle: &DispatcherHandle,
    dispatch: DispatchId,
    task: Option<&str>,
    kinds: &[TraceKind],
) -> Outcome {
    let mut cursor = None;
    loop {
        let request = ReadTraceRequest {
            dispatch_id: Some(dispatch),
            task_id: task.map(TaskId::new),
            cursor,
            limit: Some(1_000),
            kinds: (!kinds.is_empty()).then(|| kinds.to_vec()),
        };
        let page = match handle.read_trace(request).await {
            Ok(page) => page,
            Err(refusal) => return Ok(refuse(&refusal.moved("/task_ids", "/task_id"))),
        };
        for event in &page.events {
            print_json_line(event)?;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(Exit::Success);
        }
    }
}

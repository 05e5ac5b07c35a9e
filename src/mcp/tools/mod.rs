//! The tools, one a file: what a call takes, does and answers.

mod approve_task;
mod cancel_dispatch;
mod claim_task;
mod complete_task;
mod control_dispatch;
mod dispatch;
mod fail_task;
mod get_result;
mod heartbeat;
mod plan_tasks;
mod read_trace;
mod retry_dispatch;

use futures::FutureExt as _;
use rmcp::{ErrorData, model::CallToolResponse};

use super::{
    DispatchServer,
    answer::{answer, respond},
    call::Call,
};
use crate::model::{json::Json, text};

/// Calls the tool of that name; an unknown name is a protocol error.
pub(super) async fn call(
    server: &DispatchServer,
    name: &str,
    args: &Json<'_>,
    call: &Call<'_>,
) -> Result<CallToolResponse, ErrorData> {
    let waits = match name {
        dispatch::NAME => Some(dispatch::call(server, args, call).boxed()),
        get_result::NAME => Some(get_result::call(server, args, call).boxed()),
        retry_dispatch::NAME => Some(retry_dispatch::call(server, args, call).boxed()),
        _ => None,
    };
    if let Some(waits) = waits {
        return Ok(respond(waits.await));
    }
    let handle = &*call.handle;
    let result = match name {
        plan_tasks::NAME => answer(plan_tasks::call(handle, args).await),
        read_trace::NAME => answer(read_trace::call(handle, args).await),
        cancel_dispatch::NAME => answer(cancel_dispatch::call(handle, args).await),
        approve_task::NAME => answer(approve_task::call(handle, args).await),
        control_dispatch::NAME => answer(control_dispatch::call(handle, args).await),
        _ if is_for_workers(name) && server.has_workers() => match name {
            claim_task::NAME => answer(claim_task::call(server, args, call).await),
            heartbeat::NAME => answer(heartbeat::call(handle, args)),
            complete_task::NAME => answer(complete_task::call(handle, args).await),
            _ => answer(fail_task::call(handle, args)),
        },
        _ => {
            let shown = text::escape(&text::cut(name, 100));
            return Err(ErrorData::invalid_params(format!("unknown tool: {shown}"), None));
        }
    };
    Ok(result.into())
}

/// What each tool is, in the order in which clients see them.
pub(super) fn all() -> [super::catalog::Entry; 12] {
    [
        plan_tasks::entry(),
        dispatch::entry(),
        get_result::entry(),
        read_trace::entry(),
        cancel_dispatch::entry(),
        retry_dispatch::entry(),
        approve_task::entry(),
        control_dispatch::entry(),
        claim_task::entry(),
        heartbeat::entry(),
        complete_task::entry(),
        fail_task::entry(),
    ]
}

/// Whether a tool is there only where workers pull.
pub(super) fn is_for_workers(name: &str) -> bool {
    [claim_task::NAME, heartbeat::NAME, complete_task::NAME, fail_task::NAME].contains(&name)
}

//! `dispatch`: makes a document durable, runs it, and answers what is there when the wait is over.

use rmcp::{RoleServer, service::RequestContext};

use crate::{
    mcp::{
        DispatchServer,
        call::{Call, Outcome},
        catalog::{Effect, Entry},
        log,
        parent::parent,
        progress,
        trace::trace,
    },
    model::{DispatchRequest, DispatchResult, Refusal, json::Json},
    runtime::Caller,
};

pub(super) const NAME: &str = "dispatch";

pub(super) fn entry() -> Entry {
    Entry::new::<DispatchRequest, DispatchResult>(
        NAME,
        "Dispatch tasks",
        Effect::Changes,
        "Run a graph of agent tasks in parallel. Each task names an agent (`coder` writes code to \
         input_data.output_path; `debug` investigates files and error traces; others come from the \
         settings), a description, input_data, and the task ids it depends on. A task starts the \
         moment its own dependencies are done, at most config.max_workers at once; when one fails, \
         what depends on it is skipped and the rest goes on. Pass an earlier task's result on with \
         ${tasks.ID.output.path} inside input_data strings. All paths are absolute and inside the \
         workspace. Waits for the end up to wait_ms (45 s) and answers what is there; the dispatch \
         goes on and survives restarts: fetch the rest with get_result. Use wait:false for long \
         work. Pass an idempotency_key to make a repeated call safe.",
    )
}

pub(super) async fn call(
    server: &DispatchServer,
    args: &Json<'_>,
    call: &Call<'_>,
) -> Result<Outcome, Refusal> {
    let ticket = if let Some(ticket) = call.round.ticket() {
        // An earlier round has dispatched it.
        ticket
    } else {
        let context = call.context;
        let handle = call.handle.in_trace(trace(context));
        let caller = Caller { key: call_key(context), parent: parent(context, &handle).await? };
        let ticket = handle.dispatch(args, caller).await?;
        log::follow_for_session(server, ticket.dispatch, call);
        ticket
    };
    Box::pin(progress::finish(server, ticket, call)).await
}

/// Claude Code names each call; a call that it sends again must not dispatch again.
fn call_key(context: &RequestContext<RoleServer>) -> Option<String> {
    let id = context.meta.get("claudecode/toolUseId")?.as_str()?;
    (!id.is_empty() && id.len() <= 200).then(|| format!("claudecode:{id}"))
}

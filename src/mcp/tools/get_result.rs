//! `get_result`: answers where a dispatch stands, now or after a wait.

use crate::{
    mcp::{
        DispatchServer,
        call::{Call, Outcome},
        catalog::{Effect, Entry},
        progress::{self, Attended},
    },
    model::{DispatchResult, GetResultRequest, Refusal, View, json::Json},
    plan,
    runtime::Ticket,
};

pub(super) const NAME: &str = "get_result";

pub(super) fn entry() -> Entry {
    Entry::new::<GetResultRequest, DispatchResult>(
        NAME,
        "Get result",
        Effect::ReadOnly,
        "Read what became of a dispatch, at any time and from any session: status, each task's \
         output or error, counts and times. Set wait_ms to wait for the end (of task_ids, if \
         given) instead of polling. view \"summary\" leaves the outputs out and suits many tasks; \
         \"markdown\" is a text to show. Long results come in pages: pass next_cursor as cursor.",
    )
}

pub(super) async fn call(
    server: &DispatchServer,
    args: &Json<'_>,
    call: &Call<'_>,
) -> Result<Outcome, Refusal> {
    let mut request = plan::check_get_result(args)?;
    let handle = &call.handle;
    if let Some(wait_ms) = request.wait_ms.take() {
        let ticket = Ticket { dispatch: request.dispatch_id, wait_ms };
        let (wait_ms, view) = (Some(wait_ms), Some(View::Summary));
        let ended = handle.get_result(GetResultRequest { wait_ms, view, ..request.clone() });
        if let Attended::Asks(asks) =
            Box::pin(progress::attend(server, ticket, ended, call)).await?
        {
            return Ok(Outcome::Asks(asks));
        }
    }
    handle.get_result(request).await.map(|it| Outcome::Result(Box::new(it)))
}

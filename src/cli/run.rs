//! `run`: one dispatch from a document, its result on standard output.

use std::{path::Path, time::Duration};

use serde_json::Value;

use super::{
    DocumentSource,
    expand::{Places, expand},
    output::{Exit, Outcome, print_json, refuse, say},
    show, source,
};
use crate::{
    model::{
        CancelRequest, DispatchId, Refusal, View,
        json::{self, Json},
    },
    runtime::DispatcherHandle,
};

/// Longer than any dispatch may take.
const FOREVER: Duration = Duration::from_hours(10 * 365 * 24);

/// Runs a document and prints its result. What `listen` makes ends when the user wants no more:
/// then the dispatch is cancelled and its result printed all the same. It is called when the
/// document was read, which may wait for a terminal for ever.
pub async fn run<Interrupted: Future<Output = ()>>(
    handle: &DispatcherHandle,
    document: &DocumentSource,
    (workspace, bytes_max): (&Path, u64),
    listen: impl FnOnce() -> Interrupted,
) -> Outcome {
    let document = match read(document, workspace, bytes_max) {
        Ok(document) => document,
        Err(refusal) => return Ok(refuse(&refusal)),
    };
    let interrupted = listen();
    match submit(handle, &document).await {
        Ok(dispatch) => see_through(handle, dispatch, interrupted).await,
        Err(refusal) => Ok(refuse(&refusal)),
    }
}

/// Shows how a dispatch goes until it has ended, and prints its result.
pub(super) async fn see_through(
    handle: &DispatcherHandle,
    dispatch: DispatchId,
    interrupted: impl Future<Output = ()>,
) -> Outcome {
    say(&format!("dispatch {dispatch}"));
    let ended = tokio::select! {
        biased;
        // First, so that what was told before the end is shown.
        never = show::progress(handle, dispatch) => match never {},
        ended = handle.wait(dispatch, FOREVER) => ended.map(|_| ()),
        () = interrupted => cancel(handle, dispatch).await,
    };
    match ended {
        Ok(()) => (),
        Err(refusal) => return Ok(refuse(&refusal)),
    }
    match handle.whole_result(dispatch, View::Full).await {
        Ok(result) => {
            for it in &result.warnings {
                say(&format!("warning: {it}"));
            }
            say(&show::summary(&result)?);
            print_json(&result)?;
            Ok(Exit::from(result.status))
        }
        Err(refusal) => Ok(refuse(&refusal)),
    }
}

fn read(document: &DocumentSource, workspace: &Path, bytes_max: u64) -> Result<Value, Refusal> {
    let text = source::read(document, bytes_max)?;
    let mut value = json::read(&text)?.to_value();
    if let Some(places) = Places::of(workspace) {
        expand(&mut value, &places);
    }
    Ok(value)
}

async fn submit(handle: &DispatcherHandle, document: &Value) -> Result<DispatchId, Refusal> {
    handle.dispatch_document(&Json::from_value(document)?).await
}

async fn cancel(handle: &DispatcherHandle, dispatch: DispatchId) -> Result<(), Refusal> {
    say("interrupted: cancelling the dispatch");
    let reason = Some("the user interrupted the run".to_owned());
    handle.cancel(CancelRequest { dispatch_id: dispatch, task_ids: None, reason }).await?;
    Ok(())
}

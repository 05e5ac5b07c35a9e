//! Takes over the dispatches of processes that are gone.

use std::sync::Arc;

use tracing::warn;

use super::{
    document::{Meta, StoredDocument},
    live::Live,
    options::Dependencies,
    submission::{Submission, bind_all},
};
use crate::{
    model::Refusal,
    plan::DurationKeys,
    ports::{DispatchRow, RecordFilter, StoreError},
};

/// How many records are read from the store at once.
const RECORDS_PAGE: usize = 10_000;

/// Why a dispatch could not be taken over.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecoveryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Refused(Refusal),
}

/// The open dispatches whose owners are gone, oldest first, ready to go on.
pub(super) async fn find_orphans(dependencies: &Dependencies) -> Result<Vec<Live>, StoreError> {
    let mut orphans = Vec::new();
    for row in dependencies.journal.open_dispatches().await? {
        if dependencies.ownership.is_alive(row.owner) {
            continue;
        }
        match load(dependencies, &row).await {
            Ok(live) => orphans.push(live),
            Err(error) => {
                warn!(dispatch_id = %row.dispatch, %error, "failed to take a dispatch over");
            }
        }
    }
    Ok(orphans)
}

/// Reads a dispatch back into the state that its journal describes.
pub(super) async fn load(
    dependencies: &Dependencies,
    row: &DispatchRow,
) -> Result<Live, RecoveryError> {
    let journal = &dependencies.journal;
    let json = journal.document(row.dispatch).await?;
    let json = json.ok_or_else(|| StoreError::Corrupt("a dispatch has no document".into()))?;
    let document = Arc::new(StoredDocument::read(&json)?);
    let graph = document.graph()?;
    let names = document.agents().into_iter().cloned();
    let (backends, _) =
        bind_all(&dependencies.agents, names).await.map_err(RecoveryError::Refused)?;
    let submission = Submission {
        dispatch: row.dispatch,
        meta: Arc::new(Meta::read(&row.meta)?),
        keys: DurationKeys::new(&document.tasks),
        document,
        graph,
        backends,
        idempotency: None,
        kept: Vec::new(),
    };
    let mut live = Live::new(submission, row.created_at);
    live.traces_from_store = true;
    for stored in journal.tasks(row.dispatch).await? {
        live.rows[stored.task.as_usize()] = stored.row;
    }
    replay(dependencies, &mut live).await?;
    Ok(live)
}

async fn replay(dependencies: &Dependencies, live: &mut Live) -> Result<(), StoreError> {
    let mut filter = RecordFilter { limit: RECORDS_PAGE, ..RecordFilter::default() };
    loop {
        let records = dependencies.journal.records(live.id, filter.clone()).await?;
        let Some(last) = records.last() else { return Ok(()) };
        filter.after = last.seq;
        for record in &records {
            live.replay(record);
        }
    }
}

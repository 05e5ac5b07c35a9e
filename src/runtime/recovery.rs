//! Reads back a dispatch that another process has left.

use std::sync::Arc;

use super::{
    document::{Meta, StoredDocument},
    live::Live,
    options::Dependencies,
    submission::{Submission, bind_all},
};
use crate::{
    model::{DispatchId, Refusal},
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

/// Reads a dispatch back into the state that its journal describes. Nothing if somebody wrote on
/// meanwhile: then what was read may not fit together.
pub(super) async fn load(
    dependencies: &Dependencies,
    row: &DispatchRow,
) -> Result<Option<Live>, RecoveryError> {
    let journal = &dependencies.journal;
    let json = journal.document(row.dispatch).await?;
    let json = json.ok_or_else(|| StoreError::Corrupt("a dispatch has no document".into()))?;
    let submission = read(dependencies, row.dispatch, (&json, Meta::read(&row.meta)?)).await?;
    let mut live = Live::new(submission, row.created_at);
    live.traces_from_store = true;
    live.epoch = row.tenure.epoch.next();
    for stored in journal.tasks(row.dispatch).await? {
        let row = live.rows.get_mut(stored.task.as_usize());
        *row.ok_or_else(|| StoreError::Corrupt("a task is not in its document".into()))? =
            stored.row;
    }
    replay(dependencies, &mut live).await?;
    Ok(Some(live).filter(|it| it.last_seq() == row.tenure.last_seq))
}

/// Reads what another process wrote of a dispatch, and finds its agents.
pub(super) async fn read(
    dependencies: &Dependencies,
    dispatch: DispatchId,
    (document, meta): (&str, Meta),
) -> Result<Submission, RecoveryError> {
    let document = Arc::new(StoredDocument::read(document)?);
    let graph = document.graph()?;
    let names = document.agents().into_iter().cloned();
    let (backends, _) =
        bind_all(&dependencies.agents, names).await.map_err(RecoveryError::Refused)?;
    Ok(Submission {
        dispatch,
        meta: Arc::new(meta),
        keys: DurationKeys::new(&document.tasks),
        document,
        graph,
        backends,
        idempotency: None,
        kept: Vec::new(),
    })
}

async fn replay(dependencies: &Dependencies, live: &mut Live) -> Result<(), StoreError> {
    let mut filter = RecordFilter { limit: RECORDS_PAGE, ..RecordFilter::default() };
    loop {
        let records = dependencies.journal.records(live.id, filter.clone()).await?;
        let Some(last) = records.last() else { return Ok(()) };
        filter.after = last.seq;
        for record in &records {
            live.replay(record)?;
        }
    }
}

//! Gathers the context that the tasks of a dispatch ask for: each piece once, several at a time.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};

use super::{document::StoredDocument, filter::ContextPool};
use crate::ports::{ContextError, ContextItem, ContextKey, ContextSource, RecordBody};

/// How many pieces are gathered at once.
const CONCURRENT_MAX: usize = 8;
/// How long one piece may take.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// The context of a dispatch, and what to note of it in the journal.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) pool: Arc<ContextPool>,
    pub(super) record: RecordBody,
}

/// Gathers what the tasks of `document` ask for.
pub(super) async fn gather(
    document: &StoredDocument,
    sources: &[Arc<dyn ContextSource>],
) -> Gathered {
    let started = tokio::time::Instant::now();
    let asked: BTreeSet<_> =
        document.tasks.iter().flat_map(|it| &it.context_requirements).cloned().collect();
    let pieces = stream::iter(asked).map(|key| async move {
        let item = gather_piece(&key, sources).await;
        (ContextKey::new(&key), item)
    });
    let items: std::collections::BTreeMap<_, _> =
        pieces.buffer_unordered(CONCURRENT_MAX).collect().await;
    let missing: Vec<_> =
        items.values().filter_map(|it| it.as_ref().err().map(ToString::to_string)).collect();
    let record = RecordBody::ContextGathered {
        n_asked: items.len(),
        n_gathered: items.len() - missing.len(),
        missing,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    Gathered { pool: Arc::new(ContextPool { items }), record }
}

async fn gather_piece(
    key: &str,
    sources: &[Arc<dyn ContextSource>],
) -> Result<ContextItem, ContextError> {
    let refuse = |reason: &str| ContextError { key: key.to_owned(), reason: reason.to_owned() };
    let (prefix, rest) = key.split_once(':').ok_or_else(|| refuse("it has no prefix"))?;
    let source = sources.iter().find(|it| it.prefix() == prefix);
    let source = source.ok_or_else(|| refuse("nothing serves this prefix"))?;
    let gathered = tokio::time::timeout(PIECE_TIMEOUT, source.gather(rest)).await;
    gathered.map_err(|_| refuse("it took longer than 30 s"))?
}

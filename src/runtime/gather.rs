//! Gathers the context that the tasks of a dispatch ask for: each piece once, several at a time.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;

use super::{
    dispatcher::Dispatcher,
    document::StoredDocument,
    filter::ContextPool,
    live::Live,
    message::Message,
    spans::{self, Place},
};
use crate::{
    model::{DispatchId, Lineage},
    ports::{ContextError, ContextItem, ContextKey, ContextSource, Gathering, RecordBody, Spans},
};

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

/// What gathering for a dispatch needs.
#[derive(Debug)]
struct GatherJob {
    dispatch: DispatchId,
    document: Arc<StoredDocument>,
    sources: Vec<Arc<dyn ContextSource>>,
    /// The trace that the dispatch is in.
    trace: Option<Lineage>,
    spans: Option<Arc<dyn Spans>>,
}

impl Dispatcher {
    /// Starts to gather for a dispatch.
    pub(super) fn gather_for(&mut self, live: &Live) {
        let (dispatch, spans) = (live.id, self.dependencies.spans.clone());
        let job = GatherJob {
            dispatch,
            document: Arc::clone(&live.document),
            sources: self.dependencies.sources.clone(),
            trace: spans::lineage((dispatch, &live.meta), Place::Dispatch, spans.as_deref()),
            spans,
        };
        self.run_errand(async move {
            let gathered = gather(job).await;
            Message::Gathered { dispatch, gathered }
        });
    }
}

/// Gathers what the tasks of a dispatch ask for, and tells the spans of the calls for it.
async fn gather(job: GatherJob) -> Gathered {
    let (calls, mut noted) = mpsc::unbounded_channel();
    let GatherJob { dispatch, document, sources, trace, spans } = job;
    let on_behalf = Gathering { trace, calls: Some(calls) };
    let gathered = gather_all(&document, &sources, &on_behalf).await;
    if let (Some(lineage), Some(spans)) = (&on_behalf.trace, &spans) {
        let calls = std::iter::from_fn(|| noted.try_recv().ok());
        spans::tell_calls(dispatch, lineage, calls, &**spans);
    }
    gathered
}

async fn gather_all(
    document: &StoredDocument,
    sources: &[Arc<dyn ContextSource>],
    on_behalf: &Gathering,
) -> Gathered {
    let started = tokio::time::Instant::now();
    let asked: BTreeSet<_> =
        document.tasks.iter().flat_map(|it| &it.context_requirements).cloned().collect();
    let pieces = stream::iter(asked).map(|key| async move {
        let item = gather_piece(&key, sources, on_behalf).await;
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
    on_behalf: &Gathering,
) -> Result<ContextItem, ContextError> {
    let refuse = |reason: &str| ContextError { key: key.to_owned(), reason: reason.to_owned() };
    let (prefix, rest) = key.split_once(':').ok_or_else(|| refuse("it has no prefix"))?;
    let source = sources.iter().find(|it| it.prefix() == prefix);
    let source = source.ok_or_else(|| refuse("nothing serves this prefix"))?;
    let gathered = tokio::time::timeout(PIECE_TIMEOUT, source.gather(rest, on_behalf)).await;
    gathered.map_err(|_| refuse("it took longer than 30 s"))?
}

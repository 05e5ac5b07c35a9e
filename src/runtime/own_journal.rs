//! The store as one caller sees it, to whom nothing of others is there.

use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;

use crate::{
    model::{AgentName, DispatchId, DurationKey, Durations, Millis, PlanId, TaskIdx},
    ports::{
        Asked, Changes, Committed, Digest, DispatchRow, Journal, KeyedDispatch, KnownResult,
        OpenOwner, Overview, OwnerId, Record, RecordFilter, RequestId, RequestState, StoreError,
        StoredPlan, StoredTask, Write,
    },
};

/// Reads only what belongs to one caller; what belongs to others, or to nobody, reads as what is
/// unknown. What has no owner, as how long kinds of work take, is read as it is.
///
/// It does not look at what is written: nobody writes about a dispatch that they have not read.
#[derive(Clone, Debug)]
pub(super) struct OwnJournal {
    inner: Arc<dyn Journal>,
    caller: Arc<str>,
    /// One dispatch that is known to be the caller's, which it stays: most who ask, ask of one.
    seen: Arc<OnceLock<DispatchId>>,
}

type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

impl OwnJournal {
    pub(super) fn new(inner: Arc<dyn Journal>, caller: Arc<str>) -> Self {
        Self { inner, caller, seen: Arc::default() }
    }

    /// Whether there is such a dispatch for the caller.
    pub(super) async fn sees(&self, dispatch: DispatchId) -> Result<bool, StoreError> {
        if self.seen.get() == Some(&dispatch) {
            return Ok(true);
        }
        Ok(self.inner.dispatch(dispatch).await?.is_some_and(|it| self.is_own(&it)))
    }

    fn is_own(&self, row: &DispatchRow) -> bool {
        let is_own = row.caller.as_ref() == Some(&self.caller);
        if is_own {
            // Where another one stands there already, this one is looked up again.
            let _other = self.seen.set(row.dispatch);
        }
        is_own
    }

    /// The answer if the caller sees the dispatch, else `nothing`.
    fn of<T: Send + 'static>(
        &self,
        dispatch: DispatchId,
        answer: Answer<T>,
        nothing: T,
    ) -> Answer<T> {
        let own = self.clone();
        Box::pin(async move { if own.sees(dispatch).await? { answer.await } else { Ok(nothing) } })
    }
}

impl Journal for OwnJournal {
    fn commit(&self, writes: Arc<[Write]>) -> Answer<Committed> {
        self.inner.commit(writes)
    }

    fn dispatch(&self, dispatch: DispatchId) -> Answer<Option<DispatchRow>> {
        let (own, found) = (self.clone(), self.inner.dispatch(dispatch));
        Box::pin(async move { Ok(found.await?.filter(|it| own.is_own(it))) })
    }

    fn overview(&self, dispatch: DispatchId) -> Answer<Option<Overview>> {
        let (own, found) = (self.clone(), self.inner.overview(dispatch));
        Box::pin(async move { Ok(found.await?.filter(|it| own.is_own(&it.0))) })
    }

    fn document(&self, dispatch: DispatchId) -> Answer<Option<String>> {
        self.of(dispatch, self.inner.document(dispatch), None)
    }

    fn tasks(&self, dispatch: DispatchId) -> Answer<Vec<StoredTask>> {
        self.of(dispatch, self.inner.tasks(dispatch), Vec::new())
    }

    fn outputs(&self, dispatch: DispatchId, tasks: Vec<TaskIdx>) -> Answer<Vec<Option<String>>> {
        let nothing = vec![None; tasks.len()];
        self.of(dispatch, self.inner.outputs(dispatch, tasks), nothing)
    }

    fn records(&self, dispatch: DispatchId, filter: RecordFilter) -> Answer<Vec<Record>> {
        self.of(dispatch, self.inner.records(dispatch, filter), Vec::new())
    }

    fn recent(
        &self,
        caller: Option<Arc<str>>,
        before: Option<DispatchId>,
        limit: usize,
    ) -> Answer<Vec<DispatchRow>> {
        if caller.is_some_and(|it| it != self.caller) {
            return Box::pin(async { Ok(Vec::new()) });
        }
        self.inner.recent(Some(Arc::clone(&self.caller)), before, limit)
    }

    fn recent_plans(
        &self,
        caller: Option<Arc<str>>,
        before: Option<PlanId>,
        limit: usize,
    ) -> Answer<Vec<(PlanId, Millis)>> {
        if caller.is_some_and(|it| it != self.caller) {
            return Box::pin(async { Ok(Vec::new()) });
        }
        self.inner.recent_plans(Some(Arc::clone(&self.caller)), before, limit)
    }

    fn open_dispatches(&self) -> Answer<Vec<DispatchRow>> {
        let (own, open) = (self.clone(), self.inner.open_dispatches());
        Box::pin(async move {
            let mut open = open.await?;
            open.retain(|it| own.is_own(it));
            Ok(open)
        })
    }

    fn open_owners(&self) -> Answer<Vec<OpenOwner>> {
        self.inner.open_owners()
    }

    fn by_idempotency_key(&self, key: String) -> Answer<Option<KeyedDispatch>> {
        let (own, known) = (self.clone(), self.inner.by_idempotency_key(key));
        Box::pin(async move {
            let Some(known) = known.await? else { return Ok(None) };
            Ok(own.sees(known.dispatch).await?.then_some(known))
        })
    }

    fn requests(&self, owner: OwnerId) -> Answer<Vec<Asked>> {
        let (own, asked) = (self.clone(), self.inner.requests(owner));
        Box::pin(async move {
            let mut seen = Vec::new();
            for it in asked.await? {
                if own.sees(it.dispatch).await? {
                    seen.push(it);
                }
            }
            Ok(seen)
        })
    }

    /// Nobody but who made it knows the name of a request.
    fn request(&self, request: RequestId) -> Answer<Option<RequestState>> {
        self.inner.request(request)
    }

    fn changes(&self) -> Changes {
        self.inner.changes()
    }

    fn plan(&self, plan: PlanId) -> Answer<Option<StoredPlan>> {
        let (own, found) = (self.clone(), self.inner.plan(plan));
        let is_own = move |it: &StoredPlan| it.caller.as_ref() == Some(&own.caller);
        Box::pin(async move { Ok(found.await?.filter(is_own)) })
    }

    fn durations(&self, agents: Vec<AgentName>) -> Answer<Vec<(DurationKey, Durations)>> {
        self.inner.durations(agents)
    }

    fn known_result(&self, work: Digest) -> Answer<Option<KnownResult>> {
        let (own, known) = (self.clone(), self.inner.known_result(work));
        Box::pin(async move {
            let Some(known) = known.await? else { return Ok(None) };
            Ok(own.sees(known.from.dispatch_id).await?.then_some(known))
        })
    }
}

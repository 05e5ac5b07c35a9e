//! The store as one caller sees it, to whom nothing of others is there.

use std::sync::{Arc, OnceLock};

use crate::{
    model::{AgentName, DispatchId, DurationKey, Durations, Millis, PlanId, TaskIdx},
    ports::{
        Answer, Asked, Changes, Committed, Digest, DispatchRow, Journal, KeyedDispatch,
        KnownResult, OpenOwner, OwnerId, Query, Record, RecordFilter, RequestId, RequestState,
        Snapshot, StoreError, StoredPlan, StoredTask, Write, ask,
    },
};

/// Reads only what belongs to one caller; what belongs to others, or to nobody, reads as what is
/// unknown. What has no owner, as how long kinds of work take, is read as it is.
///
/// It does not look at what is written: nobody writes about a dispatch that they have not read.
#[derive(Clone, Debug)]
pub(super) struct OwnJournal {
    inner: Arc<dyn Journal>,
    own: Own,
}

/// Whose it is.
#[derive(Clone, Debug)]
struct Own {
    caller: Arc<str>,
    /// One dispatch that is known to be the caller's, which it stays: most who ask, ask of one.
    seen: Arc<OnceLock<DispatchId>>,
}

/// A snapshot of which only that is seen.
struct OwnSnapshot<'s> {
    inner: &'s dyn Snapshot,
    own: &'s Own,
}

impl OwnJournal {
    pub(super) fn new(inner: Arc<dyn Journal>, caller: Arc<str>) -> Self {
        Self { inner, own: Own { caller, seen: Arc::default() } }
    }

    /// Whether there is such a dispatch for the caller.
    pub(super) async fn sees(&self, dispatch: DispatchId) -> Result<bool, StoreError> {
        if self.own.has_seen(dispatch) {
            return Ok(true);
        }
        ask(self, move |it| Ok(it.dispatch(dispatch)?.is_some())).await
    }
}

impl Journal for OwnJournal {
    fn commit(&self, writes: Arc<[Write]>) -> Answer<Committed> {
        self.inner.commit(writes)
    }

    fn glance(&self, question: &mut dyn FnMut(&dyn Snapshot)) -> bool {
        self.inner.glance(&mut |inner| question(&OwnSnapshot { inner, own: &self.own }))
    }

    fn read(&self, query: Query) {
        let own = self.own.clone();
        self.inner.read(Box::new(move |snapshot| match snapshot {
            Ok(inner) => query(Ok(&OwnSnapshot { inner, own: &own })),
            Err(error) => query(Err(error)),
        }));
    }

    fn changes(&self) -> Changes {
        self.inner.changes()
    }
}

impl Own {
    fn has_seen(&self, dispatch: DispatchId) -> bool {
        self.seen.get() == Some(&dispatch)
    }

    fn has(&self, row: &DispatchRow) -> bool {
        let is_own = row.caller.as_ref() == Some(&self.caller);
        if is_own {
            // Where another one stands there already, this one is looked up again.
            let _other = self.seen.set(row.dispatch);
        }
        is_own
    }

    /// Whether somebody who wants what belongs to `caller`, or all, wants anything of this.
    fn is_wanted(&self, caller: Option<&str>) -> bool {
        caller.is_none_or(|it| it == &*self.caller)
    }
}

impl OwnSnapshot<'_> {
    fn sees(&self, dispatch: DispatchId) -> Result<bool, StoreError> {
        Ok(self.own.has_seen(dispatch) || self.dispatch(dispatch)?.is_some())
    }
}

impl Snapshot for OwnSnapshot<'_> {
    fn dispatch(&self, dispatch: DispatchId) -> Result<Option<DispatchRow>, StoreError> {
        Ok(self.inner.dispatch(dispatch)?.filter(|it| self.own.has(it)))
    }

    fn document(&self, dispatch: DispatchId) -> Result<Option<String>, StoreError> {
        if self.sees(dispatch)? { self.inner.document(dispatch) } else { Ok(None) }
    }

    fn tasks(&self, dispatch: DispatchId) -> Result<Vec<StoredTask>, StoreError> {
        if self.sees(dispatch)? { self.inner.tasks(dispatch) } else { Ok(Vec::new()) }
    }

    fn outputs(
        &self,
        dispatch: DispatchId,
        tasks: &[TaskIdx],
    ) -> Result<Vec<Option<String>>, StoreError> {
        if self.sees(dispatch)? {
            self.inner.outputs(dispatch, tasks)
        } else {
            Ok(vec![None; tasks.len()])
        }
    }

    fn records(
        &self,
        dispatch: DispatchId,
        filter: &RecordFilter,
    ) -> Result<Vec<Record>, StoreError> {
        if self.sees(dispatch)? { self.inner.records(dispatch, filter) } else { Ok(Vec::new()) }
    }

    fn recent(
        &self,
        caller: Option<&str>,
        before: Option<DispatchId>,
        limit: usize,
    ) -> Result<Vec<DispatchRow>, StoreError> {
        if !self.own.is_wanted(caller) {
            return Ok(Vec::new());
        }
        self.inner.recent(Some(&self.own.caller), before, limit)
    }

    fn open_dispatches(&self) -> Result<Vec<DispatchRow>, StoreError> {
        let mut open = self.inner.open_dispatches()?;
        open.retain(|it| self.own.has(it));
        Ok(open)
    }

    fn open_owners(&self) -> Result<Vec<OpenOwner>, StoreError> {
        self.inner.open_owners()
    }

    fn by_idempotency_key(&self, key: &str) -> Result<Option<KeyedDispatch>, StoreError> {
        let Some(known) = self.inner.by_idempotency_key(key)? else { return Ok(None) };
        Ok(if self.sees(known.dispatch)? { Some(known) } else { None })
    }

    fn requests(&self, owner: OwnerId) -> Result<Vec<Asked>, StoreError> {
        let mut seen = Vec::new();
        for it in self.inner.requests(owner)? {
            if self.sees(it.dispatch)? {
                seen.push(it);
            }
        }
        Ok(seen)
    }

    /// Nobody but who made it knows the name of a request.
    fn request(&self, request: RequestId) -> Result<Option<RequestState>, StoreError> {
        self.inner.request(request)
    }

    fn plan(&self, plan: PlanId) -> Result<Option<StoredPlan>, StoreError> {
        let is_own = |it: &StoredPlan| it.caller.as_ref() == Some(&self.own.caller);
        Ok(self.inner.plan(plan)?.filter(is_own))
    }

    fn recent_plans(
        &self,
        caller: Option<&str>,
        before: Option<PlanId>,
        limit: usize,
    ) -> Result<Vec<(PlanId, Millis)>, StoreError> {
        if !self.own.is_wanted(caller) {
            return Ok(Vec::new());
        }
        self.inner.recent_plans(Some(&self.own.caller), before, limit)
    }

    fn durations(&self, agents: &[AgentName]) -> Result<Vec<(DurationKey, Durations)>, StoreError> {
        self.inner.durations(agents)
    }

    fn known_result(&self, work: Digest) -> Result<Option<KnownResult>, StoreError> {
        let Some(known) = self.inner.known_result(work)? else { return Ok(None) };
        Ok(if self.sees(known.from.dispatch_id)? { Some(known) } else { None })
    }
}

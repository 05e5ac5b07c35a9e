//! A store in memory for tests, which fails, hangs and falls silent when it is told to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::fault_tests::Faults;
use crate::{
    model::{AgentName, DispatchId, DurationKey, Durations, Millis, PlanId},
    ports::{
        Asked, Changes, Committed, Digest, DispatchRow, Journal, KeyedDispatch, KnownResult,
        OpenOwner, Overview, OwnerId, Record, RecordFilter, RequestId, RequestState, StoreError,
        StoredPlan, StoredTask, Write,
    },
    stores::MemoryStore,
};

/// A store in memory that refuses commits while it is told to.
#[derive(Debug, Default)]
pub(super) struct Flaky {
    pub(super) inner: MemoryStore,
    pub(super) is_broken: AtomicBool,
    /// Which of the commits and reads fail.
    pub(super) faults: Faults,
    /// Whether commits wait until this is false again: the process seems to hang.
    pub(super) is_stuck: watch::Sender<bool>,
    /// Whether the answers to commits wait until this is false again.
    pub(super) is_mute: watch::Sender<bool>,
}

impl Flaky {
    /// The same store, as another process reaches it.
    pub(super) fn elsewhere(&self) -> Arc<Self> {
        Arc::new(Self { inner: self.inner.clone(), ..Self::default() })
    }

    /// Reads, unless that fails.
    fn read<T: Send + 'static>(&self, answer: Answer<T>) -> Answer<T> {
        match self.faults.next("read") {
            Ok(()) => answer,
            Err(error) => Box::pin(async { Err(error) }),
        }
    }
}

type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

impl Journal for Flaky {
    fn commit(&self, writes: Arc<[Write]>) -> Answer<Committed> {
        if self.is_broken.load(Ordering::SeqCst) {
            let reason = "no space left on device".into();
            let error = StoreError::Unavailable { action: "write", reason };
            return Box::pin(async { Err(error) });
        }
        if let Err(error) = self.faults.next("write") {
            return Box::pin(async { Err(error) });
        }
        let (mut is_stuck, inner) = (self.is_stuck.subscribe(), self.inner.clone());
        let mut is_mute = self.is_mute.subscribe();
        Box::pin(async move {
            is_stuck.wait_for(|it| !it).await.ok();
            let committed = inner.commit(writes).await;
            is_mute.wait_for(|it| !it).await.ok();
            committed
        })
    }

    fn dispatch(&self, dispatch: DispatchId) -> Answer<Option<DispatchRow>> {
        self.read(self.inner.dispatch(dispatch))
    }

    fn overview(&self, dispatch: DispatchId) -> Answer<Option<Overview>> {
        self.read(self.inner.overview(dispatch))
    }

    fn document(&self, dispatch: DispatchId) -> Answer<Option<String>> {
        self.read(self.inner.document(dispatch))
    }

    fn tasks(&self, dispatch: DispatchId) -> Answer<Vec<StoredTask>> {
        self.read(self.inner.tasks(dispatch))
    }

    fn outputs(
        &self,
        dispatch: DispatchId,
        tasks: Vec<crate::model::TaskIdx>,
    ) -> Answer<Vec<Option<String>>> {
        self.read(self.inner.outputs(dispatch, tasks))
    }

    fn records(&self, dispatch: DispatchId, filter: RecordFilter) -> Answer<Vec<Record>> {
        self.read(self.inner.records(dispatch, filter))
    }

    fn recent(
        &self,
        caller: Option<Arc<str>>,
        before: Option<DispatchId>,
        limit: usize,
    ) -> Answer<Vec<DispatchRow>> {
        self.read(self.inner.recent(caller, before, limit))
    }

    fn open_dispatches(&self) -> Answer<Vec<DispatchRow>> {
        self.read(self.inner.open_dispatches())
    }

    fn open_owners(&self) -> Answer<Vec<OpenOwner>> {
        self.read(self.inner.open_owners())
    }

    fn changes(&self) -> Changes {
        self.inner.changes()
    }

    fn by_idempotency_key(&self, key: String) -> Answer<Option<KeyedDispatch>> {
        self.read(self.inner.by_idempotency_key(key))
    }

    fn requests(&self, owner: OwnerId) -> Answer<Vec<Asked>> {
        self.read(self.inner.requests(owner))
    }

    fn request(&self, request: RequestId) -> Answer<Option<RequestState>> {
        self.read(self.inner.request(request))
    }

    fn plan(&self, plan: PlanId) -> Answer<Option<StoredPlan>> {
        self.read(self.inner.plan(plan))
    }

    fn recent_plans(
        &self,
        caller: Option<Arc<str>>,
        before: Option<PlanId>,
        limit: usize,
    ) -> Answer<Vec<(PlanId, Millis)>> {
        self.read(self.inner.recent_plans(caller, before, limit))
    }

    fn durations(&self, agents: Vec<AgentName>) -> Answer<Vec<(DurationKey, Durations)>> {
        self.read(self.inner.durations(agents))
    }

    fn known_result(&self, work: Digest) -> Answer<Option<KnownResult>> {
        self.read(self.inner.known_result(work))
    }
}

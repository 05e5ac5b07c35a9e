//! What stands in the store at one moment, and how to ask for it.

use tokio::sync::oneshot;

use super::{
    Answer, Asked, Digest, DispatchRow, Journal, KeyedDispatch, KnownResult, OpenOwner, Overview,
    OwnerId, Record, RecordFilter, RequestId, RequestState, StoreError, StoredPlan, StoredTask,
};
use crate::model::{AgentName, DispatchId, DurationKey, Durations, Millis, PlanId, TaskIdx};

/// The answers of a store, all as of the same moment. Asking blocks.
pub trait Snapshot {
    /// One dispatch.
    fn dispatch(&self, dispatch: DispatchId) -> Result<Option<DispatchRow>, StoreError>;

    /// The document of a dispatch.
    fn document(&self, dispatch: DispatchId) -> Result<Option<String>, StoreError>;

    /// All tasks of a dispatch, in document order.
    fn tasks(&self, dispatch: DispatchId) -> Result<Vec<StoredTask>, StoreError>;

    /// One dispatch with all its tasks.
    fn overview(&self, dispatch: DispatchId) -> Result<Option<Overview>, StoreError> {
        let Some(row) = self.dispatch(dispatch)? else { return Ok(None) };
        Ok(Some((row, self.tasks(dispatch)?)))
    }

    /// What the agents of these tasks answered, in the order asked; `None` where there is nothing.
    fn outputs(
        &self,
        dispatch: DispatchId,
        tasks: &[TaskIdx],
    ) -> Result<Vec<Option<String>>, StoreError>;

    /// Records of a dispatch, oldest first.
    fn records(
        &self,
        dispatch: DispatchId,
        filter: &RecordFilter,
    ) -> Result<Vec<Record>, StoreError>;

    /// Dispatches, newest first: at most `limit` that are older than `before`; those that belong to
    /// `caller`, or all.
    fn recent(
        &self,
        caller: Option<&str>,
        before: Option<DispatchId>,
        limit: usize,
    ) -> Result<Vec<DispatchRow>, StoreError>;

    /// Dispatches that have not ended, oldest first.
    fn open_dispatches(&self) -> Result<Vec<DispatchRow>, StoreError>;

    /// The processes that own dispatches which have not ended; cheap when there are none.
    fn open_owners(&self) -> Result<Vec<OpenOwner>, StoreError>;

    /// The dispatch that an idempotency key stands for, with the digest it was given with.
    fn by_idempotency_key(&self, key: &str) -> Result<Option<KeyedDispatch>, StoreError>;

    /// Requests about dispatches of `owner` that were not handled yet, in the order in which they
    /// came.
    fn requests(&self, owner: OwnerId) -> Result<Vec<Asked>, StoreError>;

    /// Where a request stands; nothing once it was carried out.
    fn request(&self, request: RequestId) -> Result<Option<RequestState>, StoreError>;

    /// A plan.
    fn plan(&self, plan: PlanId) -> Result<Option<StoredPlan>, StoreError>;

    /// Plans with the time at which each was made, newest first: at most `limit` that are older
    /// than `before`; those that belong to `caller`, or all.
    fn recent_plans(
        &self,
        caller: Option<&str>,
        before: Option<PlanId>,
        limit: usize,
    ) -> Result<Vec<(PlanId, Millis)>, StoreError>;

    /// How long attempts of these agents took, by kind of work.
    fn durations(&self, agents: &[AgentName]) -> Result<Vec<(DurationKey, Durations)>, StoreError>;

    /// The newest result of this work that still stands.
    fn known_result(&self, work: Digest) -> Result<Option<KnownResult>, StoreError>;
}

/// What is to be found out from a snapshot, or is told why there is none. It runs once, where it
/// may block, and should take no longer than it needs to read: few run at the same time.
pub type Query = Box<dyn FnOnce(Result<&dyn Snapshot, StoreError>) + Send>;

/// Asks the store whatever one answer needs: one look at one moment. `question` runs at once where
/// it is soon answered; else it is dropped half-way, and runs again where it may block.
pub fn ask<T: Send + 'static>(
    journal: &(impl Journal + ?Sized),
    question: impl Fn(&dyn Snapshot) -> Result<T, StoreError> + Send + 'static,
) -> Answer<T> {
    let mut found = None;
    if journal.glance(&mut |snapshot| found = Some(question(snapshot)))
        && let Some(found) = found
    {
        return Box::pin(std::future::ready(found));
    }
    let (answer, heard) = oneshot::channel();
    journal.read(Box::new(move |snapshot| {
        // Whoever asked may have gone.
        answer.send(snapshot.and_then(question)).ok();
    }));
    Box::pin(async move { heard.await.unwrap_or_else(|_| Err(unanswered())) })
}

fn unanswered() -> StoreError {
    StoreError::Unavailable { action: "read", reason: "it gives no answer".to_owned() }
}

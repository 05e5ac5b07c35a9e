//! The store as it stood when a read began: one transaction around all that is asked.

use std::cell::Cell;

use rusqlite::{Connection, Transaction};

use super::{query, reuse, trouble::Trouble};
use crate::{
    model::{AgentName, DispatchId, DurationKey, Durations, Millis, PlanId, TaskIdx},
    ports::{
        Asked, Digest, DispatchRow, KeyedDispatch, KnownResult, OpenOwner, OwnerId, Record,
        RecordFilter, RequestId, RequestState, Snapshot, StoreError, StoredPlan, StoredTask,
    },
};

/// One look at the store. It sees no commit that came after its first question.
#[derive(Debug)]
pub(super) struct SqliteSnapshot<'c> {
    transaction: Transaction<'c>,
    is_in_doubt: Cell<bool>,
}

impl<'c> SqliteSnapshot<'c> {
    pub(super) fn take(connection: &'c Connection) -> Result<Self, Trouble> {
        let transaction = connection.unchecked_transaction()?;
        Ok(Self { transaction, is_in_doubt: Cell::new(false) })
    }

    /// Ends the look; whether the connection can no longer be trusted after what was asked.
    pub(super) fn end_in_doubt(self) -> bool {
        self.is_in_doubt.get() || self.transaction.commit().is_err()
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        question(&self.transaction).map_err(|trouble| {
            if trouble.is_in_doubt() {
                self.is_in_doubt.set(true);
            }
            trouble.to_error("read")
        })
    }
}

impl Snapshot for SqliteSnapshot<'_> {
    fn dispatch(&self, dispatch: DispatchId) -> Result<Option<DispatchRow>, StoreError> {
        self.ask(|it| query::dispatch(it, dispatch))
    }

    fn document(&self, dispatch: DispatchId) -> Result<Option<String>, StoreError> {
        self.ask(|it| query::document(it, dispatch))
    }

    fn tasks(&self, dispatch: DispatchId) -> Result<Vec<StoredTask>, StoreError> {
        self.ask(|it| query::tasks(it, dispatch))
    }

    fn outputs(
        &self,
        dispatch: DispatchId,
        tasks: &[TaskIdx],
    ) -> Result<Vec<Option<String>>, StoreError> {
        self.ask(|it| query::outputs(it, dispatch, tasks))
    }

    fn records(
        &self,
        dispatch: DispatchId,
        filter: &RecordFilter,
    ) -> Result<Vec<Record>, StoreError> {
        self.ask(|it| query::records(it, dispatch, filter))
    }

    fn recent(
        &self,
        caller: Option<&str>,
        before: Option<DispatchId>,
        limit: usize,
    ) -> Result<Vec<DispatchRow>, StoreError> {
        self.ask(|it| query::recent(it, caller, before, limit))
    }

    fn open_dispatches(&self) -> Result<Vec<DispatchRow>, StoreError> {
        self.ask(query::open_dispatches)
    }

    fn open_owners(&self) -> Result<Vec<OpenOwner>, StoreError> {
        self.ask(query::open_owners)
    }

    fn by_idempotency_key(&self, key: &str) -> Result<Option<KeyedDispatch>, StoreError> {
        self.ask(|it| query::by_idempotency_key(it, key))
    }

    fn requests(&self, owner: OwnerId) -> Result<Vec<Asked>, StoreError> {
        self.ask(|it| query::requests(it, owner))
    }

    fn request(&self, request: RequestId) -> Result<Option<RequestState>, StoreError> {
        self.ask(|it| query::request(it, request))
    }

    fn plan(&self, plan: PlanId) -> Result<Option<StoredPlan>, StoreError> {
        self.ask(|it| query::plan(it, plan))
    }

    fn recent_plans(
        &self,
        caller: Option<&str>,
        before: Option<PlanId>,
        limit: usize,
    ) -> Result<Vec<(PlanId, Millis)>, StoreError> {
        self.ask(|it| query::recent_plans(it, caller, before, limit))
    }

    fn durations(&self, agents: &[AgentName]) -> Result<Vec<(DurationKey, Durations)>, StoreError> {
        self.ask(|it| query::durations(it, agents))
    }

    fn known_result(&self, work: Digest) -> Result<Option<KnownResult>, StoreError> {
        self.ask(|it| reuse::known_result(it, work))
    }
}

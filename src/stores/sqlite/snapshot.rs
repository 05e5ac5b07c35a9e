//! The store as it stood when a read began: one transaction around all that is asked.

use std::cell::Cell;

use rusqlite::Connection;

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
    connection: &'c Connection,
    seen: Cell<Seen>,
}

/// How much of what was asked was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    All,
    /// A question failed, or took more than it may.
    Part,
    /// A question failed, and the connection can no longer be trusted.
    InDoubt,
}

impl<'c> SqliteSnapshot<'c> {
    pub(super) fn take(connection: &'c Connection) -> Result<Self, Trouble> {
        run(connection, "BEGIN")?;
        Ok(Self { connection, seen: Cell::new(Seen::All) })
    }

    /// Ends the look.
    pub(super) fn end(self) -> Seen {
        run(self.connection, "COMMIT").map_or(Seen::InDoubt, |()| self.seen.get())
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        question(self.connection).map_err(|trouble| {
            let seen = if trouble.is_in_doubt() { Seen::InDoubt } else { Seen::Part };
            self.seen.set(self.seen.get().max(seen));
            trouble.to_error("read")
        })
    }
}

/// After a look that was broken off by a fault of who asks.
impl Drop for SqliteSnapshot<'_> {
    fn drop(&mut self) {
        if !self.connection.is_autocommit() {
            run(self.connection, "ROLLBACK").ok();
        }
    }
}

fn run(connection: &Connection, sql: &str) -> Result<(), Trouble> {
    connection.prepare_cached(sql)?.execute(())?;
    Ok(())
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

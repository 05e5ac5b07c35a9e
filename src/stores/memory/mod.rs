//! A store that lasts as long as the process: for tests and for what nobody will ask for again.

mod state;

use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::state::{Kept, State, is_wanted};
use crate::{
    model::{
        AgentName, DispatchId, DispatchStatus, DurationKey, Durations, Millis, PlanId, TaskIdx,
    },
    ports::{
        Asked, Changes, Committed, Digest, DispatchRow, EndedDispatch, Journal, KeyedDispatch,
        KnownResult, OpenOwner, Overview, OwnerId, Record, RecordFilter, RequestId, RequestState,
        StoreError, StoreUsage, StoredPlan, StoredTask, Swept, Upkeep, Write,
    },
};

/// Keeps dispatches in memory; clones share what they keep.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    /// Guards everything that is kept. Held for one commit or one read, never across an await.
    state: Arc<Mutex<State>>,
    /// Told of each commit.
    changes: Arc<watch::Sender<()>>,
}

impl MemoryStore {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&State) -> T + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let state = Arc::clone(&self.state);
        Box::pin(async move { Ok(query(&state.lock())) })
    }
}

impl Journal for MemoryStore {
    fn commit(&self, writes: Arc<[Write]>) -> BoxFuture<'static, Result<Committed, StoreError>> {
        let (state, changes) = (Arc::clone(&self.state), Arc::clone(&self.changes));
        Box::pin(async move {
            let committed = state.lock().commit(&writes)?;
            changes.send_replace(());
            Ok(committed)
        })
    }

    fn dispatch(
        &self,
        dispatch: DispatchId,
    ) -> BoxFuture<'static, Result<Option<DispatchRow>, StoreError>> {
        self.read(move |state| state.dispatches.get(&dispatch).map(Kept::row))
    }

    fn overview(
        &self,
        dispatch: DispatchId,
    ) -> BoxFuture<'static, Result<Option<Overview>, StoreError>> {
        self.read(move |state| {
            state.dispatches.get(&dispatch).map(|it| (it.row(), it.tasks.clone()))
        })
    }

    fn document(
        &self,
        dispatch: DispatchId,
    ) -> BoxFuture<'static, Result<Option<String>, StoreError>> {
        self.read(move |state| state.dispatches.get(&dispatch).map(|it| it.document.clone()))
    }

    fn tasks(
        &self,
        dispatch: DispatchId,
    ) -> BoxFuture<'static, Result<Vec<StoredTask>, StoreError>> {
        self.read(move |state| {
            state.dispatches.get(&dispatch).map(|it| it.tasks.clone()).unwrap_or_default()
        })
    }

    fn outputs(
        &self,
        dispatch: DispatchId,
        tasks: Vec<TaskIdx>,
    ) -> BoxFuture<'static, Result<Vec<Option<String>>, StoreError>> {
        self.read(move |state| {
            let kept = state.dispatches.get(&dispatch);
            tasks.iter().map(|task| kept?.outputs.get(task).cloned()).collect()
        })
    }

    fn records(
        &self,
        dispatch: DispatchId,
        filter: RecordFilter,
    ) -> BoxFuture<'static, Result<Vec<Record>, StoreError>> {
        self.read(move |state| {
            let records = state.dispatches.get(&dispatch).map(|it| it.records.as_slice());
            let wanted = records.unwrap_or_default().iter().filter(|it| is_wanted(it, &filter));
            wanted.take(filter.limit).cloned().collect()
        })
    }

    fn recent(
        &self,
        caller: Option<Arc<str>>,
        before: Option<DispatchId>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<DispatchRow>, StoreError>> {
        self.read(move |state| {
            let newest_first = state.dispatches.values().rev();
            let own = newest_first.filter(|it| caller.is_none() || it.caller == caller);
            let older = own.filter(|it| before.is_none_or(|before| it.dispatch < before));
            older.take(limit).map(Kept::row).collect()
        })
    }

    fn open_dispatches(&self) -> BoxFuture<'static, Result<Vec<DispatchRow>, StoreError>> {
        self.read(|state| {
            let open = state.dispatches.values().filter(|it| it.status == DispatchStatus::Running);
            open.map(Kept::row).collect()
        })
    }

    fn open_owners(&self) -> BoxFuture<'static, Result<Vec<OpenOwner>, StoreError>> {
        self.read(|state| {
            let lease_until = |it| state.leases.get(&it).copied();
            let owners = state.open_owners().into_iter();
            owners.map(|it| OpenOwner { owner: it, lease_until: lease_until(it) }).collect()
        })
    }

    fn changes(&self) -> Changes {
        Changes::new(self.changes.subscribe())
    }

    fn by_idempotency_key(
        &self,
        key: String,
    ) -> BoxFuture<'static, Result<Option<KeyedDispatch>, StoreError>> {
        self.read(move |state| state.keys.get(&key).copied())
    }

    fn requests(&self, owner: OwnerId) -> BoxFuture<'static, Result<Vec<Asked>, StoreError>> {
        self.read(move |state| {
            let owns = |it: &Asked| {
                state.dispatches.get(&it.dispatch).is_some_and(|it| it.head.owner == owner)
            };
            let waiting = state.requests.iter().filter(|it| it.1.is_none());
            waiting.map(|it| &it.0).filter(|it| owns(it)).cloned().collect()
        })
    }

    fn request(
        &self,
        request: RequestId,
    ) -> BoxFuture<'static, Result<Option<RequestState>, StoreError>> {
        self.read(move |state| {
            let (_, refusal) = state.requests.iter().find(|it| it.0.id == request)?;
            Some(refusal.clone().map_or(RequestState::Waits, RequestState::Refused))
        })
    }

    fn plan(&self, plan: PlanId) -> BoxFuture<'static, Result<Option<StoredPlan>, StoreError>> {
        self.read(move |state| state.plans.get(&plan).map(|it| it.1.clone()))
    }

    fn recent_plans(
        &self,
        caller: Option<Arc<str>>,
        before: Option<PlanId>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<(PlanId, Millis)>, StoreError>> {
        self.read(move |state| {
            let newest_first = state.plans.iter().rev();
            let own = newest_first.filter(|(_, it)| caller.is_none() || it.1.caller == caller);
            let older = own.filter(|(id, _)| before.is_none_or(|before| **id < before));
            older.take(limit).map(|(id, it)| (*id, it.0)).collect()
        })
    }

    fn durations(
        &self,
        agents: Vec<AgentName>,
    ) -> BoxFuture<'static, Result<Vec<(DurationKey, Durations)>, StoreError>> {
        self.read(move |state| {
            let wanted = state.durations.iter().filter(|(key, _)| agents.contains(&key.agent));
            wanted.map(|(key, it)| (DurationKey::clone(key), it.1.clone())).collect()
        })
    }

    fn known_result(
        &self,
        work: Digest,
    ) -> BoxFuture<'static, Result<Option<KnownResult>, StoreError>> {
        self.read(move |state| state.known_result(work))
    }
}

impl Upkeep for MemoryStore {
    fn usage(&self) -> BoxFuture<'static, Result<StoreUsage, StoreError>> {
        self.read(|state| {
            let n_ended = state.dispatches.values().filter(|it| it.head.has_ended).count();
            let bytes = state.dispatches.values().map(Kept::size).sum();
            StoreUsage { n_ended, bytes_used: bytes, bytes_taken: bytes }
        })
    }

    fn ended(
        &self,
        before: Millis,
        after: Option<(Millis, DispatchId)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<EndedDispatch>, StoreError>> {
        self.read(move |state| {
            let ended = state.dispatches.values().filter_map(Kept::ended);
            let is_wanted = |it: &EndedDispatch| {
                it.ended_at < before && after.is_none_or(|after| after < (it.ended_at, it.dispatch))
            };
            let mut wanted: Vec<_> = ended.filter(is_wanted).collect();
            wanted.sort_by_key(|it| (it.ended_at, it.dispatch));
            wanted.truncate(limit);
            wanted
        })
    }

    fn size_of(&self, dispatch: DispatchId) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.read(move |state| state.dispatches.get(&dispatch).map_or(0, Kept::size))
    }

    fn forget(&self, dispatches: Vec<DispatchId>) -> BoxFuture<'static, Result<(), StoreError>> {
        let state = Arc::clone(&self.state);
        Box::pin(async move {
            let mut state = state.lock();
            let State { dispatches: all, keys, results, requests, .. } = &mut *state;
            all.retain(|id, it| !it.head.has_ended || !dispatches.contains(id));
            keys.retain(|_, it| all.contains_key(&it.dispatch));
            results.retain(|it| all.contains_key(&it));
            requests.retain(|it| all.contains_key(&it.0.dispatch));
            Ok(())
        })
    }

    fn sweep(&self, plans_before: Millis) -> BoxFuture<'static, Result<Swept, StoreError>> {
        let state = Arc::clone(&self.state);
        Box::pin(async move {
            let mut state = state.lock();
            let open = state.open_owners();
            let State { plans, leases, .. } = &mut *state;
            let n_before = plans.len();
            plans.retain(|_, it| it.0 >= plans_before);
            leases.retain(|owner, until| *until >= plans_before || open.contains(owner));
            Ok(Swept { n_plans: n_before - plans.len(), is_done: true })
        })
    }

    fn shrink(&self) -> BoxFuture<'static, Result<bool, StoreError>> {
        Box::pin(async { Ok(true) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::contract;

    contract::journal_contract!(((), MemoryStore::new()));
}

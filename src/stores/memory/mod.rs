//! A store that lasts as long as the process: for tests and for what nobody will ask for again.

mod snapshot;
mod state;

use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::state::{Kept, State};
use crate::{
    model::{DispatchId, Millis},
    ports::{
        Answer, Changes, Committed, EndedDispatch, Journal, Query, StoreError, StoreUsage, Swept,
        Upkeep, Write,
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

    fn look<T: Send + 'static>(
        &self,
        query: impl FnOnce(&State) -> T + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let state = Arc::clone(&self.state);
        Box::pin(async move { Ok(query(&state.lock())) })
    }
}

impl Journal for MemoryStore {
    fn commit(&self, writes: Arc<[Write]>) -> Answer<Committed> {
        let (state, changes) = (Arc::clone(&self.state), Arc::clone(&self.changes));
        Box::pin(async move {
            let committed = state.lock().commit(&writes)?;
            changes.send_replace(());
            Ok(committed)
        })
    }

    fn read(&self, query: Query) {
        query(Ok(&*self.state.lock()));
    }

    fn changes(&self) -> Changes {
        Changes::new(self.changes.subscribe())
    }
}

impl Upkeep for MemoryStore {
    fn usage(&self) -> BoxFuture<'static, Result<StoreUsage, StoreError>> {
        self.look(|state| {
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
        self.look(move |state| {
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
        self.look(move |state| state.dispatches.get(&dispatch).map_or(0, Kept::size))
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
            let open = state.owners_of_open();
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

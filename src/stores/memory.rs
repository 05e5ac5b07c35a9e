//! A store that lasts as long as the process: for tests and for what nobody will ask for again.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    sync::Arc,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::head::{Head, KINDS_MAX, accepted_twice, fence, refuse, takes_effect, unknown};
use crate::{
    model::{
        AgentName, DispatchId, DispatchStatus, DurationKey, Durations, Millis, PlanId, TaskId,
        TaskIdx, TaskStatus,
    },
    ports::{
        Accept, CancelAsked, Changes, Committed, DispatchRow, EndedDispatch, Journal,
        KeyedDispatch, OpenOwner, Overview, OwnerId, Record, RecordFilter, StoreError, StoreUsage,
        StoredTask, Swept, TaskRow, Upkeep, Write,
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
        before: Option<DispatchId>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<DispatchRow>, StoreError>> {
        self.read(move |state| {
            let newest_first = state.dispatches.values().rev();
            let older = newest_first.filter(|it| before.is_none_or(|before| it.dispatch < before));
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

    fn cancel_requests(
        &self,
        owner: OwnerId,
    ) -> BoxFuture<'static, Result<Vec<CancelAsked>, StoreError>> {
        self.read(move |state| {
            let owned = state.dispatches.values().filter(|it| it.head.owner == owner);
            owned.flat_map(|it| it.cancels.iter().cloned()).collect()
        })
    }

    fn plan(&self, plan: PlanId) -> BoxFuture<'static, Result<Option<String>, StoreError>> {
        self.read(move |state| state.plans.get(&plan).map(|it| it.1.clone()))
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
            let State { dispatches: all, keys, .. } = &mut *state;
            all.retain(|id, it| !it.head.has_ended || !dispatches.contains(id));
            keys.retain(|_, it| all.contains_key(&it.dispatch));
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

#[derive(Debug, Default)]
struct State {
    dispatches: BTreeMap<DispatchId, Kept>,
    keys: BTreeMap<String, KeyedDispatch>,
    plans: BTreeMap<PlanId, (Millis, String)>,
    leases: BTreeMap<OwnerId, Millis>,
    /// Each with the time of its last sample.
    durations: BTreeMap<Arc<DurationKey>, (Millis, Durations)>,
}

#[derive(Debug)]
struct Kept {
    dispatch: DispatchId,
    status: DispatchStatus,
    created_at: Millis,
    ended_at: Option<Millis>,
    head: Head,
    document: String,
    tasks: Vec<StoredTask>,
    outputs: BTreeMap<TaskIdx, String>,
    records: Vec<Record>,
    cancels: Vec<CancelAsked>,
    critical_path: Millis,
    meta: String,
}

impl State {
    /// Checks everything first, so that what is applied cannot fail halfway.
    fn commit(&mut self, writes: &[Write]) -> Result<Committed, StoreError> {
        let refused = refuse(writes, |key| Ok(self.keys.contains_key(key)))?;
        let head_of = |it| Ok::<_, StoreError>(self.dispatches.get(&it).map(|it| it.head));
        let (fenced, lost) = fence(writes, head_of)?;
        let committed = Committed { refused, fenced, lost };
        let mut writes = writes.to_vec();
        writes.retain(|it| takes_effect(it, &committed));
        self.check(&writes)?;
        for write in writes {
            self.apply(write);
        }
        Ok(committed)
    }

    fn check(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut heads: BTreeMap<DispatchId, Head> = BTreeMap::new();
        for write in writes {
            let Some(dispatch) = write.dispatch() else { continue };
            if let Write::Accept(accept) = write {
                let head = Head::new(accept.tasks.len(), accept.owner);
                if self.dispatches.contains_key(&dispatch) || heads.insert(dispatch, head).is_some()
                {
                    return Err(accepted_twice(dispatch));
                }
                continue;
            }
            let head = match heads.entry(dispatch) {
                btree_map::Entry::Occupied(entry) => entry.into_mut(),
                btree_map::Entry::Vacant(entry) => {
                    let kept = self.dispatches.get(&dispatch).ok_or_else(|| unknown(dispatch))?;
                    entry.insert(kept.head)
                }
            };
            match write {
                Write::Record { record, .. } => head.follow(dispatch, record.seq)?,
                Write::Task { task, row, .. } => {
                    head.check_task(dispatch, *task)?;
                    row.caused_by.map_or(Ok(()), |it| head.check_task(dispatch, it))?;
                }
                Write::Output { task, .. } => head.check_task(dispatch, *task)?,
                Write::RequestCancel { tasks, .. } => {
                    tasks.iter().try_for_each(|it| head.check_task(dispatch, *it))?;
                }
                Write::Accept(_)
                | Write::End { .. }
                | Write::CancelHandled { .. }
                | Write::Claim { .. }
                | Write::Adopt { .. }
                | Write::Lease { .. }
                | Write::Plan { .. }
                | Write::Duration { .. } => {}
            }
        }
        Ok(())
    }

    /// Carries out a write that was checked.
    fn apply(&mut self, write: Write) {
        match write {
            Write::Accept(accept) => self.accept(*accept),
            Write::Plan { plan, at, document } => {
                self.plans.insert(plan, (at, document));
            }
            Write::Lease { owner, until, .. } => {
                self.leases.insert(owner, until);
            }
            Write::Claim { .. } => {}
            Write::Record { dispatch, record } => {
                self.change(dispatch, |kept| {
                    kept.head.last_seq = record.seq;
                    kept.records.push(record);
                });
            }
            Write::Task { dispatch, task, row } => {
                self.change(dispatch, |kept| {
                    let stored = &mut kept.tasks[task.as_usize()];
                    kept.head.count(stored.row.status, row.status);
                    stored.row = row;
                });
            }
            Write::Output { dispatch, task, json } => {
                self.change(dispatch, |kept| {
                    kept.outputs.insert(task, json);
                });
            }
            Write::End { dispatch, status, at, critical_path } => {
                self.change(dispatch, |kept| {
                    (kept.status, kept.ended_at) = (status, Some(at));
                    kept.critical_path = critical_path;
                    kept.head.has_ended = true;
                });
            }
            Write::RequestCancel { dispatch, tasks, reason } => {
                let asked = CancelAsked { dispatch, tasks, reason };
                self.change(dispatch, |kept| kept.cancels.push(asked));
            }
            Write::CancelHandled { dispatch } => {
                self.change(dispatch, |kept| kept.cancels.clear());
            }
            Write::Adopt { dispatch, found, owner } => {
                self.change(dispatch, |kept| {
                    (kept.head.owner, kept.head.epoch) = (owner, found.epoch.next());
                });
            }
            Write::Duration { key, at, took } => self.add_duration(key, at, took),
        }
    }

    fn add_duration(&mut self, key: Arc<DurationKey>, at: Millis, took: Millis) {
        let agent = key.agent.clone();
        let (last, durations) = self.durations.entry(key).or_default();
        *last = at;
        durations.add(took);
        let kinds = self.durations.iter().filter(|it| it.0.agent == agent);
        if kinds.clone().count() > KINDS_MAX
            && let Some((oldest, _)) = kinds.min_by_key(|it| it.1.0)
        {
            let oldest = Arc::clone(oldest);
            self.durations.remove(&oldest);
        }
    }

    /// Who owns dispatches that have not ended.
    fn open_owners(&self) -> BTreeSet<OwnerId> {
        let open = self.dispatches.values().filter(|it| !it.head.has_ended);
        open.map(|it| it.head.owner).collect()
    }

    fn change(&mut self, dispatch: DispatchId, change: impl FnOnce(&mut Kept)) {
        if let Some(kept) = self.dispatches.get_mut(&dispatch) {
            change(kept);
        }
    }

    fn accept(&mut self, accept: Accept) {
        if let Some((key, digest)) = accept.idempotency {
            self.keys.insert(key, KeyedDispatch { dispatch: accept.dispatch, digest });
        }
        let kept = Kept {
            dispatch: accept.dispatch,
            status: DispatchStatus::Running,
            created_at: accept.at,
            ended_at: None,
            head: Head::new(accept.tasks.len(), accept.owner),
            document: accept.document,
            tasks: accept.tasks.into_iter().enumerate().map(pending_task).collect(),
            outputs: BTreeMap::new(),
            records: Vec::new(),
            cancels: Vec::new(),
            critical_path: Millis(0),
            meta: accept.meta,
        };
        self.dispatches.insert(accept.dispatch, kept);
    }
}

impl Kept {
    fn row(&self) -> DispatchRow {
        DispatchRow {
            dispatch: self.dispatch,
            tenure: self.head.tenure(),
            status: self.status,
            created_at: self.created_at,
            ended_at: self.ended_at,
            n_tasks: self.head.n_tasks,
            n_successful: self.head.n_successful,
            n_unsuccessful: self.head.n_unsuccessful,
            critical_path: self.critical_path,
            meta: self.meta.clone(),
        }
    }

    fn ended(&self) -> Option<EndedDispatch> {
        Some(EndedDispatch {
            dispatch: self.dispatch,
            status: self.status,
            created_at: self.created_at,
            ended_at: self.ended_at?,
            n_tasks: self.head.n_tasks,
            meta: self.meta.clone(),
        })
    }

    /// Bytes, but for what is small.
    fn size(&self) -> u64 {
        let bytes = self.document.len() + self.outputs.values().map(String::len).sum::<usize>();
        bytes as u64
    }
}

fn pending_task((position, (task_id, agent)): (usize, (TaskId, AgentName))) -> StoredTask {
    let row = TaskRow {
        status: TaskStatus::Pending,
        attempts: 0,
        started_at: None,
        ended_at: None,
        failure: None,
        caused_by: None,
        usage: None,
    };
    StoredTask { task: TaskIdx::from_usize(position), task_id, agent, row }
}

fn is_wanted(record: &Record, filter: &RecordFilter) -> bool {
    record.seq > filter.after
        && filter.task.is_none_or(|task| record.body.subject().0 == Some(task))
        && (filter.kinds.is_empty() || filter.kinds.contains(&record.body.kind()))
}

#[cfg(test)]
mod tests {
    use super::{super::contract, *};

    contract::journal_contract!(((), MemoryStore::new()));
}

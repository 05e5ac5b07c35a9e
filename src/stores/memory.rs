//! A store that lasts as long as the process: for tests and for what nobody will ask for again.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::head::{Head, KINDS_MAX, accepted_twice, refuse, unknown};
use crate::{
    model::{
        AgentName, DispatchId, DispatchStatus, DurationKey, Durations, Millis, PlanId, TaskId,
        TaskIdx, TaskStatus,
    },
    ports::{
        Accept, CancelAsked, Committed, DispatchRow, Journal, KeyedDispatch, Overview, OwnerId,
        Record, RecordFilter, StoreError, StoredTask, TaskRow, Write,
    },
};

/// Keeps dispatches in memory; clones share what they keep.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    /// Guards everything that is kept. Held for one commit or one read, never across an await.
    state: Arc<Mutex<State>>,
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
    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'static, Result<Committed, StoreError>> {
        let state = Arc::clone(&self.state);
        Box::pin(async move { state.lock().commit(writes) })
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
            let owned = state.dispatches.values().filter(|it| it.owner == owner);
            owned.flat_map(|it| it.cancels.iter().cloned()).collect()
        })
    }

    fn plan(&self, plan: PlanId) -> BoxFuture<'static, Result<Option<String>, StoreError>> {
        self.read(move |state| state.plans.get(&plan).cloned())
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

#[derive(Debug, Default)]
struct State {
    dispatches: BTreeMap<DispatchId, Kept>,
    keys: BTreeMap<String, KeyedDispatch>,
    plans: BTreeMap<PlanId, String>,
    /// Each with the time of its last sample.
    durations: BTreeMap<Arc<DurationKey>, (Millis, Durations)>,
}

#[derive(Debug)]
struct Kept {
    dispatch: DispatchId,
    owner: OwnerId,
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
    fn commit(&mut self, mut writes: Vec<Write>) -> Result<Committed, StoreError> {
        let refused = refuse(&writes, |key| Ok(self.keys.contains_key(key)))?;
        writes.retain(|it| it.dispatch().is_none_or(|dispatch| !refused.contains(&dispatch)));
        self.check(&writes)?;
        for write in writes {
            self.apply(write);
        }
        Ok(Committed { refused })
    }

    fn check(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut heads: BTreeMap<DispatchId, Head> = BTreeMap::new();
        for write in writes {
            let Some(dispatch) = write.dispatch() else { continue };
            if let Write::Accept(accept) = write {
                let head = Head::new(accept.tasks.len());
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
                | Write::Adopt { .. }
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
            Write::Plan { plan, document, .. } => {
                self.plans.insert(plan, document);
            }
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
                });
            }
            Write::RequestCancel { dispatch, tasks, reason } => {
                let asked = CancelAsked { dispatch, tasks, reason };
                self.change(dispatch, |kept| kept.cancels.push(asked));
            }
            Write::CancelHandled { dispatch } => {
                self.change(dispatch, |kept| kept.cancels.clear());
            }
            Write::Adopt { dispatch, owner } => self.change(dispatch, |kept| kept.owner = owner),
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
            owner: accept.owner,
            status: DispatchStatus::Running,
            created_at: accept.at,
            ended_at: None,
            head: Head::new(accept.tasks.len()),
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
            owner: self.owner,
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
}

fn pending_task((position, (task_id, agent)): (usize, (TaskId, AgentName))) -> StoredTask {
    let row = TaskRow {
        status: TaskStatus::Pending,
        attempts: 0,
        started_at: None,
        ended_at: None,
        failure: None,
        caused_by: None,
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

//! What the store in memory keeps, and what a commit makes of it.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    sync::Arc,
};

use crate::{
    model::{
        AgentName, DispatchId, DispatchStatus, DurationKey, Durations, Millis, PlanId, Reused,
        TaskId, TaskIdx, TaskStatus, Timestamp,
    },
    ports::{
        Accept, Asked, Committed, Digest, DispatchRow, EndedDispatch, KeyedDispatch, KnownResult,
        OwnerId, Record, RecordFilter, Remember, StoreError, StoredPlan, StoredTask, TaskRow,
        Write,
    },
    stores::{
        head::{Head, KINDS_MAX, accepted_twice, fence, refuse, takes_effect, unknown},
        results::Results,
    },
};

/// Everything that is kept.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) dispatches: BTreeMap<DispatchId, Kept>,
    pub(super) keys: BTreeMap<String, KeyedDispatch>,
    pub(super) plans: BTreeMap<PlanId, (Millis, StoredPlan)>,
    pub(super) leases: BTreeMap<OwnerId, Millis>,
    /// Each with why it was refused, once it was.
    pub(super) requests: Vec<(Asked, Option<String>)>,
    /// Each with the time of its last sample.
    pub(super) durations: BTreeMap<Arc<DurationKey>, (Millis, Durations)>,
    pub(super) results: Results,
}

/// A dispatch.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) dispatch: DispatchId,
    pub(super) status: DispatchStatus,
    pub(super) created_at: Millis,
    pub(super) ended_at: Option<Millis>,
    pub(super) head: Head,
    pub(super) document: String,
    pub(super) tasks: Vec<StoredTask>,
    pub(super) outputs: BTreeMap<TaskIdx, String>,
    pub(super) records: Vec<Record>,
    pub(super) critical_path: Millis,
    pub(super) meta: String,
    pub(super) caller: Option<Arc<str>>,
}

impl State {
    /// Checks everything first, so that what is applied cannot fail halfway.
    pub(super) fn commit(&mut self, writes: &[Write]) -> Result<Committed, StoreError> {
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
                Write::Remember(it) => head.check_task(dispatch, it.task)?,
                Write::Request(asked) => {
                    let mut tasks = asked.request.tasks().iter();
                    tasks.try_for_each(|it| head.check_task(dispatch, *it))?;
                }
                Write::Document { added, .. } => head.n_tasks += added.len(),
                Write::Accept(_)
                | Write::End { .. }
                | Write::Meta { .. }
                | Write::RequestHandled { .. }
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
            Write::Plan { plan, at, document, caller } => {
                self.plans.insert(plan, (at, StoredPlan { document, caller }));
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
            Write::Document { dispatch, json, added } => {
                self.change(dispatch, |kept| {
                    kept.document = json;
                    let first = kept.tasks.len();
                    let pending = added.into_iter().zip(first..);
                    kept.tasks.extend(pending.map(|(it, at)| pending_task((at, it))));
                    kept.head.n_tasks = kept.tasks.len();
                });
            }
            Write::End { dispatch, status, at, critical_path } => {
                self.change(dispatch, |kept| {
                    (kept.status, kept.ended_at) = (status, Some(at));
                    kept.critical_path = critical_path;
                    kept.head.has_ended = true;
                });
            }
            Write::Meta { dispatch, json } => self.change(dispatch, |kept| kept.meta = json),
            Write::Request(asked) => self.requests.push((*asked, None)),
            Write::RequestHandled { request, refusal: None, .. } => {
                self.requests.retain(|it| it.0.id != request);
            }
            Write::RequestHandled { request, refusal, .. } => {
                if let Some(known) = self.requests.iter_mut().find(|it| it.0.id == request) {
                    known.1 = refusal;
                }
            }
            Write::Adopt { dispatch, found, owner } => {
                self.change(dispatch, |kept| {
                    (kept.head.owner, kept.head.epoch) = (owner, found.epoch.next());
                });
            }
            Write::Duration { key, at, took } => self.add_duration(key, at, took),
            Write::Remember(it) => self.results.remember(*it),
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

    /// What was left of the same work.
    pub(super) fn result_of(&self, work: Digest) -> Option<KnownResult> {
        let Remember { dispatch, task, at, evidence, .. } = self.results.find(work)?;
        let kept = self.dispatches.get(dispatch)?;
        let task_id = kept.tasks.get(task.as_usize())?.task_id.clone();
        Some(KnownResult {
            from: Reused { dispatch_id: *dispatch, task_id, at: Timestamp(*at) },
            output: kept.outputs.get(task)?.clone(),
            evidence: evidence.clone(),
        })
    }

    /// Who owns dispatches that have not ended.
    pub(super) fn owners_of_open(&self) -> BTreeSet<OwnerId> {
        let open = self.dispatches.values().filter(|it| !it.head.has_ended);
        open.map(|it| it.head.owner).collect()
    }

    pub(super) fn change(&mut self, dispatch: DispatchId, change: impl FnOnce(&mut Kept)) {
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
            critical_path: Millis(0),
            meta: accept.meta,
            caller: accept.caller,
        };
        self.dispatches.insert(accept.dispatch, kept);
    }
}

impl Kept {
    pub(super) fn row(&self) -> DispatchRow {
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
            caller: self.caller.clone(),
        }
    }

    pub(super) fn ended(&self) -> Option<EndedDispatch> {
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
    pub(super) fn size(&self) -> u64 {
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
        evidence: None,
        reused: None,
        approval: None,
    };
    StoredTask { task: TaskIdx::from_usize(position), task_id, agent, row }
}

pub(super) fn is_wanted(record: &Record, filter: &RecordFilter) -> bool {
    record.seq > filter.after
        && filter.task.is_none_or(|task| record.body.subject().0 == Some(task))
        && (filter.kinds.is_empty() || filter.kinds.contains(&record.body.kind()))
}

//! A live dispatch gets more tasks: its document, its graph and all that is kept by task.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::error;

use super::{
    batch::Batch,
    dispatcher::Dispatcher,
    document::{Parts, StoredDocument, estimate},
    gatekeeper::Found,
    live::{Live, TRACE_FILES_MAX},
    message::Heard,
    row::PENDING,
    submission::Backends,
};
use crate::{
    model::{DispatchId, Failure, FailureCode, Millis, TaskIdx, TaskSpec},
    ports::StoreError,
    scheduler::{Gate, GateAnswer, Growth, Input, Outbox},
};

/// Tasks to add to a dispatch.
#[derive(Debug)]
pub(super) struct Addition {
    /// The task that becomes them, if one does.
    pub(super) parent: Option<TaskIdx>,
    pub(super) tasks: Vec<TaskSpec>,
    /// Who serves their agents, where the dispatch did not know them.
    pub(super) backends: Backends,
}

impl Live {
    /// Adds tasks. Nothing happens where they are no longer wanted.
    pub(super) fn grow(
        &mut self,
        now: Millis,
        addition: Addition,
        out: &mut Outbox,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let Addition { parent, tasks, backends } = addition;
        let is_wanted = match parent {
            Some(it) => self.scheduler.gate(it) == Some(Gate::Expansion),
            None => !self.scheduler.is_ended(),
        };
        if !is_wanted || tasks.is_empty() {
            return Ok(());
        }
        let added = tasks.iter().map(|it| (it.task_id.clone(), it.agent.clone())).collect();
        let document = Arc::new(self.document.grown(tasks, parent));
        let graph = document.graph()?;
        self.backends.extend(backends);
        self.lanes.extend(&document, &self.backends);
        let policy = document.policy((self.id, self.created_at), self.lanes.by_task().to_vec());
        self.keys.extend(&document.tasks[self.rows.len()..]);
        self.rows.resize(document.tasks.len(), PENDING);
        self.chains.resize(document.tasks.len(), Millis(0));
        // Those that have ended already have their files.
        self.traces_from_store |= document.tasks.len() > TRACE_FILES_MAX;
        (self.document, self.graph) = (document, Arc::clone(&graph));
        batch.write_document(self.id, added);
        let growth = Arc::new(Growth { graph, policy });
        self.handle(now, Input::Grow { parent, growth }, out, batch);
        Ok(())
    }

    /// What a journal's fact that tasks were added stands for: the first so many of the document.
    pub(super) fn growth_to(&self, n_tasks: u32) -> Result<Arc<Growth>, StoreError> {
        let n_tasks = n_tasks as usize;
        if n_tasks > self.document.tasks.len() {
            let reason = "more tasks were added than its document has".to_owned();
            return Err(StoreError::Corrupt(reason));
        }
        let of = (self.id, self.created_at);
        self.document.begin(n_tasks, of, self.lanes.by_task()).map(Arc::new)
    }
}

impl Dispatcher {
    /// Lets a task become many.
    pub(super) fn expand(
        &mut self,
        (dispatch, task): (DispatchId, TaskIdx),
        tasks: Vec<TaskSpec>,
        batch: &mut Batch,
    ) {
        let now = self.dependencies.clock.now();
        let Some(live) = self.lives.get_mut(&dispatch) else { return };
        let addition = Addition { parent: Some(task), tasks, backends: Backends::new() };
        if let Err(error) = live.grow(now, addition, &mut self.out, batch) {
            // Checked tasks make a graph; only a fault of this program leads here.
            error!(dispatch_id = %dispatch, %error, "failed to add tasks");
            let failure = Failure::new(FailureCode::OutputInvalid, error.to_string());
            let (gate, answer) = (Gate::Expansion, GateAnswer::Fail(failure));
            let found = Found { task, gate, answer, output: None };
            live.answer(now, found, &mut self.out, batch);
        }
        batch.touched.push(dispatch);
    }

    /// Adds tasks of a caller; he is answered when they are durable.
    pub(super) fn add(
        &mut self,
        dispatch: DispatchId,
        addition: (Vec<TaskSpec>, Backends),
        reply: oneshot::Sender<Heard>,
        batch: &mut Batch,
    ) {
        let now = self.dependencies.clock.now();
        let Some(live) = self.lives.get_mut(&dispatch) else {
            let _gone = reply.send(Heard::NotHere);
            return;
        };
        if let Err(refusal) = live.add(now, addition, &mut self.out, batch) {
            let _gone = reply.send(Heard::Refused(refusal));
            return;
        }
        // Its agents may go through lanes that the dispatch did not have.
        self.sharing.register(live);
        batch.replies.push((dispatch, reply));
        batch.touched.push(dispatch);
    }
}

impl StoredDocument {
    /// The same with more tasks, which `parent` becomes where there is one.
    fn grown(&self, tasks: Vec<TaskSpec>, parent: Option<TaskIdx>) -> Self {
        let n_before = self.tasks.len();
        let mut grown = self.first(n_before);
        grown.n_first.get_or_insert(n_before);
        if !grown.estimates.is_empty() {
            let as_parent = parent.map(|it| grown.estimates[it.as_usize()]);
            let estimates = tasks.iter().map(|it| as_parent.unwrap_or_else(|| estimate(it)));
            grown.estimates.extend(estimates);
        }
        grown.tasks.extend(tasks);
        if let Some(parent) = parent {
            let (first, end) = (TaskIdx::from_usize(n_before), grown.tasks.len());
            grown.parts.push(Parts { parent, first, end: TaskIdx::from_usize(end) });
        }
        grown
    }

    /// The document as it was when it had so many tasks.
    fn first(&self, n_tasks: usize) -> Self {
        let mut first = Self::new(self.tasks[..n_tasks].to_vec(), self.config.clone());
        first.estimates = self.estimates.get(..n_tasks).unwrap_or_default().to_vec();
        first.n_first = self.n_first.filter(|it| *it < n_tasks);
        let is_in = |it: &&Parts| it.end.as_usize() <= n_tasks;
        first.parts = self.parts.iter().filter(is_in).copied().collect();
        first
    }

    /// What its scheduler knew when it had so many tasks.
    pub(super) fn begin(
        &self,
        n_tasks: usize,
        of: (DispatchId, Millis),
        lanes: &[u16],
    ) -> Result<Growth, StoreError> {
        let first = self.first(n_tasks);
        let lanes = lanes.get(..n_tasks).unwrap_or_default().to_vec();
        Ok(Growth { graph: first.graph()?, policy: first.policy(of, lanes) })
    }

    /// What a task has become, in order.
    pub(super) fn parts_of(&self, parent: TaskIdx) -> Vec<TaskIdx> {
        let own = self.parts.iter().filter(|it| it.parent == parent);
        own.flat_map(Parts::tasks).collect()
    }
}

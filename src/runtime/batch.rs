//! What one round of the dispatcher leads to: writes first, then all the rest.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::{
    message::{Heard, Submitted},
    tracer::TaskTrace,
};
use crate::{
    model::{AgentName, DispatchId, TaskId, TaskIdx},
    ports::Write,
    scheduler::Action,
};

/// The outcome of one round, carried out only once `writes` are durable.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// To be committed, all or none.
    pub(super) writes: Vec<Write>,
    /// Where in `writes` the documents stand that are written down when all of the round is known.
    documents: BTreeMap<DispatchId, usize>,
    /// To be done afterwards, in order.
    pub(super) actions: Vec<(DispatchId, Action)>,
    /// Trace files to be written.
    pub(super) traces: Vec<TaskTrace>,
    /// Submitters to be answered.
    pub(super) accepted: Vec<(DispatchId, oneshot::Sender<Submitted>)>,
    /// Those who want to know whether it was done.
    pub(super) replies: Vec<(DispatchId, oneshot::Sender<Heard>)>,
    /// Tasks that ended without success, whose agents had dispatched something.
    pub(super) given_up: Vec<(DispatchId, TaskIdx)>,
    /// Dispatches in which something happened.
    pub(super) touched: Vec<DispatchId>,
}

impl Batch {
    /// Writes a dispatch's document, which has these tasks more. What is written is how it stands
    /// at the end of the round: a document is long, and may change many times in one.
    pub(super) fn write_document(&mut self, dispatch: DispatchId, tasks: Vec<(TaskId, AgentName)>) {
        let earlier = self.documents.get(&dispatch).and_then(|at| self.writes.get_mut(*at));
        if let Some(Write::Document { added, .. }) = earlier {
            added.extend(tasks);
            return;
        }
        self.documents.insert(dispatch, self.writes.len());
        self.writes.push(Write::Document { dispatch, json: String::new(), added: tasks });
    }

    /// Fills in the documents, as `write` has them; one that it does not have is not written.
    pub(super) fn fill_documents(&mut self, write: impl Fn(DispatchId) -> Option<String>) {
        let mut places: Vec<_> = std::mem::take(&mut self.documents).into_iter().collect();
        places.sort_unstable_by_key(|it| it.1);
        for (dispatch, at) in places.into_iter().rev() {
            match (self.writes.get_mut(at), write(dispatch)) {
                (Some(Write::Document { json, .. }), Some(text)) => *json = text,
                _ => drop(self.writes.remove(at)),
            }
        }
    }

    /// Takes out all that concerns the dispatches in `gone`.
    pub(super) fn forget(&mut self, gone: &[DispatchId]) {
        self.writes.retain(|it| it.dispatch().is_none_or(|id| !gone.contains(&id)));
        self.actions.retain(|it| !gone.contains(&it.0));
        self.traces.retain(|it| !gone.contains(&it.target.dispatch));
        self.touched.retain(|it| !gone.contains(it));
        // Whose reply is dropped hears that the dispatch is not here.
        for (id, reply) in std::mem::take(&mut self.replies) {
            if gone.contains(&id) {
                let _gone = reply.send(Heard::NotHere);
            } else {
                self.replies.push((id, reply));
            }
        }
    }
}

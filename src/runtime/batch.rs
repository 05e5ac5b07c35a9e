//! What one round of the dispatcher leads to: writes first, then all the rest.

use tokio::sync::oneshot;

use super::{
    message::{Heard, Submitted},
    tracer::TaskTrace,
};
use crate::{
    model::{DispatchId, TaskIdx},
    ports::Write,
    scheduler::Action,
};

/// The outcome of one round, carried out only once `writes` are durable.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// To be committed, all or none.
    pub(super) writes: Vec<Write>,
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

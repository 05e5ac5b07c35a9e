//! What holds a task before its start is found out here, beside the dispatcher.

use super::dispatcher::Dispatcher;
use crate::{
    model::{DispatchId, TaskIdx},
    scheduler::{Gate, GateAnswer},
};

/// What was found out about a held task.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) answer: GateAnswer,
    /// The output that goes with [`GateAnswer::Reuse`], as JSON text.
    pub(super) output: Option<String>,
}

impl Dispatcher {
    /// Has a question answered; the answer comes back as `Message::Answer`.
    pub(super) fn ask(&mut self, _dispatch: DispatchId, _task: TaskIdx, gate: Gate) {
        match gate {
            // No document can ask for the first two yet; about an approval people are asked by the
            // result, and they answer by a request.
            Gate::Condition | Gate::Reuse | Gate::Approval => (),
        }
    }
}

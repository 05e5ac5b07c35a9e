//! Who counts what happens, for those who watch the program.

use std::{fmt::Debug, time::Duration};

use crate::model::{AgentName, DispatchStatus, FailureCode, Millis, TaskStatus, UpstreamCall};

/// How much there is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "they are numbers of things")]
pub struct Standing {
    /// Dispatches of this process that have not ended.
    pub n_dispatches: usize,
    /// Their tasks that are with their agents.
    pub n_running: usize,
    /// Their tasks that are not, and have not ended.
    pub n_queued: usize,
}

/// Counts. It is told only what is durable, is called from the loop that everything waits for, and
/// so never waits itself.
pub trait Meter: Debug + Send + Sync {
    /// A dispatch was accepted.
    fn dispatch_accepted(&self);

    /// A dispatch has ended.
    fn dispatch_ended(&self, status: DispatchStatus);

    /// A task has ended here, after its last attempt took so long, if it had one.
    fn task_ended(&self, agent: &AgentName, status: TaskStatus, took: Option<Millis>);

    /// An attempt has ended; whether another one follows.
    fn attempt_ended(&self, agent: &AgentName, end: Result<(), FailureCode>, is_retried: bool);

    /// A call for an attempt has ended.
    fn call_ended(&self, call: &UpstreamCall);

    /// So many writes became durable in so long.
    fn committed(&self, took: Duration, n_writes: usize);

    /// The store could not make something durable.
    fn commit_failed(&self);

    /// So much there is to do now.
    fn stands(&self, standing: Standing);
}

//! What the journal keeps of a dispatch, in order: the scheduler's facts and what agents did.

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        AgentEvent, Attempt, ControlAction, DispatchId, Millis, TaskIdx, TraceKind, UpstreamCall,
    },
    scheduler::Event,
};

/// One entry of a dispatch's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in the dispatch, from 1, without gaps.
    pub seq: u64,
    /// When it was written.
    pub at: Millis,
    /// What happened.
    pub body: RecordBody,
}

/// What happened. Only [`RecordBody::Scheduler`] matters for replay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordBody {
    /// The dispatch became durable.
    Accepted {
        /// How many tasks it has.
        n_tasks: usize,
        /// How many may run at once.
        max_workers: u32,
    },
    /// Somebody asked to cancel.
    CancelRequested {
        /// The tasks; all if empty.
        tasks: Vec<TaskIdx>,
        /// Why.
        reason: String,
    },
    /// Somebody asked to pause, to resume, or for another number of workers.
    ControlRequested {
        /// What was asked.
        action: ControlAction,
        /// The tasks; all if empty.
        tasks: Vec<TaskIdx>,
        /// Why.
        reason: String,
    },
    /// A task that had not started was told something else.
    InputReplaced {
        /// The task.
        task: TaskIdx,
        /// Which of its fields are new: `input_data`, `description`.
        fields: Vec<String>,
        /// Why.
        reason: String,
    },
    /// Somebody decided on the approval of a task.
    ApprovalDecided {
        /// The task.
        task: TaskIdx,
        /// What was decided.
        decision: String,
        /// What was said about it; may be empty.
        note: String,
    },
    /// The agent of a task dispatched tasks itself.
    Nested {
        /// The task.
        task: TaskIdx,
        /// What it dispatched.
        dispatch: DispatchId,
    },
    /// A fact of the scheduler.
    Scheduler(Event),
    /// An agent showed what it was doing.
    AgentEvent {
        /// The task tried.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
        /// What it showed.
        event: AgentEvent,
    },
    /// An agent called a tool of an upstream.
    UpstreamCall {
        /// The task tried.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
        /// The call.
        call: UpstreamCall,
    },
    /// The context that the tasks ask for was gathered.
    ContextGathered {
        /// How many pieces were asked for.
        n_asked: usize,
        /// How many could be gathered.
        n_gathered: usize,
        /// Why the others are missing, one sentence each.
        missing: Vec<String>,
        /// How long it took, in milliseconds.
        duration_ms: u64,
    },
}

impl RecordBody {
    /// What the record is about.
    pub fn kind(&self) -> TraceKind {
        match self {
            Self::Accepted { .. } => TraceKind::DispatchAccepted,
            Self::CancelRequested { .. } => TraceKind::CancelRequested,
            Self::ControlRequested { .. } => TraceKind::ControlRequested,
            Self::InputReplaced { .. } => TraceKind::InputReplaced,
            Self::ApprovalDecided { .. } => TraceKind::ApprovalDecided,
            Self::AgentEvent { .. } => TraceKind::AgentEvent,
            Self::Nested { .. } => TraceKind::DispatchNested,
            Self::UpstreamCall { .. } => TraceKind::UpstreamCall,
            Self::ContextGathered { .. } => TraceKind::ContextGathered,
            Self::Scheduler(event) => match event {
                Event::TaskKept { .. } => TraceKind::TaskKept,
                Event::TaskReused { .. } => TraceKind::TaskReused,
                Event::TaskJoined { .. } => TraceKind::TaskJoined,
                Event::TasksAdded { .. } => TraceKind::TasksAdded,
                Event::GateReached { .. } => TraceKind::GateReached,
                Event::GatePassed { .. } => TraceKind::GatePassed,
                Event::GateFailed { .. } => TraceKind::GateFailed,
                Event::TaskOmitted { .. } => TraceKind::TaskOmitted,
                Event::AttemptStarted { .. } => TraceKind::AttemptStarted,
                Event::AttemptEnded { .. } => TraceKind::AttemptEnded,
                Event::RetryDue { .. } => TraceKind::RetryDue,
                Event::TaskExpired { .. } => TraceKind::TaskExpired,
                Event::AttemptInterrupted { .. } => TraceKind::AttemptInterrupted,
                Event::TaskSkipped { .. } => TraceKind::TaskSkipped,
                Event::NestedSpent { .. } => TraceKind::NestedSpent,
                Event::BudgetExceeded { .. } => TraceKind::BudgetExceeded,
                Event::BudgetChanged { .. } => TraceKind::BudgetChanged,
                Event::TaskDropped { .. } => TraceKind::TaskDropped,
                Event::TaskCancelled { .. } => TraceKind::TaskCancelled,
                Event::DispatchPaused => TraceKind::DispatchPaused,
                Event::DispatchResumed => TraceKind::DispatchResumed,
                Event::TasksPaused { .. } => TraceKind::TasksPaused,
                Event::TasksResumed { .. } => TraceKind::TasksResumed,
                Event::WorkersChanged { .. } => TraceKind::WorkersChanged,
                Event::DispatchCancelled => TraceKind::DispatchCancelled,
                Event::DispatchEnded { .. } => TraceKind::DispatchEnded,
            },
        }
    }

    /// The task and the attempt that it is about.
    pub fn subject(&self) -> (Option<TaskIdx>, Option<Attempt>) {
        match self {
            Self::AgentEvent { task, attempt, .. }
            | Self::UpstreamCall { task, attempt, .. }
            | Self::Scheduler(
                Event::AttemptStarted { task, attempt, .. }
                | Event::AttemptEnded { task, attempt, .. }
                | Event::AttemptInterrupted { task, attempt },
            ) => (Some(*task), Some(*attempt)),
            Self::ApprovalDecided { task, .. }
            | Self::Nested { task, .. }
            | Self::InputReplaced { task, .. }
            | Self::Scheduler(
                Event::TaskKept { task }
                | Event::TaskReused { task, .. }
                | Event::TaskJoined { task }
                | Event::GateReached { task, .. }
                | Event::GatePassed { task, .. }
                | Event::GateFailed { task, .. }
                | Event::TaskOmitted { task, .. }
                | Event::RetryDue { task }
                | Event::TaskExpired { task }
                | Event::TaskSkipped { task, .. }
                | Event::TasksAdded { parent: Some(task), .. }
                | Event::NestedSpent { task, .. }
                | Event::TaskDropped { task, .. }
                | Event::TaskCancelled { task },
            ) => (Some(*task), None),
            Self::Accepted { .. }
            | Self::CancelRequested { .. }
            | Self::ContextGathered { .. }
            | Self::ControlRequested { .. }
            | Self::Scheduler(
                Event::DispatchPaused
                | Event::DispatchResumed
                | Event::TasksPaused { .. }
                | Event::TasksResumed { .. }
                | Event::WorkersChanged { .. }
                | Event::TasksAdded { parent: None, .. }
                | Event::BudgetExceeded { .. }
                | Event::BudgetChanged { .. }
                | Event::DispatchCancelled
                | Event::DispatchEnded { .. },
            ) => (None, None),
        }
    }
}

//! What happened in a dispatch, as users read it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Attempt, DispatchId, DispatchListing, FailureCode, SpanId, TaskId, Timestamp, Usage};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceEvent {
    /// Its number in the dispatch, from 1, without gaps.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: TraceKind,
    /// Which task, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Which try, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// The details, by kind.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub data: Map<String, Value>,
}

/// What a trace event is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TraceKind {
    /// The dispatch became durable.
    DispatchAccepted,
    /// A task's result was taken over from an earlier dispatch.
    TaskKept,
    /// A task's result was taken over, because the same work was done before.
    TaskReused,
    /// All that a task became has ended, and its result was put together.
    TaskJoined,
    /// The dispatch has more tasks than before.
    TasksAdded,
    /// A task is held until a question about it is answered.
    GateReached,
    /// Somebody decided on the approval of a task.
    ApprovalDecided,
    /// A held task goes on.
    GatePassed,
    /// A held task failed.
    GateFailed,
    /// The context that the tasks ask for was gathered.
    ContextGathered,
    /// An attempt was handed to an agent.
    AttemptStarted,
    /// Why an attempt started when it did. It is made from the attempt's start, with whose number
    /// it comes, and only where it is asked for by name.
    Decision,
    /// An agent showed what it was doing.
    AgentEvent,
    /// An agent called a tool of an upstream.
    UpstreamCall,
    /// An attempt ended.
    AttemptEnded,
    /// The wait before a task's next attempt is over.
    RetryDue,
    /// A task passed its `total_timeout_seconds` between two attempts.
    TaskExpired,
    /// The process that ran an attempt is gone; the task starts again.
    AttemptInterrupted,
    /// A task is not needed, because a condition was not met.
    TaskOmitted,
    /// A task was given up because of another one.
    TaskSkipped,
    /// The task's agent dispatched tasks itself.
    DispatchNested,
    /// What the task's agent dispatched used something of the budget.
    NestedSpent,
    /// The dispatch's budget is exceeded.
    BudgetExceeded,
    /// The dispatch's budget was changed.
    BudgetChanged,
    /// A task was given up because the budget is exceeded.
    TaskDropped,
    /// A task was given up because the caller wanted no more.
    TaskCancelled,
    /// Somebody asked to cancel the dispatch or some of its tasks.
    CancelRequested,
    /// Somebody asked to pause, to resume, or for another number of workers.
    ControlRequested,
    /// A task that had not started was told something else.
    InputReplaced,
    /// Nothing new of the dispatch starts.
    DispatchPaused,
    /// Nothing is paused any more.
    DispatchResumed,
    /// Nothing new starts of some tasks and of what depends on them.
    TasksPaused,
    /// Some tasks are no longer paused.
    TasksResumed,
    /// Another number of tasks may run at once.
    WorkersChanged,
    /// The caller wanted no more of the dispatch.
    DispatchCancelled,
    /// The dispatch ended.
    DispatchEnded,
}

/// A page of trace events, or of recent dispatches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TracePage {
    /// The dispatch that the events are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatch_id: Option<DispatchId>,
    /// The events, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<TraceEvent>,
    /// The recent dispatches, newest first, where no dispatch was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatches: Option<Vec<DispatchListing>>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// One call of an upstream's tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UpstreamCall {
    /// The upstream's name in the settings.
    pub upstream: String,
    /// The tool's name.
    pub tool: String,
    /// When the call was sent.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Whether it was answered without an error.
    pub ok: bool,
    /// What went wrong, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same as a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<FailureCode>,
    /// Its span, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<SpanId>,
    /// How many bytes of JSON were sent as arguments.
    pub request_bytes: u64,
    /// How many bytes of content came back.
    pub response_bytes: u64,
    /// What the agent used, if it says so; recorded with the end of the attempt, not here.
    #[serde(skip)]
    pub usage: Option<Usage>,
}

impl UpstreamCall {
    /// What stands for the upstream where a program was run.
    pub const COMMAND: &'static str = "command";
    /// What stands for it where a worker claimed an attempt.
    pub const WORKERS: &'static str = "workers";
}

/// Something that an agent showed while it worked: a message, the use of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentEvent {
    /// When.
    pub at: Timestamp,
    /// What kind of thing, in the agent's own word.
    pub kind: String,
    /// What it says, short.
    pub text: String,
}

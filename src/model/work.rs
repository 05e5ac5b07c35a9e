//! What workers that pull their tasks ask and are told.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    AgentName, Attempt, DispatchId, FailureCode, LeaseId, TaskId, TaskStatus, Timestamp,
    TraceContext,
};

/// The arguments of `claim_task`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// What the worker is called, in traces and errors: 1 to 100 characters.
    #[schemars(length(min = 1, max = 100))]
    pub worker: String,
    /// The agents that it serves; all whose workers pull unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<Vec<AgentName>>,
    /// How long to wait for a task, in milliseconds: 0 to 60,000, default 30,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 60_000))]
    pub wait_ms: Option<u64>,
}

/// The arguments of `heartbeat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatRequest {
    /// The lease that `claim_task` answered.
    pub lease: LeaseId,
}

/// The arguments of `complete_task`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteRequest {
    /// The lease that `claim_task` answered.
    pub lease: LeaseId,
    /// What came out: any JSON but null. Its `usage`, if it has one, counts as for other agents.
    #[schemars(schema_with = "output_schema")]
    pub output: Value,
}

/// The arguments of `fail_task`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailRequest {
    /// The lease that `claim_task` answered.
    pub lease: LeaseId,
    /// Why it could not be done, in one sentence.
    #[schemars(length(min = 1, max = 4_000))]
    pub message: String,
    /// What kind of failure it is; `agent_error` unless set. It decides whether the task's `retry`
    /// tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "code_schema")]
    pub code: Option<FailureCode>,
}

/// What `claim_task` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimAnswer {
    /// The task to do; null where none was there before the wait was over.
    pub task: Option<ClaimedTask>,
    /// How many more tasks wait for a worker of these agents.
    pub waiting_tasks: u32,
}

/// A task that a worker has claimed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimedTask {
    /// The dispatch.
    pub dispatch_id: DispatchId,
    /// The task.
    pub task_id: TaskId,
    /// Which try at the task.
    pub attempt: Attempt,
    /// What `heartbeat`, `complete_task` and `fail_task` ask for; nobody else has it.
    pub lease: LeaseId,
    /// The agent that the worker stands for.
    pub agent: AgentName,
    /// What the task is about.
    pub description: String,
    /// The task's input: references resolved, context filled in.
    pub input: Map<String, Value>,
    /// Until when the task is the worker's; each heartbeat moves it.
    pub lease_until: Timestamp,
    /// How often a heartbeat is expected, in seconds; the lease lapses when two are missed.
    pub heartbeat_seconds: f64,
    /// When the attempt ends, heartbeats or not.
    pub deadline: Timestamp,
    /// The trace that the worker's own spans belong to, if there is one; it also stands in `_meta`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// What `heartbeat` answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseReport {
    /// Until when the task is the worker's now.
    pub lease_until: Timestamp,
    /// How often a heartbeat is expected, in seconds.
    pub heartbeat_seconds: f64,
}

/// What `complete_task` and `fail_task` answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HandedIn {
    /// The dispatch.
    pub dispatch_id: DispatchId,
    /// The task.
    pub task_id: TaskId,
    /// The try that has ended.
    pub attempt: Attempt,
    /// For `complete_task`: how the task stands on disk; null where that is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<TaskStatus>,
}

impl ClaimRequest {
    /// How long a worker's name may be, in characters.
    pub const WORKER_CHARS_MAX: usize = 100;
    /// How long `claim_task` waits unless it says otherwise, in milliseconds.
    pub const WAIT_MS_DEFAULT: u64 = 30_000;
    /// How long `claim_task` may wait at most, in milliseconds.
    pub const WAIT_MS_MAX: u64 = 60_000;
}

impl FailRequest {
    /// How long a message may be, in characters.
    pub const MESSAGE_CHARS_MAX: usize = 4_000;
    /// The failures that a worker may report: those that are not the server's own to say.
    pub const CODES: [FailureCode; 8] = [
        FailureCode::AgentError,
        FailureCode::Timeout,
        FailureCode::UpstreamUnavailable,
        FailureCode::RateLimited,
        FailureCode::OutputInvalid,
        FailureCode::CheckFailed,
        FailureCode::Interrupted,
        FailureCode::ContextUnavailable,
    ];
}

fn output_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["object", "array", "string", "number", "boolean"],
        "description": "What came out: any JSON but null. Its `usage`, if it has one, counts as \
                        for other agents.",
    })
}

fn code_schema(_: &mut SchemaGenerator) -> Schema {
    let codes = FailRequest::CODES.map(FailureCode::as_str);
    json_schema!({
        "type": "string",
        "enum": codes,
        "description": "What kind of failure it is; `agent_error` unless set. It decides whether \
                        the task's `retry` tries again.",
    })
}

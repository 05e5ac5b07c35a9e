//! A task as the caller describes it, checked.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{AgentName, ApprovalSpec, CoderInput, DebugInput, InputData, RetrySpec, TaskId};

/// One task of a dispatch document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// The task's name: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, unique in the dispatch.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"))]
    pub task_id: TaskId,
    /// Who does it: `coder`, `debug`, or an agent of the settings.
    pub agent: AgentName,
    /// What it is about, for people and for the agent.
    #[schemars(length(min = 1, max = 100_000))]
    pub description: String,
    /// What the agent is told. Inside strings, `${tasks.ID.output.path}` stands for the output of
    /// a task that this one depends on.
    #[schemars(schema_with = "input_data_schema")]
    pub input_data: InputData,
    /// The tasks that must have ended before this one starts (also accepted as `depends_on`).
    #[serde(default)]
    pub dependencies: Vec<TaskId>,
    /// What to gather for the agent: `file:PATH`, `structure:PATH`, `rag:QUERY`, `pattern:NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context_requirements: Vec<String>,
    /// How long one attempt at this task may take, in seconds; the dispatch's unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub timeout_seconds: Option<f64>,
    /// How long the task may take over all its attempts and the waits between them, in seconds,
    /// from its first start on; no limit unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub total_timeout_seconds: Option<f64>,
    /// How long an attempt may go on without a sign of progress (MCP progress notifications of the
    /// call), in seconds; no limit unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub idle_timeout_seconds: Option<f64>,
    /// How it is tried again by itself when an attempt fails; as the settings say for its agent
    /// unless set, else not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    /// What somebody must decide before it starts; only what depends on it waits with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Box<ApprovalSpec>>,
    /// How long the caller expects it to take, in seconds, above 0; learned from earlier tasks of
    /// its kind unless set. Longer paths start first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub estimate_seconds: Option<f64>,
}

fn input_data_schema(generator: &mut SchemaGenerator) -> Schema {
    let coder = generator.subschema_for::<CoderInput>();
    let debug = generator.subschema_for::<DebugInput>();
    json_schema!({
        "type": "object",
        "description": "What the agent is told: the first form for coder, the second for debug, \
                        any object for an agent of the settings.",
        "anyOf": [coder, debug, { "type": "object" }],
    })
}

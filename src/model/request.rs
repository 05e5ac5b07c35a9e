//! What the tools take. These types make the schemas; `plan::document` reads the values, so that
//! all faults of a request are found at once.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{
    ApprovalSpec, BudgetSpec, CacheMode, DispatchConfig, DispatchId, PlanId, RetrySpec, TaskId,
    TaskSpec, TraceKind,
};

/// The arguments of `plan_tasks`: tasks, or a text to make tasks from.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The tasks; `agent` may be left out and is then chosen by the description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "planned_tasks_schema")]
    pub tasks: Option<Vec<TaskSpec>>,
    /// The settings of the dispatch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<DispatchConfig>,
    /// A request in plain words, instead of `tasks`: a list, or sentences joined by "and" and
    /// "then", becomes one task an item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100_000))]
    pub request: Option<String>,
    /// A Conductor `plan.md`, instead of `tasks`: its yaml `dag` block, or its task list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1_000_000))]
    pub plan_markdown: Option<String>,
}

/// The arguments of `dispatch`: a document or a stored plan, and how long to wait.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DispatchRequest {
    /// The tasks: 1 to 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<TaskSpec>>,
    /// The settings of this dispatch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<DispatchConfig>,
    /// A plan made by `plan_tasks`, instead of `tasks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<PlanId>,
    /// A dispatch that runs, to which `tasks` are added; they may depend on its tasks. Without
    /// `config`, `plan_id` and `idempotency_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatch_id: Option<DispatchId>,
    /// Whether to wait for the end (default true). With false the answer comes as soon as the
    /// dispatch is durable; fetch the rest with `get_result`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// How long to wait at most, in milliseconds: 0 to 600,000, 45,000 unless set. The dispatch
    /// goes on after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 600_000))]
    pub wait_ms: Option<u64>,
    /// A key of 1 to 200 characters: the same key with the same document answers the same dispatch
    /// again instead of starting another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub idempotency_key: Option<String>,
}

/// The arguments of `get_result`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetResultRequest {
    /// The dispatch.
    pub dispatch_id: DispatchId,
    /// Only these tasks; all of them unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    /// How long to wait for the end of these tasks, in milliseconds: 0 to 600,000, 0 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 600_000))]
    pub wait_ms: Option<u64>,
    /// How much to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    /// The `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The arguments of `read_trace`; without any, the recent dispatches are listed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadTraceRequest {
    /// The dispatch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatch_id: Option<DispatchId>,
    /// Only this task's events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Only events of these kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<TraceKind>>,
    /// The `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How many events to answer at most: 1 to 1,000, 100 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// The arguments of `cancel_dispatch`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// The dispatch.
    pub dispatch_id: DispatchId,
    /// Only these tasks, and what depends on them; all that have not ended unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    /// Why, for the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub reason: Option<String>,
}

/// The arguments of `retry_dispatch`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// The dispatch, which must have ended.
    pub dispatch_id: DispatchId,
    /// Run these again although they succeeded, and what depends on them. What did not succeed
    /// runs again in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    /// Changes to tasks that run again, by task id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<BTreeMap<TaskId, TaskOverride>>,
    /// Another budget, of which nothing is used yet; unless set, the dispatch's own goes on with
    /// what was used of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetSpec>,
    /// Whether to wait for the end, as in `dispatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// How long to wait at most, as in `dispatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 600_000))]
    pub wait_ms: Option<u64>,
}

/// What a retry changes of a task; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::option_option, reason = "what is absent stays, and what is null goes")]
pub struct TaskOverride {
    /// Another description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100_000))]
    pub description: Option<String>,
    /// Fields of `input_data` to set; a null removes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_data: Option<Map<String, Value>>,
    /// Another timeout, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub timeout_seconds: Option<f64>,
    /// Another limit over all attempts, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub total_timeout_seconds: Option<f64>,
    /// Another limit without progress, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub idle_timeout_seconds: Option<f64>,
    /// How it is tried again by itself, instead of what was said before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    /// Another condition; `"true"` is always met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub when: Option<String>,
    /// What it does with results of the same work done before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheMode>,
    /// Another approval; null lets it run without one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub approval: Option<Option<Box<ApprovalSpec>>>,
}

/// What is there, even if it is null.
#[expect(clippy::option_option, reason = "what is absent stays, and what is null goes")]
fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Box<ApprovalSpec>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// How much of a result to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// All of it, outputs included, in pages.
    #[default]
    Full,
    /// Without outputs.
    Summary,
    /// A text for people.
    Markdown,
}

/// As the schema of [`TaskSpec`], with neither `agent` nor `input_data` required.
fn planned_tasks_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut task = TaskSpec::json_schema(generator);
    task.insert("required".into(), serde_json::json!(["task_id", "description"]));
    json_schema!({ "type": "array", "items": task })
}

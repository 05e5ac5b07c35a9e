//! A task as the caller describes it, checked.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AgentName, ApprovalSpec, CacheMode, CoderInput, DebugInput, ExpectSpec, ForEachSpec, InputData,
    LoopSpec, RetrySpec, TaskId, TriggerRule,
};

/// One task of a dispatch document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::box_collection, reason = "few have it, and the others stay small")]
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
    /// a task that this one depends on, and `${tasks.ID.output.path ?? JSON}` for that value where
    /// there is no output.
    #[schemars(schema_with = "input_data_schema")]
    pub input_data: InputData,
    /// The tasks that must have ended before this one starts (also accepted as `depends_on`).
    #[serde(default)]
    pub dependencies: Vec<TaskId>,
    /// Which ends of its dependencies let it run.
    #[serde(default, skip_serializing_if = "TriggerRule::is_default")]
    pub trigger_rule: TriggerRule,
    /// An expression (CEL) that is evaluated when the dependencies let the task run; where it is
    /// false, the task is left out. It may look at `tasks.ID.output` and `tasks.ID.status` of tasks
    /// that this one depends on, at `input`, and at `config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 4096))]
    pub when: Option<Box<str>>,
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
    pub retry: Option<Box<RetrySpec>>,
    /// What somebody must decide before it starts; only what depends on it waits with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Box<ApprovalSpec>>,
    /// What must hold when its agent says that it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Box<ExpectSpec>>,
    /// A JSON Schema (2020-12) that its output must keep; at most 64 KiB, and nothing is fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_schema")]
    pub output_schema: Option<Box<Value>>,
    /// How long the caller expects it to take, in seconds, above 0; learned from earlier tasks of
    /// its kind unless set. Longer paths start first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub estimate_seconds: Option<f64>,
    /// A task for each item of a list stands behind this one, which is the list of their results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<Box<ForEachSpec>>,
    /// It is done again and again until a condition is met.
    #[serde(default, rename = "loop", skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Box<LoopSpec>>,
    /// The files that it writes, as globs of `*`, `?` and `**`, absolute or below the first
    /// workspace; at most 100. Tasks whose globs overlap never run at the same time. A coder's
    /// `output_path` counts by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub writes: Option<Box<[String]>>,
    /// How much it needs of what the dispatch's `config.resources` has, while it runs: a number
    /// from 1 on by the name of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Box<BTreeMap<String, u32>>>,
    /// What it does with results of the same work done before, in this dispatch or another: `off`,
    /// `reuse` or `refresh`; as the dispatch does unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheMode>,
    /// How many tokens the caller expects an attempt to use: 0 to 10^12. So much is reserved of a
    /// budget for it; the mean of the attempts so far unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000_000_000_u64))]
    pub estimate_tokens: Option<u64>,
    /// How much the caller expects an attempt to cost, in US dollars: 0 to 1,000,000. So much is
    /// reserved of a budget for it; the mean of the attempts so far unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub estimate_cost_usd: Option<f64>,
}

impl TaskSpec {
    /// Whether it has attempts of its own, and does not stand for other tasks.
    pub fn runs_itself(&self) -> bool {
        self.for_each.is_none() && self.repeat.is_none()
    }
}

fn any_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["object", "boolean"] })
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

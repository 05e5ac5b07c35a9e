//! What may be asked of a dispatch while it runs, as users ask it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{BudgetSpec, CoderInput, DebugInput, DispatchId, InputData, TaskId};

/// The arguments of `approve_task`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// The dispatch.
    pub dispatch_id: DispatchId,
    /// The task that waits for approval.
    pub task_id: TaskId,
    /// One of the task's decisions: `approve` or `reject` unless its approval names others.
    #[schemars(length(min = 1, max = 64))]
    pub decision: String,
    /// What to say about it; it stands in the result and the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4_000))]
    pub note: Option<String>,
}

/// The arguments of `control_dispatch`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlRequest {
    /// The dispatch.
    pub dispatch_id: DispatchId,
    /// What to do.
    pub action: ControlAction,
    /// For `pause` and `resume`: only these tasks, and what depends on them; the whole dispatch
    /// unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_ids: Option<Vec<TaskId>>,
    /// For `replace_input`: the task, which must not have started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// For `set_max_workers`: how many tasks may run at once from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub max_workers: Option<u32>,
    /// For `replace_input`: the whole of the task's new input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "input_data_schema")]
    pub input_data: Option<InputData>,
    /// For `replace_input`: the task's new description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100_000))]
    pub description: Option<String>,
    /// For `set_budget`: the limits that change; those that are not named stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetSpec>,
    /// Why, for the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub reason: Option<String>,
}

/// What to do with a dispatch that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ControlAction {
    /// Start nothing new; what runs goes on.
    Pause,
    /// Go on with what was paused.
    Resume,
    /// Let another number of tasks run at once.
    SetMaxWorkers,
    /// Give a task that has not started another input or description.
    ReplaceInput,
    /// Change limits of its budget.
    SetBudget,
}

impl ControlAction {
    /// All.
    pub const ALL: [Self; 5] =
        [Self::Pause, Self::Resume, Self::SetMaxWorkers, Self::ReplaceInput, Self::SetBudget];

    /// The word as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::SetMaxWorkers => "set_max_workers",
            Self::ReplaceInput => "replace_input",
            Self::SetBudget => "set_budget",
        }
    }
}

fn input_data_schema(generator: &mut SchemaGenerator) -> Schema {
    let coder = generator.subschema_for::<CoderInput>();
    let debug = generator.subschema_for::<DebugInput>();
    json_schema!({
        "description": "For replace_input: the whole of the task's new input.",
        "anyOf": [coder, debug, { "type": "object" }, { "type": "null" }],
    })
}

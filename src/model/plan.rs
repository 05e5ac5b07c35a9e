//! What users are told about a plan (contract, section 3, `plan_tasks`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AgentName, DispatchConfig, PlanId, TaskId, TaskSpec};

/// A checked document, with what its graph says about running it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanReport {
    /// The stored plan; pass it to `dispatch` instead of `tasks`.
    pub plan_id: PlanId,
    /// The tasks as they would run, agents filled in.
    pub tasks: Vec<TaskSpec>,
    /// The settings as they would hold.
    pub config: DispatchConfig,
    /// The tasks by depth: those of one wave depend only on earlier ones. A way to read the graph;
    /// at run time each task starts the moment its own dependencies are done.
    pub waves: Vec<Vec<TaskId>>,
    /// The chain of tasks that decides how long the dispatch takes at least.
    pub critical_path: Vec<TaskId>,
    /// What is expected of each task, in document order.
    pub estimates: Vec<PlannedTask>,
    /// The expected time from start to end with `max_workers`, in seconds.
    pub estimated_makespan_seconds: f64,
    /// The same with its spread: `low` and `high` are what it takes if every task is as fast, or
    /// as slow, as only one in ten of its kind.
    pub estimated_seconds: SecondsBand,
    /// The expected time one after the other, in seconds.
    pub estimated_sequential_seconds: f64,
    /// The graph as a Mermaid flowchart; cut for large graphs, and then says so.
    pub mermaid: String,
    /// What keeps tasks apart that could else run at the same time; left out where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<ClaimReport>,
    /// What the tasks are expected to use, by `estimate_tokens` and `estimate_cost_usd` of the
    /// document alone, since nothing is learned of that; left out where no task has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostReport>,
    /// What the caller should know that is no fault.
    pub warnings: Vec<String>,
    /// Whether dispatching pays.
    pub recommendation: Recommendation,
    /// Set where the plan is longer than one answer and `tasks`, `waves` and `estimates` hold only
    /// its beginning; `plan_id` stands for the whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// What the tasks of a plan are expected to use together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostReport {
    /// Tokens; null where no task has an estimate.
    pub tokens: Option<AmountBand>,
    /// Money, in US dollars; null where no task has an estimate.
    pub cost_usd: Option<AmountBand>,
    /// How many tasks have no estimate of tokens and are not counted.
    pub tasks_without_tokens: usize,
    /// How many tasks have no estimate of money and are not counted.
    pub tasks_without_cost: usize,
}

/// An amount that is not known exactly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AmountBand {
    /// If every task needs one attempt.
    pub low: f64,
    /// What to expect.
    pub likely: f64,
    /// If every task needs all attempts of its `retry`.
    pub high: f64,
}

/// What claims cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimReport {
    /// The claims that keep tasks apart, at most 20.
    pub conflicts: Vec<ClaimConflict>,
    /// How many there are.
    pub n_conflicts: usize,
    /// By how much they lengthen the expected time from start to end, in seconds.
    pub makespan_cost_seconds: f64,
}

/// Something that more tasks claim than can have it at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimConflict {
    /// What is claimed: a path, a glob, two globs that overlap, or a resource.
    pub claim: String,
    /// How much there is of it; 1 of everything that is written.
    pub capacity: u32,
    /// Who claims it; at most 20 tasks.
    pub task_ids: Vec<TaskId>,
    /// How many tasks claim it.
    pub n_tasks: usize,
}

/// What is expected of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedTask {
    /// The task's name.
    pub task_id: TaskId,
    /// Who does it.
    pub agent: AgentName,
    /// Which wave it is in, from 0.
    pub wave: usize,
    /// How long it is expected to take, in seconds.
    pub estimate_seconds: f64,
    /// The same, with what it rests on.
    pub estimate: TaskEstimate,
    /// When it can start at the earliest, in seconds from the start.
    pub earliest_start_seconds: f64,
    /// By how much it can be late without delaying the end, in seconds; 0 on the critical path.
    pub slack_seconds: f64,
}

/// A time that is not known exactly, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SecondsBand {
    /// It is rarely shorter.
    pub low: f64,
    /// What to expect.
    pub likely: f64,
    /// It is rarely longer.
    pub high: f64,
}

/// How long a task is expected to take, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskEstimate {
    /// The expected time of one attempt, in seconds.
    pub seconds: f64,
    /// Where it comes from.
    pub from: EstimateSource,
    /// How many attempts it was learned from; 0 unless it was learned.
    pub samples: u64,
}

/// Where an estimate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EstimateSource {
    /// From the document's `estimate_seconds`.
    Given,
    /// From earlier attempts at tasks of the same kind; their median.
    Learned,
    /// From nowhere: nothing is known about such tasks.
    Default,
}

/// Whether dispatching pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recommendation {
    /// How to run it.
    pub dispatch: RecommendedDispatch,
    /// Why, in one sentence.
    pub reason: String,
}

/// How a plan is best run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecommendedDispatch {
    /// Several tasks can run at once.
    Parallel,
    /// One task: do it directly.
    Single,
    /// Each task waits for the one before.
    Sequential,
}

impl RecommendedDispatch {
    /// The word as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parallel => "parallel",
            Self::Single => "single",
            Self::Sequential => "sequential",
        }
    }
}

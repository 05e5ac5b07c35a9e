//! What users are told about a dispatch (contract, section 3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AgentName, ApprovalReport, Attempt, BudgetReport, DispatchId, DispatchStatus, Evidence,
    FailureCode, ParentTask, Reused, TaskId, TaskStatus, Timestamp, UsageReport, WaitingFor,
};

/// A dispatch and what became of its tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DispatchResult {
    /// The dispatch's id; pass it to `get_result`, `read_trace`, `cancel_dispatch`.
    pub dispatch_id: DispatchId,
    /// The same id, under the name that earlier documents used.
    pub correlation_id: DispatchId,
    /// The verdict so far.
    pub status: DispatchStatus,
    /// The tasks, in document order; a page of them where `next_cursor` is set.
    pub results: Vec<TaskResult>,
    /// Counts and times over all tasks.
    pub summary: Summary,
    /// Whether the whole dispatch is paused; absent where it is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// The tasks that are paused by name, and with them what depends on them; absent where there
    /// are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused_tasks: Vec<TaskId>,
    /// How many tasks may run at once, where that was changed while the dispatch ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_workers: Option<u32>,
    /// What the caller should know that is no failure.
    pub warnings: Vec<String>,
    /// The index file of the traces; null before it is written.
    pub trace_index: Option<String>,
    /// The budget and what was used of it; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetReport>,
    /// What to do next, most useful first.
    pub next_steps: Vec<String>,
    /// The dispatch whose successful results this one kept, if it is a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<DispatchId>,
    /// The task whose agent asked for this dispatch, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentTask>,
    /// Where the next page starts: pass it to `get_result`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// The same result as Markdown, for `view: "markdown"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub markdown: Option<String>,
}

/// What became of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskResult {
    /// The task's name.
    pub task_id: TaskId,
    /// Who does it.
    pub agent: AgentName,
    /// Where it stands.
    pub status: TaskStatus,
    /// What the agent answered; null until it succeeded, and left out of `view: "summary"`.
    #[serde(default)]
    pub output: Value,
    /// What went wrong, in one sentence: in the last attempt that failed, also while the task
    /// waits for another.
    pub error: Option<String>,
    /// What went wrong, to branch on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReport>,
    /// What a pending task waits for that is neither another task nor a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<WaitingFor>,
    /// What is asked, and what was decided, of a task that needs an approval; absent until it is
    /// asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalReport>,
    /// How often it was tried.
    pub attempts: u32,
    /// How long its last attempt took, in milliseconds.
    pub execution_time_ms: Option<u64>,
    /// What its attempts used together, as far as the agent says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageReport>,
    /// When its last attempt started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its trace file; null before it is written.
    pub trace_file: Option<String>,
    /// Set where `output` was too long for one answer and stands here as a cut piece of its JSON
    /// text; the whole is in the trace file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_truncated: bool,
    /// Where the result was taken from, where the task did not run because the same work had been
    /// done before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<Reused>,
    /// What was found after its last attempt that its agent ended well, where something is
    /// expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Vec<Evidence>>,
    /// The dispatches that its agent asked for, oldest first; absent where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dispatches: Vec<DispatchId>,
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureReport {
    /// What to branch on.
    pub code: FailureCode,
    /// Whether another attempt may end differently.
    pub retryable: bool,
    /// What to do about it.
    pub hint: String,
    /// The first task that failed, where this one was given up because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caused_by: Option<TaskId>,
    /// The first attempt's error, where the task was tried again and it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_error: Option<FirstError>,
}

/// What went wrong in the first attempt of a task that was tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirstError {
    /// What to branch on.
    pub code: FailureCode,
    /// What went wrong, in one sentence.
    pub message: String,
    /// Which try.
    pub attempt: Attempt,
}

/// Counts and times of a dispatch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// How many tasks there are.
    pub total_tasks: usize,
    /// How many succeeded.
    pub successful: usize,
    /// How many of those took the result of the same work done before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reused: usize,
    /// How many ended in an error.
    pub failed: usize,
    /// How many were skipped because of another task.
    pub skipped: usize,
    /// How many were cancelled.
    pub cancelled: usize,
    /// How many are with their agents.
    pub running: usize,
    /// How many wait.
    pub pending: usize,
    /// How many of those wait for a decision on their approval; absent where none does.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waiting_for_approval: usize,
    /// From the dispatch's start to its end, or to now, in milliseconds.
    pub total_time_ms: u64,
    /// The sum of the tasks' execution times, in milliseconds: what one after the other would take.
    pub sequential_time_ms: u64,
    /// `sequential_time_ms / total_time_ms`, to two places.
    pub speedup: f64,
    /// The longest chain of execution times, in milliseconds: what no number of workers beats.
    pub critical_path_ms: u64,
    /// How long the whole was expected to take, in milliseconds; absent where no estimate was given
    /// or learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_ms: Option<u64>,
    /// By how much the whole took longer than expected (below zero: shorter), in percent of
    /// `estimated_ms`; absent until it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate_error_percent: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// One line of a list of dispatches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DispatchListing {
    /// The dispatch's id.
    pub dispatch_id: DispatchId,
    /// The verdict so far.
    pub status: DispatchStatus,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How many tasks there are.
    pub total_tasks: usize,
    /// How many succeeded.
    pub successful: usize,
    /// How many ended in an error, were skipped or cancelled.
    pub unsuccessful: usize,
    /// The task whose agent asked for it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentTask>,
}

//! What became of an attempt, a task and a dispatch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one attempt ended with. The agent's output itself stays in the store; here is the verdict.
pub type AttemptResult = Result<(), Failure>;

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The code to branch on.
    pub code: FailureCode,
    /// One sentence for the user, without a full stop.
    pub message: Box<str>,
    /// How long the upstream asks to be left alone, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The code of a task's failure (contract, section 4).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The agent answered that it failed.
    AgentError,
    /// The deadline passed.
    Timeout,
    /// The upstream could not be reached.
    UpstreamUnavailable,
    /// The upstream answered something that is not the protocol.
    UpstreamProtocol,
    /// The upstream's answer is larger than is let in.
    UpstreamLimit,
    /// The upstream failed so often that it is left alone for a while.
    CircuitOpen,
    /// The upstream asked to come back later.
    RateLimited,
    /// The output does not have the shape that was asked for.
    OutputInvalid,
    /// The evidence that was asked for is missing.
    CheckFailed,
    /// A task that this one waits for failed.
    DependencyFailed,
    /// Its condition, or that of a task that it needs, was not met.
    ConditionUnmet,
    /// Its condition could not be evaluated.
    ConditionError,
    /// The dispatch's budget was used up.
    BudgetExceeded,
    /// Whoever was asked for approval said no.
    Rejected,
    /// The caller wanted no more.
    Cancelled,
    /// The process ended while the attempt ran.
    Interrupted,
    /// Context that the task needs could not be gathered.
    ContextUnavailable,
}

/// Where a task stands, as users see it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Has not started yet.
    Pending,
    /// Is with its agent.
    Running,
    /// Ended well; its output counts.
    Success,
    /// Ended badly.
    Error,
    /// Never started and never will, because of another task.
    Skipped,
    /// Given up because the caller wanted no more.
    Cancelled,
}

/// The verdict on a dispatch.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum DispatchStatus {
    /// Not every task has ended.
    Running,
    /// Every task succeeded.
    Success,
    /// Some tasks succeeded.
    Partial,
    /// No task succeeded.
    Failure,
    /// The caller wanted no more before all tasks had ended.
    Cancelled,
}

impl Failure {
    /// The longest time that an upstream may ask to be left alone: one hour, in milliseconds.
    pub const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

    /// Makes a failure from its code and what to say of it.
    pub fn new(code: FailureCode, message: impl Into<Box<str>>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None }
    }

    /// Says how long the upstream asks to be left alone; at most an hour counts.
    #[must_use]
    pub fn retry_after(self, millis: Option<u64>) -> Self {
        Self { retry_after_ms: millis.map(|it| it.min(Self::RETRY_AFTER_MS_MAX)), ..self }
    }
}

impl FailureCode {
    /// Whether another attempt may end differently.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Timeout
            | Self::UpstreamUnavailable
            | Self::UpstreamProtocol
            | Self::CircuitOpen
            | Self::RateLimited
            | Self::Interrupted
            | Self::ContextUnavailable => true,
            Self::AgentError
            | Self::UpstreamLimit
            | Self::OutputInvalid
            | Self::CheckFailed
            | Self::DependencyFailed
            | Self::ConditionUnmet
            | Self::ConditionError
            | Self::BudgetExceeded
            | Self::Rejected
            | Self::Cancelled => false,
        }
    }

    /// What the user can do about it; one sentence.
    pub fn hint(self) -> &'static str {
        match self {
            Self::AgentError => "read the error and the task's trace, change the input and retry",
            Self::Timeout => "raise timeout_seconds or split the task",
            Self::UpstreamUnavailable => {
                "start the upstream or correct ARCHON_MCP_URL; `parallel-dispatch doctor` checks it"
            }
            Self::UpstreamProtocol => "check what answers at the upstream's address",
            Self::UpstreamLimit => "let the agent write large output to a file and answer its path",
            Self::CircuitOpen => "wait until the upstream answers again, then retry",
            Self::RateLimited => "retry later or lower max_workers",
            Self::OutputInvalid => "compare the output with the shape that the task asks for",
            Self::CheckFailed => "look at the findings in the output and change the input",
            Self::DependencyFailed => "mend the task named in caused_by, then retry",
            Self::ConditionUnmet => "nothing is wrong; change `when` or what it looks at to run it",
            Self::ConditionError => {
                "guard what may be missing with has(…) or == null; retry_dispatch takes another \
                 `when` in its overrides"
            }
            Self::BudgetExceeded => "retry_dispatch with another `budget` runs it",
            Self::Rejected => "retry_dispatch asks again",
            Self::Cancelled | Self::Interrupted => "retry_dispatch runs it again",
            Self::ContextUnavailable => "check context_requirements against the workspace",
        }
    }

    /// The code as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentError => "agent_error",
            Self::Timeout => "timeout",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::UpstreamLimit => "upstream_limit",
            Self::CircuitOpen => "circuit_open",
            Self::RateLimited => "rate_limited",
            Self::OutputInvalid => "output_invalid",
            Self::CheckFailed => "check_failed",
            Self::DependencyFailed => "dependency_failed",
            Self::ConditionUnmet => "condition_unmet",
            Self::ConditionError => "condition_error",
            Self::BudgetExceeded => "budget_exceeded",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::ContextUnavailable => "context_unavailable",
        }
    }
}

impl TaskStatus {
    /// Whether the status can no longer change.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// The status as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Error => "error",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

impl DispatchStatus {
    /// The status as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
        }
    }
}

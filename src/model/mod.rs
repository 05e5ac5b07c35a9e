//! The vocabulary: identifiers, tasks, documents, outcomes, reports, trace events, error codes.
//!
//! Serde and schemars types without behaviour beyond their own invariants. Every JSON Schema the
//! program publishes is generated from these types, so there is one source for each.

mod agent;
mod approval;
mod budget;
mod cache;
mod config;
mod control;
mod durations;
mod error;
mod expect;
mod fan_out;
mod id;
mod identity;
mod input;
mod input_data;
pub mod json;
mod outcome;
mod parent;
mod plan;
pub mod redact;
mod report;
mod request;
mod retry;
mod session;
mod span;
mod task;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
mod time;
mod trace;
mod trigger;
mod upstream;
mod usage;
mod work;

pub use agent::{AgentName, AgentReport};
pub use approval::{ApprovalReport, ApprovalSpec, WaitingFor};
pub use budget::{
    Budget, BudgetLimit, BudgetSpec, MicroUsd, OnExceeded, Settlement, Spend, Spent, TaskUsage,
    Usage,
};
pub use cache::{CacheMode, Reused};
pub use config::{DispatchConfig, OnFailure};
pub use control::{ApproveRequest, ControlAction, ControlRequest};
pub use durations::{DurationKey, Durations};
pub use error::{ErrorCode, Fault, Refusal, RefusalBody};
pub use expect::{Evidence, EvidenceKind, ExpectSpec};
pub use fan_out::{ForEachSpec, JoinRule, LoopSpec};
pub use id::{Attempt, DispatchId, LeaseId, PlanId, TaskId, TaskIdx};
pub use identity::{Identity, Sees};
pub use input::{AnalysisDepth, CoderInput, DebugInput, NodeType, ValidationLevel};
pub use input_data::InputData;
pub use outcome::{AttemptResult, DispatchStatus, Failure, FailureCode, TaskStatus};
pub use parent::{NotAParent, ParentTask};
pub use plan::{
    AmountBand, ClaimConflict, ClaimReport, CostReport, EstimateSource, PlanReport, PlannedTask,
    Recommendation, RecommendedDispatch, SecondsBand, TaskEstimate,
};
pub use report::{DispatchListing, DispatchResult, FailureReport, FirstError, Summary, TaskResult};
pub use request::{
    CancelRequest, DispatchRequest, GetResultRequest, PlanRequest, ReadTraceRequest, RetryRequest,
    TaskOverride, View,
};
pub use retry::RetrySpec;
pub use session::{KeepAwake, MadeAgain};
pub use span::{Lineage, NotATrace, SpanId, TraceContext, TraceId};
pub use task::TaskSpec;
pub use time::{Millis, Timestamp};
pub use trace::{AgentEvent, TraceEvent, TraceKind, TracePage, UpstreamCall};
pub use trigger::TriggerRule;
pub use upstream::{ToolsState, UpstreamState, UpstreamStatus};
pub use usage::{BudgetReport, SpendReport, SpentReport, UsageReport};
pub use work::{
    ClaimAnswer, ClaimRequest, ClaimedTask, CompleteRequest, FailRequest, HandedIn,
    HeartbeatRequest, LeaseReport,
};

//! Where spans go: what was done in a dispatch, from when to when, as tracing systems show it.

use std::{fmt::Debug, sync::Arc};

use crate::model::{
    AgentName, Attempt, DispatchId, DispatchStatus, FailureCode, Millis, SpanId, TaskId,
    TaskStatus, TraceContext, TraceId, UpstreamCall, Usage,
};

/// Something that was done. It has no text of strangers but names.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// Its own name there: the same whenever it is told again.
    pub id: SpanId,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// What the trace came with.
    pub state: Option<Arc<str>>,
    /// From when.
    pub started_at: Millis,
    /// To when.
    pub ended_at: Millis,
    /// The dispatch that it is of.
    pub dispatch: DispatchId,
    /// What it was.
    pub what: Spanned,
}

/// What was done.
#[derive(Clone, Debug, PartialEq)]
pub enum Spanned {
    /// A dispatch, from its acceptance to its end.
    Dispatch {
        /// The verdict.
        status: DispatchStatus,
        /// How many tasks it had.
        n_tasks: usize,
        /// The dispatch that it tried again.
        retry_of: Option<DispatchId>,
    },
    /// A task, from when it first could have started to its end.
    Task {
        /// Its name.
        task_id: TaskId,
        /// Who did it.
        agent: AgentName,
        /// How it ended.
        status: TaskStatus,
        /// Why, if not well.
        failure: Option<FailureCode>,
        /// How often it was tried.
        n_attempts: u32,
        /// Whether its result was found, so that it did not run.
        is_reused: bool,
    },
    /// An attempt at a task.
    Attempt {
        /// The task.
        task_id: TaskId,
        /// Who did it.
        agent: AgentName,
        /// Which try.
        attempt: Attempt,
        /// Why it failed, if it did.
        failure: Option<FailureCode>,
        /// What the agent says that it used.
        usage: Option<Usage>,
        /// The tool, where the agent is one that calls any.
        tool: Option<String>,
    },
    /// A call of an upstream's tool, or a run of a program.
    Call {
        /// The upstream's name in the settings, or what stands for it.
        upstream: String,
        /// The tool, or the program.
        tool: String,
        /// Why it failed, if it did.
        failure: Option<FailureCode>,
    },
}

impl Span {
    /// A call below the span that `above` names. Of one without a name of its own nobody was told.
    pub fn of_call(
        dispatch: DispatchId,
        above: &TraceContext,
        call: &UpstreamCall,
    ) -> Option<Self> {
        let began = call.at.0;
        Some(Self {
            trace: above.trace,
            id: call.span_id?,
            parent: Some(above.span),
            state: above.state.clone(),
            started_at: began,
            ended_at: began + Millis(call.duration_ms),
            dispatch,
            what: Spanned::Call {
                upstream: call.upstream.clone(),
                tool: call.tool.clone(),
                failure: call.code,
            },
        })
    }
}

/// Takes spans.
pub trait Spans: Debug + Send + Sync {
    /// Whether a trace that begins here is recorded.
    fn samples(&self, trace: TraceId) -> bool;

    /// Takes spans that have ended. It never waits; what there is no room for is lost.
    fn record(&self, spans: Vec<Span>);
}

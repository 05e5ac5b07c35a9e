//! What the facts of a dispatch are as spans: one for it, one for each task, attempt and call.
//!
//! Every name follows from the dispatch, so whoever goes on with it after a crash goes on with the
//! same trace, and spans that are told twice are the same ones.

use sha2::{Digest as _, Sha256};
use tracing::field::{DisplayValue, display};

use super::{
    dispatcher::Dispatcher,
    document::Meta,
    handle::DispatcherHandle,
    live::Live,
    nesting::Parent,
    query,
    tracer::{DispatchTrace, TaskTrace},
};
use crate::{
    model::{
        AgentName, Attempt, DispatchId, FailureCode, Lineage, Millis, Refusal, SpanId, TaskIdx,
        TaskStatus, TraceContext, TraceId, UpstreamCall, Usage,
    },
    ports::{RecordBody, Span, Spanned, Spans},
    scheduler::Event,
};

/// What a span of a dispatch is of; its name follows from it.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Dispatch,
    Task(TaskIdx),
    Attempt(TaskIdx, Attempt),
}

impl Place {
    fn id(self, dispatch: DispatchId) -> SpanId {
        let (task, attempt) = match self {
            Self::Dispatch => (u32::MAX, 0),
            Self::Task(task) => (task.as_u32(), 0),
            Self::Attempt(task, attempt) => (task.as_u32(), attempt.0),
        };
        let mut hasher = Sha256::new();
        hasher.update(b"parallel-dispatch span 1");
        hasher.update(dispatch.as_bytes());
        hasher.update(task.to_le_bytes());
        hasher.update(attempt.to_le_bytes());
        SpanId::new(&hasher.finalize())
    }
}

/// The context that a dispatch begins with: what it came with, or else one of its own, which has
/// no span above.
fn root(dispatch: DispatchId, meta: &Meta, spans: &dyn Spans) -> (TraceContext, Option<SpanId>) {
    if let Some(context) = &meta.trace {
        return (context.clone(), Some(context.span));
    }
    let trace = TraceId::of_dispatch(dispatch);
    let span = Place::Dispatch.id(dispatch);
    (TraceContext { trace, span, is_sampled: spans.samples(trace), state: None }, None)
}

/// What is handed on where calls are parts of `place`.
pub(super) fn lineage(
    (dispatch, meta): (DispatchId, &Meta),
    place: Place,
    spans: Option<&dyn Spans>,
) -> Option<Lineage> {
    let Some(spans) = spans else {
        let context = meta.trace.clone()?;
        return Some(Lineage { context, has_spans: false });
    };
    let (context, _) = root(dispatch, meta, spans);
    let span = place.id(dispatch);
    Some(Lineage { context: TraceContext { span, ..context }, has_spans: true })
}

impl Dispatcher {
    /// The trace that a dispatch is in, where it is in one, as it stands in logs.
    pub(super) fn trace_id(&self, live: &Live) -> Option<DisplayValue<TraceId>> {
        let own = || self.dependencies.spans.as_ref().map(|_| TraceId::of_dispatch(live.id));
        live.meta.trace.as_ref().map(|it| it.trace).or_else(own).map(display)
    }
}

impl DispatcherHandle {
    /// The same for a caller who hands on a trace: what is dispatched through it belongs there.
    #[must_use]
    pub fn in_trace(&self, trace: Option<TraceContext>) -> Self {
        let mut this = self.clone();
        this.trace = trace.or(this.trace);
        this
    }

    /// The trace that a new dispatch comes with: the caller's, or that of the task whose agent
    /// asks.
    pub(super) async fn trace_of(
        &self,
        parent: Option<&Parent>,
    ) -> Result<Option<TraceContext>, Refusal> {
        let (None, Some(Parent { dispatch, task, .. })) = (&self.trace, parent) else {
            return Ok(self.trace.clone());
        };
        let row = query::dispatch_row(&self.dependencies.journal, *dispatch).await?;
        let meta = Meta::read(&row.meta).map_err(|it| query::refuse(&it))?;
        Ok(below((*dispatch, &meta), *task, self.dependencies.spans.as_deref()))
    }
}

/// What a dispatch begins with that the agent of a task asked for, and that came with nothing.
fn below(
    (dispatch, meta): (DispatchId, &Meta),
    task: TaskIdx,
    spans: Option<&dyn Spans>,
) -> Option<TraceContext> {
    Some(lineage((dispatch, meta), Place::Task(task), spans)?.context)
}

/// Tells the span of a dispatch that has ended.
pub(super) fn tell_dispatch(trace: &DispatchTrace, spans: Option<&dyn Spans>) {
    let Some(spans) = spans else { return };
    let (dispatch, row) = (trace.target.dispatch, &trace.row);
    let (context, parent) = root(dispatch, &trace.meta, spans);
    if !context.is_sampled {
        return;
    }
    spans.record(vec![Span {
        trace: context.trace,
        id: Place::Dispatch.id(dispatch),
        parent,
        state: context.state,
        started_at: row.created_at,
        ended_at: row.ended_at.unwrap_or(row.created_at).max(row.created_at),
        dispatch,
        what: Spanned::Dispatch {
            status: row.status,
            n_tasks: row.n_tasks,
            retry_of: trace.meta.retry_of,
        },
    }]);
}

/// Tells the spans of calls that were made for a dispatch and for none of its tasks.
pub(super) fn tell_calls(
    dispatch: DispatchId,
    lineage: &Lineage,
    calls: impl Iterator<Item = UpstreamCall>,
    spans: &dyn Spans,
) {
    if lineage.context.is_sampled {
        let spans_of = calls.filter_map(|it| Span::of_call(dispatch, &lineage.context, &it));
        spans.record(spans_of.collect());
    }
}

/// Tells the spans of tasks that have ended, with their attempts and calls.
pub(super) fn tell_tasks(traces: &[TaskTrace], spans: Option<&dyn Spans>) {
    let Some(spans) = spans else { return };
    for trace in traces.iter().filter(|it| it.row.status.is_final()) {
        let (context, _) = root(trace.target.dispatch, &trace.meta, spans);
        if context.is_sampled {
            spans.record(Telling { trace, context: &context, spans: Vec::new() }.tell());
        }
    }
}

/// The spans of one task, as they come out of its records.
struct Telling<'a> {
    trace: &'a TaskTrace,
    context: &'a TraceContext,
    spans: Vec<Span>,
}

/// An attempt that has not ended yet, as far as the records were read.
struct Open<'a> {
    attempt: Attempt,
    started_at: Millis,
    calls: Vec<&'a UpstreamCall>,
}

impl Telling<'_> {
    fn tell(mut self) -> Vec<Span> {
        let trace = self.trace;
        let mut open: Option<Open<'_>> = None;
        let (mut first, mut is_reused) = (None, false);
        for record in &trace.history.records {
            if let RecordBody::UpstreamCall { attempt, call, .. } = &record.body
                && let Some(open) = open.as_mut().filter(|it| it.attempt == *attempt)
            {
                open.calls.push(call);
            }
            let RecordBody::Scheduler(event) = &record.body else { continue };
            // What was taken over from an earlier dispatch was done there.
            if matches!(event, Event::TaskKept { .. }) {
                return Vec::new();
            }
            is_reused |= matches!(event, Event::TaskReused { .. });
            first.get_or_insert(record.at);
            if let Event::AttemptStarted { attempt, .. } = event {
                open = Some(Open { attempt: *attempt, started_at: record.at, calls: Vec::new() });
            } else if let Some(end) = end_of(event)
                && let Some(open) = open.take()
            {
                self.tell_attempt(open, record.at, end);
            }
        }
        self.tell_task(first, is_reused);
        self.spans
    }

    fn tell_task(&mut self, first: Option<Millis>, is_reused: bool) {
        let (dispatch, row) = (self.trace.target.dispatch, &self.trace.row);
        let ended_at = row.ended_at.unwrap_or_default();
        let failed = row.status != TaskStatus::Success;
        let what = Spanned::Task {
            task_id: self.spec().task_id.clone(),
            agent: self.spec().agent.clone(),
            status: row.status,
            failure: row.failure.as_ref().filter(|_| failed).map(|it| it.code),
            n_attempts: row.attempts,
            is_reused,
        };
        let (id, parent) = (Place::Task(self.trace.task), Place::Dispatch.id(dispatch));
        self.push(id.id(dispatch), parent, (first.unwrap_or(ended_at), ended_at), what);
    }

    fn tell_attempt(
        &mut self,
        open: Open<'_>,
        ended_at: Millis,
        (failure, usage): (Option<FailureCode>, Option<Usage>),
    ) {
        let (dispatch, task) = (self.trace.target.dispatch, self.trace.task);
        let Open { attempt, started_at, calls } = open;
        let id = Place::Attempt(task, attempt).id(dispatch);
        let agent = self.spec().agent.clone();
        let any_tool = agent.as_str() == AgentName::TOOL;
        let what = Spanned::Attempt {
            task_id: self.spec().task_id.clone(),
            agent,
            attempt,
            failure,
            usage,
            tool: calls.last().filter(|_| any_tool).map(|it| it.tool.clone()),
        };
        self.push(id, Place::Task(task).id(dispatch), (started_at, ended_at), what);
        let above = TraceContext { span: id, ..self.context.clone() };
        self.spans.extend(calls.iter().filter_map(|it| Span::of_call(dispatch, &above, it)));
    }

    fn push(&mut self, id: SpanId, parent: SpanId, when: (Millis, Millis), what: Spanned) {
        self.spans.push(Span {
            trace: self.context.trace,
            id,
            parent: Some(parent),
            state: self.context.state.clone(),
            started_at: when.0,
            ended_at: when.1.max(when.0),
            dispatch: self.trace.target.dispatch,
            what,
        });
    }

    fn spec(&self) -> &crate::model::TaskSpec {
        &self.trace.document.tasks[self.trace.task.as_usize()]
    }
}

/// How an event ends the attempt that runs, if it does: why it failed, and what it used.
fn end_of(event: &Event) -> Option<(Option<FailureCode>, Option<Usage>)> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only these end an attempt")]
    match event {
        Event::AttemptEnded { result, usage, .. } => {
            Some((result.as_ref().err().map(|it| it.code), *usage))
        }
        Event::AttemptInterrupted { .. } => Some((Some(FailureCode::Interrupted), None)),
        Event::TaskCancelled { .. } => Some((Some(FailureCode::Cancelled), None)),
        Event::TaskDropped { .. } => Some((Some(FailureCode::BudgetExceeded), None)),
        _ => None,
    }
}

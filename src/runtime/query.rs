//! Answers questions from the store; the dispatcher is not asked.

use std::sync::Arc;

use serde_json::Value;

use super::{advice::Advice, decision::Explainer, document::Meta, report, spending, trace};
use crate::{
    model::{
        DispatchId, DispatchListing, DispatchResult, ErrorCode, Millis, Refusal, TaskId, TaskIdx,
        Timestamp, TraceEvent, TraceKind, TracePage, View, text,
    },
    ports::{
        DispatchRow, Journal, Overview, Record, RecordBody, RecordFilter, Snapshot, StoreError,
        StoredTask, ask,
    },
};

/// How many outputs are read from the store at once.
const OUTPUTS_PAGE: usize = 64;
/// How many dispatches one list holds.
const RECENT_MAX: usize = 50;

/// Which part of a result is wanted.
#[derive(Clone, Debug)]
pub(super) struct ResultQuery {
    pub(super) dispatch: DispatchId,
    pub(super) tasks: Option<Vec<TaskId>>,
    pub(super) view: View,
    /// A position in the selected tasks.
    pub(super) start: usize,
    /// How many characters the results may have together.
    pub(super) chars_max: usize,
}

impl ResultQuery {
    /// The first page of everything.
    pub(super) fn page(dispatch: DispatchId) -> Self {
        Self {
            dispatch,
            tasks: None,
            view: View::Full,
            start: 0,
            chars_max: report::PAGE_CHARS_MAX,
        }
    }
}

/// A dispatch's result, or the part that is wanted.
pub(super) async fn result(
    journal: &Arc<dyn Journal>,
    query: ResultQuery,
    now: Millis,
) -> Result<DispatchResult, Refusal> {
    look(journal, move |it| result_at(it, &query, now)).await
}

fn result_at(
    snapshot: &dyn Snapshot,
    query: &ResultQuery,
    now: Millis,
) -> Result<DispatchResult, Refusal> {
    let (row, tasks) = overview_at(snapshot, query.dispatch)?;
    let meta = Meta::read(&row.meta)?;
    let selected = select(&tasks, query.tasks.as_deref())?;
    let page = fill_page(snapshot, query, &row, &meta, (&tasks, &selected))?;
    let summary = report::summarise(&row, &tasks, &meta, now);
    let mut warnings = meta.warnings.clone();
    if meta.wants_context {
        warnings.extend(context_warnings(snapshot, query.dispatch)?);
    }
    let advice = Advice::new((&row, &meta), &summary, &tasks, page.next.is_some());
    let budget = spending::budget_report(snapshot, (&row, &tasks), &meta, now);
    let budget = budget?;
    Ok(report::dispatch_result(&row, &meta, summary, page, (warnings, budget, advice, query.view)))
}

/// The places of tasks that are named by their ids.
pub(super) fn places(tasks: &[StoredTask], names: &[TaskId]) -> Result<Vec<TaskIdx>, Refusal> {
    names.iter().map(|name| place(tasks, name)).collect()
}

/// A page of a dispatch's trace.
pub(super) async fn trace_page(
    journal: &Arc<dyn Journal>,
    dispatch: DispatchId,
    task: Option<TaskId>,
    kinds: Vec<TraceKind>,
    part: (u64, usize),
) -> Result<TracePage, Refusal> {
    look(journal, move |it| trace_page_at(it, dispatch, task.as_ref(), &kinds, part)).await
}

fn trace_page_at(
    snapshot: &dyn Snapshot,
    dispatch: DispatchId,
    task: Option<&TaskId>,
    kinds: &[TraceKind],
    (after, limit): (u64, usize),
) -> Result<TracePage, Refusal> {
    let (row, tasks) = overview_at(snapshot, dispatch)?;
    let task = task.map(|it| place(&tasks, it)).transpose()?;
    let wanted = Wanted::new(kinds.to_vec(), limit);
    let limit = wanted.records_max;
    let explainer = if wanted.decisions { Some(explainer_at(snapshot, &row)?) } else { None };
    let filter = RecordFilter { task, kinds: wanted.stored, after, limit: limit + 1 };
    let mut records = snapshot.records(dispatch, &filter)?;
    let has_more = records.len() > limit;
    records.truncate(limit);
    let name_of = |it: TaskIdx| {
        tasks.get(it.as_usize()).map_or_else(String::new, |it| it.task_id.to_string())
    };
    let mut events = Vec::with_capacity(records.len());
    for record in &records {
        events.extend(explainer.as_ref().and_then(|it| it.event(record)));
        if wanted.starts || record.body.kind() != TraceKind::AttemptStarted {
            events.push(trace::event(record, &name_of));
        }
    }
    Ok(cut_to_answer(dispatch, events, has_more))
}

/// What is asked of a trace, in terms of what is stored: decisions are made from starts.
struct Wanted {
    decisions: bool,
    /// Whether the starts themselves are asked for.
    starts: bool,
    stored: Vec<TraceKind>,
    records_max: usize,
}

impl Wanted {
    fn new(mut kinds: Vec<TraceKind>, limit: usize) -> Self {
        let decisions = kinds.contains(&TraceKind::Decision);
        let starts = kinds.is_empty() || kinds.contains(&TraceKind::AttemptStarted);
        kinds.retain(|it| *it != TraceKind::Decision);
        if decisions && !starts {
            kinds.push(TraceKind::AttemptStarted);
        }
        // One record may become two events.
        let records_max = if decisions && starts { limit.div_ceil(2) } else { limit };
        Self { decisions, starts, stored: kinds, records_max }
    }
}

/// The recent dispatches, newest first.
pub(super) async fn recent(
    journal: &Arc<dyn Journal>,
    before: Option<DispatchId>,
    limit: usize,
) -> Result<TracePage, Refusal> {
    let limit = limit.min(RECENT_MAX);
    let rows = journal.recent(None, before, limit + 1).await?;
    let next_cursor = (rows.len() > limit).then(|| rows[limit - 1].dispatch.to_string());
    let dispatches = rows.iter().take(limit).map(listing).collect();
    Ok(TracePage { dispatches: Some(dispatches), next_cursor, ..TracePage::default() })
}

/// One dispatch, or the refusal that says that there is none.
pub(super) async fn dispatch_row(
    journal: &Arc<dyn Journal>,
    dispatch: DispatchId,
) -> Result<DispatchRow, Refusal> {
    let row = journal.dispatch(dispatch).await?;
    row.ok_or_else(|| unknown(dispatch))
}

/// One dispatch with its tasks, or the refusal that says that there is none.
pub(super) async fn overview(
    journal: &Arc<dyn Journal>,
    dispatch: DispatchId,
) -> Result<Overview, Refusal> {
    look(journal, move |it| overview_at(it, dispatch)).await
}

fn overview_at(snapshot: &dyn Snapshot, dispatch: DispatchId) -> Result<Overview, Refusal> {
    let found = snapshot.overview(dispatch)?;
    found.ok_or_else(|| unknown(dispatch))
}

/// Makes an answer from one look at the store.
pub(super) async fn look<T: Send + 'static>(
    journal: &Arc<dyn Journal>,
    answer: impl Fn(&dyn Snapshot) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    ask(&**journal, move |it| Ok(answer(it))).await.unwrap_or_else(|it| Err(refuse(&it)))
}

/// The refusal of a dispatch that is not there.
pub(super) fn unknown(dispatch: DispatchId) -> Refusal {
    Refusal::of(
        ErrorCode::UnknownDispatch,
        "/dispatch_id",
        &format!("there is no dispatch {dispatch}"),
        "read_trace without arguments lists the recent dispatches",
    )
}

/// A store error as users see it.
pub(super) fn refuse(error: &StoreError) -> Refusal {
    let hint = "check the disk and the state directory; `parallel-dispatch doctor` does";
    Refusal::of(ErrorCode::StorageUnavailable, "", &error.to_string(), hint)
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        refuse(&error)
    }
}

fn fill_page(
    snapshot: &dyn Snapshot,
    query: &ResultQuery,
    row: &DispatchRow,
    meta: &Meta,
    (tasks, selected): (&[StoredTask], &[&StoredTask]),
) -> Result<report::Page, Refusal> {
    let target = report::target(row, meta);
    let name_of = |it: TaskIdx| {
        tasks.get(it.as_usize()).map_or_else(String::new, |it| it.task_id.to_string())
    };
    let mut pager = report::Pager::new(query.chars_max);
    let mut at = query.start.min(selected.len());
    while at < selected.len() {
        let chunk = &selected[at..selected.len().min(at + OUTPUTS_PAGE)];
        let outputs = if query.view == View::Summary {
            vec![None; chunk.len()]
        } else {
            let places: Vec<_> = chunk.iter().map(|it| it.task).collect();
            snapshot.outputs(row.dispatch, &places)?
        };
        for (stored, output) in chunk.iter().zip(outputs) {
            let mut result = report::task_result(stored, &name_of, Some(&target), tasks.len());
            let nested = meta.nested.iter().filter(|it| it.task == stored.task);
            result.dispatches = nested.map(|it| it.dispatch).collect();
            result.output =
                output.and_then(|it| serde_json::from_str(&it).ok()).unwrap_or(Value::Null);
            if report::may_have_first_error(&stored.row) {
                let records = first_errors(snapshot, row.dispatch, stored.task)?;
                report::add_first_error(&mut result, &records);
            }
            if !pager.push(result) {
                return Ok(pager.finish(Some(at)));
            }
            at += 1;
        }
    }
    Ok(pager.finish(None))
}

/// The record of a task's first attempt that failed.
fn first_errors(
    snapshot: &dyn Snapshot,
    dispatch: DispatchId,
    task: TaskIdx,
) -> Result<Vec<Record>, Refusal> {
    let kinds = vec![TraceKind::AttemptEnded];
    let filter = RecordFilter { task: Some(task), kinds, after: 0, limit: 1 };
    snapshot.records(dispatch, &filter).map_err(|it| refuse(&it))
}

fn context_warnings(snapshot: &dyn Snapshot, dispatch: DispatchId) -> Result<Vec<String>, Refusal> {
    let kinds = vec![TraceKind::ContextGathered];
    let filter = RecordFilter { kinds, limit: 10, ..RecordFilter::default() };
    let records = snapshot.records(dispatch, &filter)?;
    let Some(RecordBody::ContextGathered { missing, .. }) =
        records.into_iter().last().map(|it| it.body)
    else {
        return Ok(Vec::new());
    };
    Ok(missing.iter().take(20).map(|it| text::escape(&text::cut(it, 300))).collect())
}

/// What knows why attempts of a dispatch started.
fn explainer_at(snapshot: &dyn Snapshot, row: &DispatchRow) -> Result<Explainer, Refusal> {
    let json = snapshot.document(row.dispatch)?;
    Explainer::read(&json.unwrap_or_default(), row.created_at).map_err(|it| refuse(&it))
}

fn select<'a>(
    tasks: &'a [StoredTask],
    names: Option<&[TaskId]>,
) -> Result<Vec<&'a StoredTask>, Refusal> {
    let Some(names) = names else { return Ok(tasks.iter().collect()) };
    let mut places = places(tasks, names)?;
    places.sort_unstable();
    places.dedup();
    Ok(places.into_iter().filter_map(|it| tasks.get(it.as_usize())).collect())
}

fn place(tasks: &[StoredTask], name: &TaskId) -> Result<TaskIdx, Refusal> {
    let found = tasks.iter().find(|it| it.task_id == *name);
    found.map(|it| it.task).ok_or_else(|| {
        let ids = tasks.iter().map(|it| it.task_id.as_str()).take(1_000);
        let hint = text::nearest(name.as_str(), ids).map_or_else(
            || "get_result with view \"summary\" lists the tasks".to_owned(),
            |it| format!("did you mean \"{it}\"?"),
        );
        no_task(name, &hint)
    })
}

/// The refusal that says that a dispatch has no such task.
pub(super) fn no_task(name: &TaskId, hint: &str) -> Refusal {
    let message = format!("the dispatch has no task \"{name}\"");
    Refusal::of(ErrorCode::UnknownTask, "/task_ids", &message, hint)
}

/// Keeps as many events as fit one answer, and says where to go on.
fn cut_to_answer(dispatch: DispatchId, events: Vec<TraceEvent>, has_more: bool) -> TracePage {
    let mut chars_left = report::ANSWER_CHARS_MAX - 1_000;
    let mut kept: Vec<TraceEvent> = Vec::new();
    let mut is_cut = has_more;
    for event in events {
        let chars = serde_json::to_string(&event).map_or(0, |it| it.chars().count() + 1);
        if chars > chars_left && kept.first().is_some_and(|it| it.seq < event.seq) {
            is_cut = true;
            // A decision and the start it is made from have one number and stay together.
            kept.retain(|it| it.seq < event.seq);
            break;
        }
        chars_left = chars_left.saturating_sub(chars);
        kept.push(event);
    }
    let next_cursor = kept.last().filter(|_| is_cut).map(|it| it.seq.to_string());
    TracePage { dispatch_id: Some(dispatch), events: kept, next_cursor, dispatches: None }
}

fn listing(row: &DispatchRow) -> DispatchListing {
    DispatchListing {
        dispatch_id: row.dispatch,
        status: row.status,
        created_at: Timestamp(row.created_at),
        ended_at: row.ended_at.map(Timestamp),
        total_tasks: row.n_tasks,
        successful: row.n_successful,
        unsuccessful: row.n_unsuccessful,
        parent: Meta::read(&row.meta).ok().and_then(|it| Some(it.parent?.to_task())),
    }
}

//! Builds results from what stands in the store, in pages that fit one answer.

use serde_json::Value;

use super::{
    advice::Advice, document::Meta, nesting::Parent, row, row::execution_time, spending, trace,
};
use crate::{
    model::{
        ApprovalReport, BudgetReport, DispatchResult, FailureCode, FailureReport, FirstError,
        Millis, PlanReport, Summary, TaskId, TaskIdx, TaskResult, TaskStatus, Timestamp, View,
        WaitingFor, text,
    },
    ports::{DispatchRow, Record, RecordBody, StoredTask, TaskRow, TraceTarget},
    scheduler::Event,
};

/// The longest answer of a tool, in characters of its JSON text.
pub(super) const ANSWER_CHARS_MAX: usize = 40_000;
/// What an answer needs besides its results.
const ENVELOPE_CHARS: usize = 4_000;
/// The most that the results of one answer of a tool may have, in characters of JSON text.
pub(super) const PAGE_CHARS_MAX: usize = ANSWER_CHARS_MAX - ENVELOPE_CHARS;

/// One page of a dispatch's results.
pub(super) struct Page {
    pub(super) results: Vec<TaskResult>,
    /// Where the next page starts: a position in the selected tasks.
    pub(super) next: Option<usize>,
}

/// Fills pages: takes results as long as they fit.
pub(super) struct Pager {
    results: Vec<TaskResult>,
    chars_left: usize,
}

impl Pager {
    /// A pager for so many characters.
    pub(super) fn new(chars_max: usize) -> Self {
        Self { results: Vec::new(), chars_left: chars_max }
    }

    /// Takes a result if it fits; cuts its output if it would not fit any page.
    pub(super) fn push(&mut self, mut result: TaskResult) -> bool {
        let mut chars = chars_of(&result);
        if chars > self.chars_left && self.results.is_empty() {
            cut_output(&mut result, self.chars_left);
            chars = chars_of(&result).min(self.chars_left);
        }
        let fits = chars <= self.chars_left;
        if fits {
            self.chars_left -= chars;
            self.results.push(result);
        }
        fits
    }

    /// The page so far.
    pub(super) fn finish(self, next: Option<usize>) -> Page {
        Page { results: self.results, next }
    }
}

/// Puts a page and the counts of all tasks into one result.
pub(super) fn dispatch_result(
    row: &DispatchRow,
    meta: &Meta,
    summary: Summary,
    page: Page,
    (warnings, budget, advice, view): (Vec<String>, Option<BudgetReport>, Advice, View),
) -> DispatchResult {
    let Advice { paused_tasks, next_steps } = advice;
    let target = target(row, meta);
    let is_ended = row.ended_at.is_some();
    let mut result = DispatchResult {
        dispatch_id: row.dispatch,
        correlation_id: row.dispatch,
        status: row.status,
        next_steps,
        summary,
        paused: meta.paused && !is_ended,
        paused_tasks,
        max_workers: meta.max_workers,
        warnings,
        trace_index: is_ended.then(|| target.index_path().display().to_string()),
        retry_of: meta.retry_of,
        parent: meta.parent.as_ref().map(Parent::to_task),
        budget,
        next_cursor: page.next.map(|it| it.to_string()),
        results: page.results,
        markdown: None,
    };
    if let Some(step) = spending::next_step(&result) {
        result.next_steps.insert(0, step);
    }
    if view == View::Markdown {
        result.markdown = Some(super::markdown::write(&result));
        result.results.clear();
    }
    result
}

/// What users are told about one task; `output` is filled in by the caller.
pub(super) fn task_result(
    stored: &StoredTask,
    name_of: &dyn Fn(TaskIdx) -> String,
    target: Option<&TraceTarget>,
    n_tasks: usize,
) -> TaskResult {
    let row = &stored.row;
    let caused_by = row.caused_by.map(|it| TaskId::new(&name_of(it)));
    let failure = row.failure.as_ref().map(|it| FailureReport {
        code: it.code,
        retryable: it.code.is_retryable(),
        hint: it.code.hint().to_owned(),
        caused_by: caused_by.clone(),
        first_error: None,
    });
    let error = row.failure.as_ref().map(|it| match &caused_by {
        Some(cause) if it.code == FailureCode::ConditionUnmet => {
            format!("task \"{cause}\", which it needs, was left out")
        }
        Some(cause) => format!("task \"{cause}\", which it waits for, did not succeed"),
        None => text::escape_lines(&it.message),
    });
    let has_file = row.status.is_final();
    let waits = row::waits_for_approval(row);
    TaskResult {
        task_id: stored.task_id.clone(),
        agent: stored.agent.clone(),
        status: row.status,
        output: Value::Null,
        error,
        failure,
        waiting_for: waits.then_some(WaitingFor::Approval),
        approval: row.approval.as_deref().map(approval),
        attempts: row.attempts,
        execution_time_ms: execution_time(row).map(|it| it.0),
        usage: row.usage.as_ref().and_then(|it| it.said.report()),
        started_at: row.started_at.map(Timestamp),
        ended_at: row.ended_at.map(Timestamp),
        trace_file: target.filter(|_| has_file).map(|it| trace::task_path(it, stored, n_tasks)),
        output_truncated: false,
        evidence: row.evidence.as_deref().map(<[_]>::to_vec),
        dispatches: Vec::new(),
        reused: row.reused.as_deref().cloned(),
    }
}

/// An approval as users see it: the message comes from strangers.
fn approval(stored: &ApprovalReport) -> ApprovalReport {
    ApprovalReport {
        message: text::escape_lines(&stored.message),
        decisions: stored.decisions.iter().map(|it| text::escape(it)).collect(),
        until: stored.until,
        decision: stored.decision.as_deref().map(text::escape),
        note: stored.note.as_deref().map(text::escape_lines),
    }
}

/// Whether the records of a task may say more of its failure than its row: it was tried again.
pub(super) fn may_have_first_error(row: &TaskRow) -> bool {
    row.attempts > 1 && row.failure.is_some()
}

/// Adds the first error among a task's `records` where it is another one than the last.
pub(super) fn add_first_error(result: &mut TaskResult, records: &[Record]) {
    let first = records.iter().find_map(|it| {
        let RecordBody::Scheduler(Event::AttemptEnded { attempt, result, .. }) = &it.body else {
            return None;
        };
        Some((*attempt, result.as_ref().err()?))
    });
    let (Some(failure), Some((attempt, first))) = (&mut result.failure, first) else { return };
    let message = text::escape_lines(&first.message);
    if first.code != failure.code || result.error.as_ref() != Some(&message) {
        failure.first_error = Some(FirstError { code: first.code, message, attempt });
    }
}

/// Counts and times over all tasks, up to `now` for what runs.
pub(super) fn summarise(
    row: &DispatchRow,
    tasks: &[StoredTask],
    meta: &Meta,
    now: Millis,
) -> Summary {
    let count = |status| tasks.iter().filter(|it| it.row.status == status).count();
    let total = row.ended_at.unwrap_or(now).since(row.created_at).0;
    // What was kept from another dispatch took no time in this one.
    let is_own = |it: &&StoredTask| it.row.started_at.is_some_and(|at| at >= row.created_at);
    let times = tasks.iter().filter(is_own).filter_map(|it| execution_time(&it.row));
    let sequential = times.map(|it| it.0).sum();
    Summary {
        total_tasks: tasks.len(),
        successful: count(TaskStatus::Success),
        reused: tasks.iter().filter(|it| it.row.reused.is_some()).count(),
        failed: count(TaskStatus::Error),
        skipped: count(TaskStatus::Skipped),
        cancelled: count(TaskStatus::Cancelled),
        running: count(TaskStatus::Running),
        pending: count(TaskStatus::Pending),
        waiting_for_approval: tasks.iter().filter(|it| row::waits_for_approval(&it.row)).count(),
        total_time_ms: total,
        sequential_time_ms: sequential,
        speedup: speedup(sequential, total),
        critical_path_ms: row.critical_path.0,
        estimated_ms: meta.estimated.map(|it| it.0),
        estimate_error_percent: row
            .ended_at
            .and(meta.estimated)
            .map(|it| error_percent(total, it.0)),
    }
}

/// Where the trace files of a dispatch go.
pub(super) fn target(row: &DispatchRow, meta: &Meta) -> TraceTarget {
    TraceTarget {
        dir: meta.trace_dir.clone(),
        dispatch: row.dispatch,
        created_at: Timestamp(row.created_at),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio to two places")]
fn speedup(sequential: u64, total: u64) -> f64 {
    if sequential == 0 {
        return 1.0;
    }
    (sequential as f64 / total.max(1) as f64 * 100.0).round() / 100.0
}

/// By how much `took` is above `expected`, to one place.
#[expect(clippy::cast_precision_loss, reason = "a ratio to one place")]
fn error_percent(took: u64, expected: u64) -> f64 {
    let ratio = took as f64 / expected.max(1) as f64;
    ((ratio - 1.0) * 1_000.0).round() / 10.0
}

/// Cuts a plan to what fits one answer; `plan_id` stands for the whole.
pub(super) fn cut_plan(mut report: PlanReport) -> PlanReport {
    let chars = |it: &PlanReport| serde_json::to_string(it).map_or(0, |it| it.chars().count());
    while chars(&report) > ANSWER_CHARS_MAX && !report.tasks.is_empty() {
        report.truncated = true;
        let half = report.tasks.len() / 2;
        report.tasks.truncate(half);
        report.estimates.truncate(half);
        report.critical_path.truncate(half.max(1));
        report.warnings.truncate(half.max(1));
        report.waves.truncate(half.max(1));
        for wave in &mut report.waves {
            wave.truncate(half.max(1));
        }
        if report.mermaid.chars().count() > ANSWER_CHARS_MAX / 4 {
            report.mermaid =
                "%% too large for one answer: parallel-dispatch plan --format mermaid".into();
        }
    }
    report
}

fn chars_of(result: &TaskResult) -> usize {
    serde_json::to_string(result).map_or(0, |it| it.chars().count() + 1)
}

/// Replaces an output by the beginning of its JSON text.
fn cut_output(result: &mut TaskResult, chars_max: usize) {
    let json = std::mem::take(&mut result.output).to_string();
    let own = chars_of(result);
    // A character may be written as six in JSON text, at worst.
    let room = chars_max.saturating_sub(own + 200);
    let mut end = room.min(json.chars().count());
    loop {
        result.output = Value::String(text::cut(&json, end));
        if chars_of(result) <= chars_max || end == 0 {
            break;
        }
        end = end * 3 / 4;
    }
    result.output_truncated = true;
    if chars_of(result) > chars_max
        && let Some(error) = &mut result.error
    {
        *error = text::cut(error, 1_000);
    }
}

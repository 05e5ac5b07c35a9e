//! What a caller may do next, as results say it.

use super::{document::Meta, row};
use crate::{
    model::{ApprovalSpec, DispatchId, DispatchStatus, Summary, TaskId, TaskIdx, text},
    ports::{DispatchRow, StoredTask},
};

/// How many waiting tasks are named.
const WAITING_MAX: usize = 3;
/// How many paused tasks are listed.
const PAUSED_MAX: usize = 100;
/// How much of an approval's message is repeated.
const MESSAGE_CHARS_MAX: usize = 200;

/// What holds a dispatch up, and what can be done.
#[derive(Debug)]
pub(super) struct Advice {
    /// The tasks that are paused by name.
    pub(super) paused_tasks: Vec<TaskId>,
    /// Most useful first.
    pub(super) next_steps: Vec<String>,
}

impl Advice {
    pub(super) fn new(
        (row, meta): (&DispatchRow, &Meta),
        summary: &Summary,
        tasks: &[StoredTask],
        has_more: bool,
    ) -> Self {
        let is_open = row.status == DispatchStatus::Running;
        let name = |it: &TaskIdx| Some(tasks.get(it.as_usize())?.task_id.clone());
        let paused = meta.paused_tasks.iter().filter(|_| is_open);
        let paused_tasks: Vec<_> = paused.filter_map(name).take(PAUSED_MAX).collect();
        let mut next_steps = Vec::new();
        if meta.paused && is_open {
            next_steps.push(how_to_resume(row.dispatch, &[]));
        } else if !paused_tasks.is_empty() {
            next_steps.push(how_to_resume(row.dispatch, &paused_tasks));
        }
        let has_pause = !next_steps.is_empty();
        next_steps.extend(steps(row, summary, tasks, (has_more, has_pause)));
        Self { paused_tasks, next_steps }
    }
}

/// What to do next, but for pauses.
fn steps(
    row: &DispatchRow,
    summary: &Summary,
    tasks: &[StoredTask],
    (has_more, has_pause): (bool, bool),
) -> Vec<String> {
    let id = row.dispatch;
    let waiting = tasks.iter().filter(|it| row::waits_for_approval(&it.row)).take(WAITING_MAX);
    let mut steps: Vec<_> = waiting.filter_map(|it| how_to_decide(id, it)).collect();
    if row.status == DispatchStatus::Running && !has_pause {
        steps.push(format!(
            "it goes on by itself: get_result {{\"dispatch_id\": \"{id}\", \"wait_ms\": 45000}}"
        ));
    }
    if has_more {
        steps.push("more results: get_result with cursor set to next_cursor".to_owned());
    }
    if summary.failed > 0 {
        steps.push(format!(
            "see why: read_trace {{\"dispatch_id\": \"{id}\", \"kinds\": [\"attempt_ended\"]}}"
        ));
    }
    let n_lost = summary.failed + summary.skipped + summary.cancelled;
    // Of a success only those are missing whose conditions were not met.
    if n_lost > 0 && !matches!(row.status, DispatchStatus::Running | DispatchStatus::Success) {
        let noun = if n_lost == 1 { "task" } else { "tasks" };
        steps.push(format!(
            "after mending the cause: retry_dispatch {{\"dispatch_id\": \"{id}\"}} runs {n_lost} \
             {noun} again and keeps the rest"
        ));
    }
    if row.status == DispatchStatus::Success {
        steps.push("review the outputs; each task's trace_file has its calls and times".to_owned());
    }
    steps
}

fn how_to_resume(dispatch: DispatchId, tasks: &[TaskId]) -> String {
    let names: Vec<_> = tasks.iter().take(WAITING_MAX).map(|it| format!("\"{it}\"")).collect();
    let (names, more) = (names.join(", "), tasks.len().saturating_sub(WAITING_MAX));
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let (what, field) = if tasks.is_empty() {
        ("it is paused".to_owned(), String::new())
    } else {
        (format!("{names}{more} and what depends on them are paused"), {
            format!(", \"task_ids\": [{names}]")
        })
    };
    format!(
        "{what}, and nothing new starts there: control_dispatch {{\"dispatch_id\": \
         \"{dispatch}\", \"action\": \"resume\"{field}}}"
    )
}

fn how_to_decide(dispatch: DispatchId, task: &StoredTask) -> Option<String> {
    let approval = task.row.approval.as_deref()?;
    let message = text::escape(&text::cut(&approval.message, MESSAGE_CHARS_MAX));
    let decisions = text::escape(&approval.decisions.join(" or "));
    let first = approval.decisions.first().map_or(ApprovalSpec::APPROVE, String::as_str);
    let (name, first) = (&task.task_id, text::escape(first));
    Some(format!(
        "decide on task \"{name}\" ({decisions}), which asks \"{message}\": approve_task \
         {{\"dispatch_id\": \"{dispatch}\", \"task_id\": \"{name}\", \"decision\": \"{first}\"}}"
    ))
}

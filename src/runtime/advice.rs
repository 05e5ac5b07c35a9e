//! What a caller may do next, as results say it.

use super::row;
use crate::{
    model::{ApprovalSpec, DispatchId, DispatchStatus, Summary, text},
    ports::{DispatchRow, StoredTask},
};

/// How many waiting tasks are named.
const WAITING_MAX: usize = 3;
/// How much of an approval's message is repeated.
const MESSAGE_CHARS_MAX: usize = 200;

/// What to do next, most useful first.
pub(super) fn next_steps(
    row: &DispatchRow,
    summary: &Summary,
    tasks: &[StoredTask],
    has_more: bool,
) -> Vec<String> {
    let id = row.dispatch;
    let waiting = tasks.iter().filter(|it| row::waits_for_approval(&it.row)).take(WAITING_MAX);
    let mut steps: Vec<_> = waiting.filter_map(|it| how_to_decide(id, it)).collect();
    if row.status == DispatchStatus::Running {
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
    if n_lost > 0 && row.status != DispatchStatus::Running {
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

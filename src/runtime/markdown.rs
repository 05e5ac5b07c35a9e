//! A result as a text for people.

use std::fmt::Write as _;

use crate::model::{
    DispatchResult, SpentReport, TaskResult, TaskStatus,
    text::{self, escape_markdown},
};

/// How much of an output is shown.
const OUTPUT_CHARS_MAX: usize = 400;
/// The longest text, in characters.
const TEXT_CHARS_MAX: usize = 24_000;

/// Writes the results that `result` holds.
pub(super) fn write(result: &DispatchResult) -> String {
    let mut out = String::new();
    let summary = &result.summary;
    // Writing to a string cannot fail.
    _ = write!(
        out,
        "## Dispatch {}\n\n**Status**: {:?}  \n**Tasks**: {} ({} successful, {} failed, \
         {} skipped, {} cancelled)  \n**Time**: {} ms (one after the other {} ms, speed-up {})\n",
        result.dispatch_id,
        result.status,
        summary.total_tasks,
        summary.successful,
        summary.failed,
        summary.skipped,
        summary.cancelled,
        summary.total_time_ms,
        summary.sequential_time_ms,
        summary.speedup,
    );
    if let Some(budget) = &result.budget {
        let SpentReport { tokens, cost_usd, wall_seconds, tasks } = budget.spent;
        let exceeded = budget
            .exceeded
            .map_or_else(String::new, |it| format!("; the limit of {} is exceeded", it.as_str()));
        _ = writeln!(
            out,
            "**Budget**: {tokens} tokens, {cost_usd} dollars, {wall_seconds} s and {tasks} tasks \
             used{exceeded}"
        );
    }
    for it in result.warnings.iter().take(10) {
        _ = write!(out, "\n> {}\n", escape_markdown(it));
    }
    section(&mut out, "Successful", result, |it| it == TaskStatus::Success);
    section(&mut out, "Not successful", result, |it| {
        matches!(it, TaskStatus::Error | TaskStatus::Skipped | TaskStatus::Cancelled)
    });
    section(&mut out, "Open", result, |it| !it.is_final());
    if !result.next_steps.is_empty() {
        out.push_str("\n### Next steps\n\n");
        for it in &result.next_steps {
            _ = writeln!(out, "- {}", escape_markdown(it));
        }
    }
    cut_to_lines(out)
}

/// Cuts between lines, so that no mark is left open.
fn cut_to_lines(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
        text.truncate(text[..end].rfind('\n').map_or(0, |it| it + 1));
        text.push_str("\n…\n");
    }
    text
}

/// Text of one line between marks that it cannot close.
fn code(text: &str) -> String {
    let runs = text.split(|it| it != '`').map(str::len);
    match runs.max().unwrap_or(0) {
        0 => format!("`{text}`"),
        n => {
            let fence = "`".repeat(n + 1);
            format!("{fence} {text} {fence}")
        }
    }
}

fn section(
    out: &mut String,
    title: &str,
    result: &DispatchResult,
    belongs: impl Fn(TaskStatus) -> bool,
) {
    let mut tasks = result.results.iter().filter(|it| belongs(it.status)).peekable();
    if tasks.peek().is_none() {
        return;
    }
    _ = write!(out, "\n### {title}\n\n");
    tasks.for_each(|it| write_task(out, it));
}

fn write_task(out: &mut String, task: &TaskResult) {
    _ = write!(out, "- **{}** ({})", task.task_id, escape_markdown(task.agent.as_str()));
    if let Some(millis) = task.execution_time_ms {
        _ = write!(out, ", {millis} ms");
    }
    if let Some(from) = &task.reused {
        _ = write!(out, ", reused from task {} of dispatch {}", from.task_id, from.dispatch_id);
    }
    if let (Some(_), Some(approval)) = (task.waiting_for, &task.approval) {
        _ = write!(out, "\n  - Waits for a decision: {}", escape_markdown(&approval.message));
    }
    if let Some(error) = &task.error {
        _ = write!(out, "\n  - Error: {}", escape_markdown(error));
    }
    if let Some(failure) = &task.failure {
        _ = write!(out, "\n  - Suggestion: {}", escape_markdown(&failure.hint));
    }
    if !task.output.is_null() {
        let shown = text::escape(&text::cut(&task.output.to_string(), OUTPUT_CHARS_MAX));
        _ = write!(out, "\n  - Output: {}", code(&shown));
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_closes_a_code_but_its_end() {
        assert_eq!(code("{\"a\":1}"), "`{\"a\":1}`");
        assert_eq!(code("a ``b`` <i>"), "``` a ``b`` <i> ```");
        assert_eq!(code("`"), "`` ` ``");
    }

    #[test]
    fn a_long_text_is_cut_between_lines() {
        let line = format!("- {}\n", code(&"x".repeat(996)));
        let cut = cut_to_lines(line.repeat(30));
        assert_eq!(cut, format!("{}\n…\n", line.repeat(23)));
        assert_eq!(cut_to_lines(line.clone()), line);
    }
}

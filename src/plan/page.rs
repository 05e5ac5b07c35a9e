//! A plan as a page for people.

use std::fmt::Write as _;

use crate::model::{PlanReport, TaskId, text};

/// Writes a plan as Markdown, with its graph as a Mermaid drawing.
pub fn page(report: &PlanReport) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    _ = write!(
        out,
        "# Plan {}\n\n{}: {}\n\nExpected: {:.1} s, from {:.1} s to {:.1} s (one after the other \
         {:.1} s)\n\n",
        report.plan_id,
        report.recommendation.dispatch.as_str(),
        text::escape_markdown(&report.recommendation.reason),
        report.estimated_seconds.likely,
        report.estimated_seconds.low,
        report.estimated_seconds.high,
        report.estimated_sequential_seconds,
    );
    for (at, wave) in report.waves.iter().enumerate() {
        _ = writeln!(out, "{}. {}", at + 1, names(wave));
    }
    _ = writeln!(out, "\nCritical path: {}\n", names(&report.critical_path));
    for it in &report.warnings {
        _ = writeln!(out, "> {}\n", text::escape_markdown(it));
    }
    _ = writeln!(out, "```mermaid\n{}\n```", report.mermaid.trim_end());
    out
}

fn names(tasks: &[TaskId]) -> String {
    tasks.iter().map(TaskId::as_str).collect::<Vec<_>>().join(", ")
}

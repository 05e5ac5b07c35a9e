//! `plan`: what `plan_tasks` answers, for people and scripts.

use std::{fmt::Write as _, io, path::Path};

use super::{
    DocumentSource, PlanFormat,
    expand::{Places, expand},
    output::{Exit, Outcome, print, print_json, refuse, word},
    source,
};
use crate::{
    model::{
        PlanReport, Refusal, TaskId,
        json::{self, Json},
        text,
    },
    runtime::DispatcherHandle,
};

/// Checks a document and prints the plan.
pub async fn plan(
    handle: &DispatcherHandle,
    document: &DocumentSource,
    format: PlanFormat,
    (workspace, bytes_max): (&Path, u64),
) -> Outcome {
    match check(handle, document, workspace, bytes_max).await {
        Err(refusal) => Ok(refuse(&refusal)),
        Ok(report) => {
            match format {
                PlanFormat::Json => print_json(&report)?,
                PlanFormat::Markdown => print(&markdown(&report)?)?,
                PlanFormat::Mermaid => print(&report.mermaid)?,
            }
            Ok(Exit::Success)
        }
    }
}

async fn check(
    handle: &DispatcherHandle,
    document: &DocumentSource,
    workspace: &Path,
    bytes_max: u64,
) -> Result<PlanReport, Refusal> {
    let text = source::read(document, bytes_max)?;
    let mut value = json::read(&text)?.to_value();
    if let Some(places) = Places::of(workspace) {
        expand(&mut value, &places);
    }
    handle.plan_whole(&Json::from_value(&value)?).await
}

fn markdown(report: &PlanReport) -> io::Result<String> {
    let mut out = String::new();
    // Writing to a string cannot fail.
    _ = write!(
        out,
        "# Plan {}\n\n{}: {}\n\nExpected: {:.1} s, from {:.1} s to {:.1} s (one after the other \
         {:.1} s)\n\n",
        report.plan_id,
        word(&report.recommendation.dispatch)?,
        text::escape(&report.recommendation.reason),
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
        _ = writeln!(out, "> {}\n", text::escape(it));
    }
    _ = writeln!(out, "```mermaid\n{}\n```", report.mermaid.trim_end());
    Ok(out)
}

fn names(tasks: &[TaskId]) -> String {
    tasks.iter().map(TaskId::as_str).collect::<Vec<_>>().join(", ")
}

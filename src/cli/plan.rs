//! `plan`: what `plan_tasks` answers, for people and scripts.

use std::path::Path;

use super::{
    DocumentSource, PlanFormat,
    expand::{Places, expand},
    output::{Exit, Outcome, print, print_json, refuse},
    source,
};
use crate::{
    model::{
        PlanReport, Refusal,
        json::{self, Json},
    },
    plan,
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
                PlanFormat::Markdown => print(&plan::page(&report))?,
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

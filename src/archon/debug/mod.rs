//! The `debug` agent: BFROS, that is baseline, focus, root cause, optimisation and synthesis.
//!
//! It reads and never runs what it reads. Every conclusion names its evidence and how sure it is;
//! what cannot be known from files and traces alone is not claimed.

mod causes;
mod evidence;
mod file;
mod git;
mod hints;
mod hypothesis;
mod related;
#[cfg(test)]
mod safety_tests;
mod sections;
mod speed;
#[cfg(test)]
mod tests;
mod trace;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::evidence::Evidence;
use super::error::ArchonError;
use crate::{
    confine::Workspaces,
    model::{AnalysisDepth, DebugInput},
};

/// Investigates what `input` describes.
pub(super) async fn investigate(
    workspaces: Workspaces,
    input: DebugInput,
    stop: CancellationToken,
) -> Result<Value, ArchonError> {
    let changes = match input.analysis_depth {
        AnalysisDepth::Quick => Vec::new(),
        AnalysisDepth::Standard | AnalysisDepth::Deep => {
            let is_allowed = |it: &&String| workspaces.allows(it).is_ok();
            let paths: Vec<_> = input.affected_files.iter().filter(is_allowed).cloned().collect();
            git::recent_changes(&workspaces, &paths, &stop).await
        }
    };
    let work = move || {
        let evidence = Evidence::gather(&workspaces, &input, &stop)?;
        Ok(sections::answer(&input, &evidence, &changes))
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ArchonError::Internal(error.to_string()))?
}

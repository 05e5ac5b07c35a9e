//! `prune`: removes dispatches that ended long ago, with their traces.

use super::{
    PruneArguments,
    output::{Exit, Outcome, print_json, refuse},
};
use crate::runtime::{DispatcherHandle, PruneMode, Retention};

/// Removes, or says what it would, and prints it; what the flags leave open is as `settings` say.
pub async fn prune(
    handle: &DispatcherHandle,
    arguments: PruneArguments,
    settings: Retention,
) -> Outcome {
    let PruneArguments { older_than, keep, max_bytes, dry_run } = arguments;
    let retention = Retention {
        age_max: older_than.or(settings.age_max),
        bytes_max: max_bytes.or(settings.bytes_max),
        keep,
    };
    let mode = if dry_run { PruneMode::DryRun } else { PruneMode::Remove };
    match handle.prune(retention, mode).await {
        Ok(pruned) => {
            print_json(&pruned)?;
            Ok(Exit::Success)
        }
        Err(refusal) => Ok(refuse(&refusal)),
    }
}

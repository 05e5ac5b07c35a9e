//! How long dispatches are kept: what is too old, or too much, goes with its rows and its files.
//!
//! Files go first and the dispatch after them, so that a crash leaves a dispatch that goes the next
//! time, and no files that nobody knows of. All of it happens in short steps with pauses, so that
//! other writers, also of other processes, are not held up.

use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{document::Meta, options::Dependencies};
use crate::{
    model::{DispatchId, DispatchStatus, Millis, Timestamp, text},
    ports::{EndedDispatch, RemovedTraces, StoreError, TraceTarget},
};

/// How many dispatches go in one step because of their age; because of the store's size they go one
/// by one, for each may be most of it.
const AGED_STEP: usize = 64;
const SIZE_STEP: usize = 1;
/// The pause between two steps, in which others get at the store.
const PAUSE: Duration = Duration::from_millis(5);
/// When the background work begins, and how often it comes back.
const FIRST_ROUND: Duration = Duration::from_mins(1);
const NEXT_ROUND: Duration = Duration::from_mins(10);
/// How many dispatches one round in the background removes at most.
const ROUND_MAX: usize = 1_000;
/// How many sentences about files that stayed are kept.
const WARNINGS_MAX: usize = 20;

/// What is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long after its end a dispatch is kept; for ever if absent. Plans go at the same age.
    pub age_max: Option<Millis>,
    /// How much the store may hold, in bytes; beyond, what ended first goes first.
    pub bytes_max: Option<u64>,
    /// How many of those that ended last are kept in any case.
    pub keep: usize,
}

/// Whether anything is really removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PruneMode {
    /// It is.
    Remove,
    /// It is only said what would be.
    DryRun,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Whether it is only a forecast, which knows nothing of plans and files.
    pub dry_run: bool,
    /// The dispatches, the one that ended first first.
    pub dispatches: Vec<PrunedDispatch>,
    /// How many there are.
    pub dispatches_removed: usize,
    /// How many plans went.
    pub plans_removed: usize,
    /// How many trace files and links went.
    pub trace_files_removed: usize,
    /// What the store took on disk before and afterwards, in bytes, its log not counted.
    pub store_bytes_before: u64,
    /// See `store_bytes_before`.
    pub store_bytes_after: u64,
    /// Why trace files stayed that should have gone; at most 20.
    pub warnings: Vec<String>,
}

/// A dispatch that was removed, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrunedDispatch {
    /// Its id.
    pub dispatch_id: DispatchId,
    /// The verdict.
    pub status: DispatchStatus,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How many tasks it had.
    pub total_tasks: usize,
}

/// A pruning under way.
struct Work<'d> {
    dependencies: &'d Dependencies,
    mode: PruneMode,
    /// How many dispatches may still go.
    n_left: usize,
    /// The last one that went.
    after: Option<(Millis, DispatchId)>,
    plans_before: Millis,
    /// In a forecast by size, how many bytes would be free by now.
    freed: Option<u64>,
    pruned: Pruned,
}

/// Removes a bit now and then, until the shutdown.
pub(super) async fn run(
    dependencies: Dependencies,
    retention: Option<Retention>,
    shutdown: CancellationToken,
) {
    let Some(retention) = retention else { return };
    let rounds = async {
        tokio::time::sleep(FIRST_ROUND).await;
        loop {
            let pruned = prune(&dependencies, retention, PruneMode::Remove, ROUND_MAX).await;
            match pruned {
                Ok(it) if it.dispatches_removed + it.plans_removed > 0 => {
                    let (n_dispatches, n_plans) = (it.dispatches_removed, it.plans_removed);
                    info!(n_dispatches, n_plans, "what is too old was removed");
                }
                Ok(_) => (),
                Err(error) => warn!(%error, "failed to remove what is too old"),
            }
            tokio::time::sleep(NEXT_ROUND).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => (),
        () = rounds => (),
    }
}

/// Removes what `retention` does not keep, at most `dispatches_max` dispatches.
pub(super) async fn prune(
    dependencies: &Dependencies,
    retention: Retention,
    mode: PruneMode,
    dispatches_max: usize,
) -> Result<Pruned, StoreError> {
    let before = dependencies.upkeep.usage().await?;
    let now = dependencies.clock.now();
    let aged = retention.age_max.map_or(Millis(0), |it| now.since(it));
    let mut work = Work {
        dependencies,
        mode,
        n_left: before.n_ended.saturating_sub(retention.keep).min(dispatches_max),
        after: None,
        plans_before: aged,
        freed: (mode == PruneMode::DryRun && retention.bytes_max.is_some()).then_some(0),
        pruned: Pruned {
            dry_run: mode == PruneMode::DryRun,
            store_bytes_before: before.bytes_taken,
            store_bytes_after: before.bytes_taken,
            ..Pruned::default()
        },
    };
    while work.step(aged, AGED_STEP).await? > 0 {}
    if let Some(bytes_max) = retention.bytes_max {
        work.fit(bytes_max).await?;
    }
    work.finish().await
}

impl Work<'_> {
    /// Removes at most `n_max` of those that ended before `before`; returns how many went.
    async fn step(&mut self, before: Millis, n_max: usize) -> Result<usize, StoreError> {
        let n_max = n_max.min(self.n_left);
        if n_max == 0 {
            return Ok(0);
        }
        let upkeep = &self.dependencies.upkeep;
        let ended = upkeep.ended(before, self.after, n_max).await?;
        let Some(last) = ended.last() else { return Ok(0) };
        self.after = Some((last.ended_at, last.dispatch));
        let n_ended = ended.len();
        if self.mode == PruneMode::Remove {
            for it in &ended {
                self.remove_files(it).await;
            }
            upkeep.forget(ended.iter().map(|it| it.dispatch).collect()).await?;
            tokio::time::sleep(PAUSE).await;
        } else if let Some(freed) = &mut self.freed {
            for it in &ended {
                *freed += upkeep.size_of(it.dispatch).await?;
            }
        }
        self.n_left -= n_ended;
        self.pruned.dispatches_removed += n_ended;
        self.pruned.dispatches.extend(ended.into_iter().map(PrunedDispatch::from));
        Ok(n_ended)
    }

    /// Removes what ended first until the store holds at most `bytes_max`.
    async fn fit(&mut self, bytes_max: u64) -> Result<(), StoreError> {
        loop {
            self.sweep().await?;
            let used = self.dependencies.upkeep.usage().await?.bytes_used;
            let used = used.saturating_sub(self.freed.unwrap_or(0));
            if used <= bytes_max || self.step(Millis(u64::MAX), SIZE_STEP).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn finish(mut self) -> Result<Pruned, StoreError> {
        self.sweep().await?;
        let upkeep = &self.dependencies.upkeep;
        if self.pruned.dispatches_removed + self.pruned.plans_removed > 0
            && self.mode == PruneMode::Remove
        {
            while !upkeep.shrink().await? {
                tokio::time::sleep(PAUSE).await;
            }
            self.pruned.store_bytes_after = upkeep.usage().await?.bytes_taken;
        }
        Ok(self.pruned)
    }

    /// Frees the room of all that was forgotten, also by a process that did not get so far.
    async fn sweep(&mut self) -> Result<(), StoreError> {
        while self.mode == PruneMode::Remove {
            let swept = self.dependencies.upkeep.sweep(self.plans_before).await?;
            self.pruned.plans_removed += swept.n_plans;
            if swept.is_done {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn remove_files(&mut self, ended: &EndedDispatch) {
        let removed = match Meta::read(&ended.meta) {
            Ok(meta) => {
                let (dispatch, created_at) = (ended.dispatch, Timestamp(ended.created_at));
                let target = TraceTarget { dir: meta.trace_dir, dispatch, created_at };
                self.dependencies.traces.remove(target).await
            }
            Err(error) => RemovedTraces { n_files: 0, left: Some(error.to_string()) },
        };
        self.pruned.trace_files_removed += removed.n_files;
        if let Some(left) = removed.left
            && self.pruned.warnings.len() < WARNINGS_MAX
        {
            let left = text::escape(&left);
            let warning = format!("dispatch {}: its trace files stay: {left}", ended.dispatch);
            self.pruned.warnings.push(warning);
        }
    }
}

impl From<EndedDispatch> for PrunedDispatch {
    fn from(ended: EndedDispatch) -> Self {
        Self {
            dispatch_id: ended.dispatch,
            status: ended.status,
            ended_at: Timestamp(ended.ended_at),
            total_tasks: ended.n_tasks,
        }
    }
}

//! How a dispatch stands as a whole, for faces whose clients come back to ask.

use std::time::Duration;

use super::{
    approvals::{Question, questions_of},
    document::Meta,
    handle::DispatcherHandle,
    message::{Paused, Progress},
    query,
};
use crate::{
    model::{DispatchId, DispatchStatus, Millis, Refusal, TaskId, TaskStatus},
    ports::{DispatchRow, RecordFilter, StoredTask},
};

/// How long to wait for the newest word, at most.
pub(super) const TOLD_MAX: Duration = Duration::from_millis(200);
/// How many tasks are named.
const NAMES_MAX: usize = 3;

/// How a dispatch stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The verdict so far.
    pub status: DispatchStatus,
    /// When it was accepted.
    pub created_at: Millis,
    /// When something happened last.
    pub updated_at: Millis,
    /// How long after its acceptance it will still be known, from what is known now; `None` if it
    /// is never removed because of its age.
    pub kept: Option<Millis>,
    /// How long it is still expected to take, where there is reason to expect anything.
    pub left: Option<Millis>,
    /// The time of all this.
    pub now: Millis,
    /// What it asks people.
    pub questions: Vec<Question>,
    /// One line for people.
    pub line: String,
}

impl DispatcherHandle {
    /// The time, as dispatches see it.
    pub fn now(&self) -> Millis {
        self.dependencies.clock.now()
    }

    /// How a dispatch stands, in whatever process it runs.
    pub async fn standing(&self, dispatch: DispatchId) -> Result<Standing, Refusal> {
        let journal = &self.dependencies.journal;
        let (row, tasks) = query::overview(journal, dispatch).await?;
        let after = row.tenure.last_seq.saturating_sub(1);
        let filter = RecordFilter { after, limit: 1, ..RecordFilter::default() };
        let last = journal.records(dispatch, filter).await?;
        let is_open = row.ended_at.is_none();
        let live = if is_open { self.live_progress(dispatch).await } else { None };
        let progress = live.unwrap_or_else(|| progress_of(&row, &tasks));
        let now = self.now();
        let ended_at = row.ended_at.unwrap_or(now);
        let age_max = self.options.retention.and_then(|it| it.age_max);
        Ok(Standing {
            status: row.status,
            created_at: row.created_at,
            updated_at: last.first().map_or(row.created_at, |it| it.at),
            kept: age_max.map(|it| ended_at.since(row.created_at) + it),
            left: progress.left(now),
            now,
            questions: if is_open { questions_of(&tasks) } else { Vec::new() },
            line: progress.tell(now),
        })
    }

    /// How a dispatch goes that is live in this process. Whoever begins to follow is told anew, and
    /// nobody guesses when something ends that is not followed.
    async fn live_progress(&self, dispatch: DispatchId) -> Option<Progress> {
        let mut progress = self.follow(dispatch).await?;
        let _told = tokio::time::timeout(TOLD_MAX, progress.changed()).await;
        let progress = progress.borrow().clone();
        Some(progress)
    }
}

/// How a dispatch goes by what the store says of it.
pub(super) fn progress_of(row: &DispatchRow, tasks: &[StoredTask]) -> Progress {
    let running = tasks.iter().filter(|it| it.row.status == TaskStatus::Running);
    let waiting = if row.ended_at.is_some() { Vec::new() } else { questions_of(tasks) };
    let names = |it: &mut dyn Iterator<Item = TaskId>| it.take(NAMES_MAX).collect();
    let meta = Meta::read(&row.meta).ok().filter(|_| row.ended_at.is_none());
    Progress {
        status: row.status,
        n_ended: tasks.iter().filter(|it| it.row.status.is_final()).count(),
        n_unsuccessful: row.n_unsuccessful,
        running: names(&mut running.clone().map(|it| it.task_id.clone())),
        n_running: running.count(),
        n_waiting: waiting.len(),
        waiting: names(&mut waiting.into_iter().map(|it| it.task_id)),
        paused: meta.map_or(Paused::Nothing, |it| match (it.paused, it.paused_tasks.is_empty()) {
            (true, _) => Paused::Whole,
            (false, false) => Paused::Tasks,
            (false, true) => Paused::Nothing,
        }),
        ..Progress::new(tasks.len())
    }
}

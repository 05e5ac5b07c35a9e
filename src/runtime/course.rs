//! How a dispatch goes while it goes on, in whatever process it runs.

use std::{sync::Arc, time::Duration};

use tokio::sync::{oneshot, watch};

use super::{
    handle::DispatcherHandle,
    message::{Message, Progress},
    query,
    standing::{TOLD_MAX, progress_of},
};
use crate::{
    model::{DispatchId, Refusal},
    ports::Changes,
};

/// How long another process's store is left alone between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a store that could not be read is left alone.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What somebody who follows a dispatch wants to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heed {
    /// Also when it is expected to end, which costs a look at every task.
    End,
    /// Only what is counted in any case.
    Counts,
}

/// Follows how a dispatch goes.
#[derive(Debug)]
pub struct Course {
    handle: DispatcherHandle,
    dispatch: DispatchId,
    heed: Heed,
    source: Option<Source>,
    /// Whether it could not be read how it goes.
    is_unread: bool,
    /// What was made of the store last, and the last record there was then.
    last: Option<(u64, Progress)>,
}

/// One who follows in this process; the mark says that they only heed what is counted.
pub(super) type Follower = (watch::Receiver<Progress>, Option<Arc<()>>);

/// Where news come from.
#[derive(Debug)]
enum Source {
    /// From this process's dispatcher.
    Here(Follower),
    /// From the store.
    Elsewhere(Changes),
}

impl DispatcherHandle {
    /// Follows how a dispatch goes.
    pub fn course(&self, dispatch: DispatchId, heed: Heed) -> Course {
        let (handle, source) = (self.clone(), None);
        Course { handle, dispatch, heed, source, is_unread: false, last: None }
    }

    /// Follows a dispatch that is live in this process.
    pub(super) async fn follow_as(&self, dispatch: DispatchId, heed: Heed) -> Option<Follower> {
        self.check_seen(dispatch).await.ok()?;
        let (reply, answer) = oneshot::channel();
        self.control.send(Message::Follow { dispatch, heed, reply }).ok()?;
        answer.await.ok().flatten()
    }
}

impl Course {
    /// How it goes now. When it is expected to end is known only where it is live in this process.
    pub async fn read(&mut self) -> Result<Progress, Refusal> {
        if !self.is_here() {
            self.listen().await;
        }
        let progress = match &mut self.source {
            Some(Source::Here((progress, _))) => Ok(progress.borrow_and_update().clone()),
            Some(Source::Elsewhere(_)) | None => self.look_up().await,
        };
        self.is_unread = progress.is_err();
        progress
    }

    /// Waits until it may go otherwise than was read last, and a little where it could not be
    /// read. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        if self.is_unread {
            // What has changed meanwhile may have been heard of already.
            return tokio::time::sleep(LOOK_AGAIN).await;
        }
        let is_over = match &mut self.source {
            Some(Source::Here((progress, _))) => progress.changed().await.is_err(),
            Some(Source::Elsewhere(changes)) => {
                // The pause comes first: what is dropped here must not have been heard.
                tokio::time::sleep(LOOK_EVERY).await;
                changes.next().await;
                false
            }
            None => false,
        };
        if is_over {
            // It has ended, or another process has it now.
            self.source = Some(Source::Elsewhere(self.handle.dependencies.journal.changes()));
        }
    }

    /// Whether it was live in this process when it was read last.
    pub fn is_here(&self) -> bool {
        matches!(self.source, Some(Source::Here(_)))
    }

    async fn listen(&mut self) {
        if let Some(mut follower) = self.handle.follow_as(self.dispatch, self.heed).await {
            // Whoever begins to follow is told anew.
            let _told = tokio::time::timeout(TOLD_MAX, follower.0.changed()).await;
            self.source = Some(Source::Here(follower));
        } else if self.source.is_none() {
            self.source = Some(Source::Elsewhere(self.handle.dependencies.journal.changes()));
        }
    }

    /// How it goes by what the store says; of one that has not moved on only its row is read.
    async fn look_up(&mut self) -> Result<Progress, Refusal> {
        let journal = &self.handle.dependencies.journal;
        let row = query::dispatch_row(journal, self.dispatch).await?;
        let is_newest = |it: &&(u64, Progress)| it.0 == row.tenure.last_seq;
        if let Some((_, progress)) = self.last.as_ref().filter(is_newest) {
            return Ok(progress.clone());
        }
        let (row, tasks) = query::overview(journal, self.dispatch).await?;
        let progress = progress_of(&row, &tasks);
        self.last = Some((row.tenure.last_seq, progress.clone()));
        Ok(progress)
    }
}

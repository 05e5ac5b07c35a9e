//! What people are asked before tasks may start, for faces that ask them.

use std::time::Duration;

use tokio::sync::watch;

use super::{handle::DispatcherHandle, message::Progress, query, row};
use crate::{
    model::{ApprovalSpec, DispatchId, Refusal, TaskId, TaskIdx, text},
    ports::{Changes, StoredTask},
};

/// How long another process's store is left alone between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a store that could not be read is left alone.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A task that waits for somebody's approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its place in the document. A task is asked about once, so this names the question for as
    /// long as the dispatch is known.
    pub task: TaskIdx,
    /// Its name.
    pub task_id: TaskId,
    /// What is asked, fit to be shown.
    pub message: String,
    /// What may be decided: plain words.
    pub decisions: Vec<String>,
}

impl Question {
    /// Whether it may be answered with no.
    pub fn may_reject(&self) -> bool {
        self.decisions.iter().any(|it| it == ApprovalSpec::REJECT)
    }
}

/// What a dispatch asks, now and as it changes, in whatever process it runs.
#[derive(Debug)]
pub struct Questions {
    handle: DispatcherHandle,
    dispatch: DispatchId,
    listening: Option<Listening>,
    /// Whether it could not be read what is asked.
    is_unread: bool,
    /// What it asked last elsewhere, and the last record there was then.
    last: Option<(u64, Vec<Question>)>,
}

/// Where news come from.
#[derive(Debug)]
enum Listening {
    /// From this process's dispatcher; and how often the questions had changed.
    Here(watch::Receiver<Progress>, u64),
    /// From the store.
    Elsewhere(Changes),
}

impl DispatcherHandle {
    /// Follows what a dispatch asks.
    pub fn questions(&self, dispatch: DispatchId) -> Questions {
        let (handle, listening) = (self.clone(), None);
        Questions { handle, dispatch, listening, is_unread: false, last: None }
    }
}

impl Questions {
    /// What is asked now.
    pub async fn read(&mut self) -> Result<Vec<Question>, Refusal> {
        if self.listening.is_none() {
            // What is asked from now on is heard of; what was asked before is looked up.
            self.listen().await;
        }
        let open = self.look_up().await;
        self.is_unread = open.is_err();
        open
    }

    /// What the store says; of a dispatch that has not moved on only the row is read.
    async fn look_up(&mut self) -> Result<Vec<Question>, Refusal> {
        let journal = &self.handle.dependencies.journal;
        if let Some((last_seq, open)) = &self.last {
            let row = query::dispatch_row(journal, self.dispatch).await?;
            if row.tenure.last_seq == *last_seq {
                return Ok(open.clone());
            }
        }
        let (row, tasks) = query::overview(journal, self.dispatch).await?;
        let open = if row.ended_at.is_some() { Vec::new() } else { questions_of(&tasks) };
        self.last = Some((row.tenure.last_seq, open.clone()));
        Ok(open)
    }

    /// Waits until something else may be asked than what was read last, and a little where it
    /// could not be read. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        if self.is_unread {
            // What has changed meanwhile may have been heard of already.
            return tokio::time::sleep(LOOK_AGAIN).await;
        }
        while !self.hear().await {}
    }

    async fn listen(&mut self) {
        let here = self.handle.follow(self.dispatch).await;
        self.listening = Some(match here {
            Some(progress) => {
                let n_waits = progress.borrow().n_waits;
                Listening::Here(progress, n_waits)
            }
            None => Listening::Elsewhere(self.handle.dependencies.journal.changes()),
        });
    }

    /// Waits for something to happen; answers whether it may have to do with questions.
    async fn hear(&mut self) -> bool {
        match &mut self.listening {
            Some(Listening::Here(progress, n_waits)) => {
                if progress.changed().await.is_err() {
                    // It has ended, or another process has it now.
                    let changes = self.handle.dependencies.journal.changes();
                    self.listening = Some(Listening::Elsewhere(changes));
                    return true;
                }
                let now = progress.borrow_and_update().n_waits;
                now != std::mem::replace(n_waits, now)
            }
            Some(Listening::Elsewhere(changes)) => {
                // The pause comes first: what is dropped here must not have been heard.
                tokio::time::sleep(LOOK_EVERY).await;
                changes.next().await;
                true
            }
            None => true,
        }
    }
}

/// The tasks that wait for an approval, in document order.
pub(super) fn questions_of(tasks: &[StoredTask]) -> Vec<Question> {
    let open = tasks.iter().filter(|it| row::waits_for_approval(&it.row));
    let question = |it: &StoredTask| {
        let approval = it.row.approval.as_deref()?;
        Some(Question {
            task: it.task,
            task_id: it.task_id.clone(),
            message: text::escape_lines(&approval.message),
            decisions: approval.decisions.clone(),
        })
    };
    open.filter_map(question).collect()
}

//! What a commit must agree with: the rules that every store keeps in the same words.

use crate::{
    model::{DispatchId, TaskIdx, TaskStatus},
    ports::{Committed, Epoch, OwnerId, StoreError, Tenure, Write},
};

/// How many kinds of work of one agent are kept; those without samples for longest are forgotten.
pub(super) const KINDS_MAX: usize = 1_000;

/// How many results are kept for later tasks to take; the oldest are forgotten.
pub(super) const RESULTS_MAX: usize = if cfg!(test) { 300 } else { 100_000 };

/// What the writes about a dispatch are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) n_tasks: usize,
    pub(super) n_successful: usize,
    pub(super) n_unsuccessful: usize,
    /// The number of the last record; 0 before the first.
    pub(super) last_seq: u64,
    pub(super) owner: OwnerId,
    pub(super) epoch: Epoch,
    pub(super) has_ended: bool,
}

impl Head {
    pub(super) fn new(n_tasks: usize, owner: OwnerId) -> Self {
        Self {
            n_tasks,
            n_successful: 0,
            n_unsuccessful: 0,
            last_seq: 0,
            owner,
            epoch: Epoch::FIRST,
            has_ended: false,
        }
    }

    pub(super) fn tenure(&self) -> Tenure {
        Tenure { owner: self.owner, epoch: self.epoch, last_seq: self.last_seq }
    }

    /// Takes the next record's number. A gap or a repetition means that somebody writes a dispatch
    /// without claiming it, and then nobody may go on.
    pub(super) fn follow(&mut self, dispatch: DispatchId, seq: u64) -> Result<(), StoreError> {
        if seq.checked_sub(1) != Some(self.last_seq) {
            return Err(StoreError::Corrupt(format!(
                "dispatch {dispatch}: record {seq} does not follow record {}",
                self.last_seq
            )));
        }
        self.last_seq = seq;
        Ok(())
    }

    pub(super) fn check_task(&self, dispatch: DispatchId, task: TaskIdx) -> Result<(), StoreError> {
        if task.as_usize() < self.n_tasks {
            return Ok(());
        }
        Err(StoreError::Corrupt(format!("dispatch {dispatch}: there is no task {}", task.as_u32())))
    }

    /// Counts a task that went from one status to another.
    pub(super) fn count(&mut self, before: TaskStatus, after: TaskStatus) {
        if let Some(counter) = self.counter(before) {
            *counter = counter.saturating_sub(1);
        }
        if let Some(counter) = self.counter(after) {
            *counter += 1;
        }
    }

    fn counter(&mut self, status: TaskStatus) -> Option<&mut usize> {
        match status {
            TaskStatus::Pending | TaskStatus::Running => None,
            TaskStatus::Success => Some(&mut self.n_successful),
            TaskStatus::Error | TaskStatus::Skipped | TaskStatus::Cancelled => {
                Some(&mut self.n_unsuccessful)
            }
        }
    }
}

pub(super) fn unknown(dispatch: DispatchId) -> StoreError {
    StoreError::Corrupt(format!("there is no dispatch {dispatch}"))
}

pub(super) fn accepted_twice(dispatch: DispatchId) -> StoreError {
    StoreError::Corrupt(format!("dispatch {dispatch} was accepted before"))
}

/// The dispatches whose idempotency key is taken, in the store or earlier in the same commit.
pub(super) fn refuse<E>(
    writes: &[Write],
    mut is_taken: impl FnMut(&str) -> Result<bool, E>,
) -> Result<Vec<DispatchId>, E> {
    let mut given: Vec<&str> = Vec::new();
    let mut refused = Vec::new();
    for write in writes {
        let Write::Accept(accept) = write else { continue };
        let Some((key, _)) = &accept.idempotency else { continue };
        if given.contains(&key.as_str()) || is_taken(key)? {
            refused.push(accept.dispatch);
        } else {
            given.push(key);
        }
    }
    Ok(refused)
}

/// Which dispatches are not, or no longer, those of the process that writes: fenced and lost.
pub(super) fn fence<E>(
    writes: &[Write],
    mut head_of: impl FnMut(DispatchId) -> Result<Option<Head>, E>,
) -> Result<(Vec<DispatchId>, Vec<DispatchId>), E> {
    let (mut fenced, mut lost) = (Vec::new(), Vec::new());
    for write in writes {
        if let Write::Claim { dispatch, owner, epoch } = write {
            let is_theirs = |it: Head| (it.owner, it.epoch) == (*owner, *epoch);
            if !head_of(*dispatch)?.is_some_and(is_theirs) {
                fenced.push(*dispatch);
            }
        } else if let Write::Adopt { dispatch, found, .. } = write {
            let still_stands = |it: Head| it.tenure() == *found && !it.has_ended;
            if !head_of(*dispatch)?.is_some_and(still_stands) {
                lost.push(*dispatch);
            }
        }
    }
    Ok((fenced, lost))
}

/// Whether a write takes effect in spite of what was found wrong with the commit.
pub(super) fn takes_effect(write: &Write, committed: &Committed) -> bool {
    let Committed { refused, fenced, lost } = committed;
    write.dispatch().is_none_or(|it| ![refused, fenced, lost].iter().any(|all| all.contains(&it)))
}

//! The dispatcher's commits: what it says is the owner's word, or it is not written.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::{
    batch::Batch,
    dispatcher::Dispatcher,
    live::Live,
    message::Submitted,
    orphans::{LEASE, LEASE_RENEWAL},
};
use crate::{
    model::{DispatchId, ErrorCode, Millis, Refusal, TaskIdx},
    ports::{Committed, StoreError, Write},
};

/// How long to wait before a commit that failed is tried again.
const COMMIT_RETRY: Duration = Duration::from_millis(500);

impl Dispatcher {
    /// Makes the batch durable. New dispatches are refused when the store fails; for those that
    /// were promised already it is tried until it works. An error means shutdown.
    ///
    /// What another process owns by now is taken out of the batch and given up. A process that was
    /// held up for long asks once more before it acts.
    pub(super) async fn commit(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        batch.fill_documents(|it| self.lives.get(&it).map(Live::json));
        loop {
            let asked_at = self.dependencies.clock.now();
            let is_lease_due = !self.lives.is_empty() && asked_at >= self.lease_renewal_at;
            let mut writes = self.words(is_lease_due.then_some(asked_at), batch);
            let n_words = writes.len();
            writes.append(&mut batch.writes);
            if writes.is_empty() {
                return Ok(());
            }
            let writes: Arc<[Write]> = writes.into();
            let began = Instant::now();
            match self.dependencies.journal.commit(Arc::clone(&writes)).await {
                Ok(committed) => {
                    if is_lease_due {
                        self.lease_renewal_at = asked_at + LEASE_RENEWAL;
                    }
                    self.settle(&committed, batch);
                    self.meter(&writes, began.elapsed());
                    let took = self.dependencies.clock.now().since(asked_at);
                    // What was refused may have left something to be written.
                    let is_in_time = took < LEASE_RENEWAL || batch.actions.is_empty();
                    if is_in_time && batch.writes.is_empty() {
                        return Ok(());
                    }
                }
                Err(error) => {
                    error!(%error, "commit failed");
                    if let Some(meter) = &self.dependencies.meter {
                        meter.commit_failed();
                    }
                    batch.writes = writes[n_words..].to_vec();
                    self.postpone(asked_at, &error, batch);
                    if batch.writes.is_empty() && batch.actions.is_empty() {
                        return Ok(());
                    }
                    tokio::select! {
                        () = self.shutdown.cancelled() => return Err(error),
                        () = tokio::time::sleep(COMMIT_RETRY) => (),
                    }
                }
            }
        }
    }

    /// What makes the writes of a batch the owner's word: claims to what they are about, and the
    /// lease where it is due. With the lease goes a claim to all that is live.
    fn words(&self, lease_from: Option<Millis>, batch: &Batch) -> Vec<Write> {
        let mut owned: BTreeSet<DispatchId> = if lease_from.is_some() {
            self.lives.keys().copied().collect()
        } else {
            let written = batch.writes.iter().filter_map(Write::dispatch);
            written.chain(batch.actions.iter().map(|it| it.0)).collect()
        };
        for it in &batch.writes {
            if let Write::Accept(_) | Write::Adopt { .. } = it
                && let Some(new) = it.dispatch()
            {
                owned.remove(&new);
            }
        }
        let owner = self.dependencies.ownership.me();
        let claim = |dispatch| {
            let epoch = self.lives.get(&dispatch)?.epoch;
            Some(Write::Claim { dispatch, owner, epoch })
        };
        let mut writes: Vec<Write> = owned.into_iter().filter_map(claim).collect();
        if let Some(now) = lease_from {
            let (pid, until) = (std::process::id(), now + LEASE);
            writes.push(Write::Lease { owner, pid, until });
        }
        writes
    }

    /// Takes note of what is durable, and of what is not this process's to write.
    fn settle(&mut self, committed: &Committed, batch: &mut Batch) {
        self.refuse(&committed.refused, batch, &|| Submitted::KeyTaken);
        for id in &committed.fenced {
            warn!(dispatch_id = %id, "another process has taken the dispatch over");
        }
        for id in &committed.lost {
            debug!(dispatch_id = %id, "another process was faster to take the dispatch over");
        }
        self.give_up(&committed.fenced, batch);
        self.give_up(&committed.lost, batch);
    }

    /// Takes note of a commit that failed.
    fn postpone(&mut self, asked_at: Millis, error: &StoreError, batch: &mut Batch) {
        let pause = Millis(u64::try_from(COMMIT_RETRY.as_millis()).unwrap_or(u64::MAX));
        self.lease_renewal_at = self.lease_renewal_at.max(asked_at + pause);
        let is_new = |it: &Write| matches!(it, Write::Accept(_));
        let new = batch.writes.iter().filter(|it| is_new(it)).filter_map(Write::dispatch);
        let new: Vec<_> = new.collect();
        let refusal = || {
            let hint = "see `parallel-dispatch doctor`; nothing was started";
            let message = error.to_string();
            Submitted::Refused(Refusal::of(ErrorCode::StorageUnavailable, "", &message, hint))
        };
        self.refuse(&new, batch, &refusal);
    }

    fn refuse(
        &mut self,
        refused: &[DispatchId],
        batch: &mut Batch,
        answer: &dyn Fn() -> Submitted,
    ) {
        if refused.is_empty() {
            return;
        }
        let gone = refused.iter().filter_map(|it| self.lives.remove(it)).collect::<Vec<_>>();
        batch.forget(refused);
        for live in gone {
            self.leave_family(&live, batch);
        }
        let accepted = std::mem::take(&mut batch.accepted);
        for (id, reply) in accepted {
            if refused.contains(&id) {
                let _gone = reply.send(answer());
            } else {
                batch.accepted.push((id, reply));
            }
        }
    }

    /// Lets go of dispatches that are another process's: attempts are stopped, and whoever waits
    /// looks in the store from now on.
    fn give_up(&mut self, gone: &[DispatchId], batch: &mut Batch) {
        if gone.is_empty() {
            return;
        }
        for id in gone {
            self.lives.remove(id);
            let (first, last) = (TaskIdx::from_usize(0), TaskIdx::from_usize(u32::MAX as usize));
            let stopped: Vec<_> =
                self.running.range((*id, first)..=(*id, last)).map(|it| *it.0).collect();
            for key in stopped {
                if let Some((_, token)) = self.running.remove(&key) {
                    token.cancel();
                }
            }
        }
        batch.forget(gone);
    }
}

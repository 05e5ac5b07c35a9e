//! Finds dispatches whose owners are gone, and takes them over.
//!
//! An owner that died has let go of its lock, which is seen at the next look. One that hangs holds
//! its lock and no longer renews its lease; clocks of processes are not compared, it is watched
//! whether the lease changes. Who takes a dispatch over is decided in the store, so that several
//! processes may try.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    document::Meta,
    message::{Heard, Message},
    nesting::Parent,
    options::{Dependencies, Recover},
    recovery::{self, RecoveryError},
};
use crate::{
    model::{DispatchId, Millis, TaskStatus},
    ports::{DispatchRow, OpenOwner, OwnerId, Request, StoreError},
};

/// How long a lease is good for.
pub(super) const LEASE: Millis = Millis(10_000);
/// How often it is renewed while dispatches are live.
pub(super) const LEASE_RENEWAL: Millis = Millis(3_000);

/// How often a process looks for dispatches whose owners are gone.
const LOOK: Duration = Duration::from_secs(2);
/// After a longer pause between two looks it was this process that hung, and what it saw before
/// says nothing about others.
const LOOK_LATE: Millis = Millis(5_000);
/// How many dispatches are read back at once.
const CONCURRENT_MAX: usize = 4;
/// How long one that cannot be taken over is left alone, at first and at most.
const PAUSE_MIN: Millis = Millis(4_000);
const PAUSE_MAX: Millis = Millis(300_000);

/// Takes dispatches over into this process.
#[derive(Clone, Debug)]
pub(super) struct Adopter {
    pub(super) dependencies: Dependencies,
    pub(super) control: mpsc::WeakUnboundedSender<Message>,
}

/// What is remembered from one look to the next.
#[derive(Debug)]
struct Watch {
    adopter: Adopter,
    leases: BTreeMap<OwnerId, SeenLease>,
    looked_at: Millis,
    failures: BTreeMap<DispatchId, Pause>,
}

/// A lease that did not change since it was first seen.
#[derive(Clone, Copy, Debug)]
struct SeenLease {
    until: Millis,
    since: Millis,
}

/// How long a dispatch is left alone.
#[derive(Clone, Copy, Debug)]
struct Pause {
    length: Millis,
    until: Millis,
}

/// Looks for orphans until the shutdown.
pub(super) async fn run(adopter: Adopter, recover: Recover, shutdown: CancellationToken) {
    if recover == Recover::Never {
        return;
    }
    let looked_at = adopter.dependencies.clock.now();
    let mut watch =
        Watch { adopter, leases: BTreeMap::new(), looked_at, failures: BTreeMap::new() };
    let looks = async {
        if recover == Recover::Later {
            tokio::time::sleep(LOOK).await;
        }
        loop {
            if let Err(error) = watch.look().await {
                debug!(%error, "failed to look for dispatches to take over");
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => (),
        () = looks => (),
    }
}

impl Adopter {
    /// Takes a dispatch over as it stands in `row`. False if somebody else was faster, or its owner
    /// goes on after all.
    pub(super) async fn take_over(&self, row: &DispatchRow) -> Result<bool, RecoveryError> {
        let id = row.dispatch;
        // Spares whoever comes second the reading of it all.
        let now = self.dependencies.journal.dispatch(id).await?;
        if now.is_none_or(|it| it.ended_at.is_some() || it.tenure != row.tenure) {
            return Ok(false);
        }
        let Some(live) = recovery::load(&self.dependencies, row).await? else { return Ok(false) };
        let Some(control) = self.control.upgrade() else { return Ok(false) };
        let parent = live.meta.parent.clone();
        let (reply, answer) = oneshot::channel();
        let message = Message::Adopt { live: Box::new(live), found: row.tenure, reply };
        let is_sent = control.send(message).is_ok();
        drop(control);
        let is_taken = is_sent && matches!(answer.await, Ok(Heard::Done));
        if is_taken {
            info!(dispatch_id = %id, "dispatch taken over");
            if let Some(parent) = parent {
                self.cancel_if_given_up(id, &parent).await?;
            }
        }
        Ok(is_taken)
    }

    /// Cancels a dispatch whose owner could not, because it died, when the task above ended.
    async fn cancel_if_given_up(
        &self,
        dispatch: DispatchId,
        parent: &Parent,
    ) -> Result<(), StoreError> {
        let tasks = self.dependencies.journal.tasks(parent.dispatch).await?;
        let is_given_up = tasks
            .get(parent.task.as_usize())
            .is_some_and(|it| it.row.status.is_final() && it.row.status != TaskStatus::Success);
        if is_given_up && let Some(control) = self.control.upgrade() {
            let reason = "the task whose agent asked for it has ended".to_owned();
            let request = Request::Cancel { tasks: Vec::new(), reason };
            let (reply, _) = oneshot::channel();
            let _gone = control.send(Message::Ask { dispatch, request, reply });
        }
        Ok(())
    }
}

impl Watch {
    async fn look(&mut self) -> Result<(), StoreError> {
        let journal = &self.adopter.dependencies.journal;
        let owners = journal.open_owners().await?;
        let gone = self.gone(&owners);
        if gone.is_empty() {
            self.failures.clear();
            return Ok(());
        }
        let mut orphans = self.adopter.dependencies.journal.open_dispatches().await?;
        let owners = orphans.iter().map(|it| (it.dispatch, it.tenure.owner)).collect();
        orphans.retain(|it| gone.contains(&it.tenure.owner));
        orphans.retain(|it| self.may_adopt(it, &owners));
        let ids: BTreeSet<_> = orphans.iter().map(|it| it.dispatch).collect();
        self.failures.retain(|id, _| ids.contains(id));
        self.adopt(orphans).await;
        Ok(())
    }

    /// Whether a dispatch is this process's to take over: what an agent asked for goes where the
    /// dispatch above goes, as long as that is open.
    fn may_adopt(&self, row: &DispatchRow, owners: &BTreeMap<DispatchId, OwnerId>) -> bool {
        let parent = Meta::read(&row.meta).ok().and_then(|it| it.parent);
        let owner = parent.and_then(|it| owners.get(&it.dispatch));
        owner.is_none_or(|it| *it == self.adopter.dependencies.ownership.me())
    }

    /// The owners that do not go on, as far as can be seen from here.
    fn gone(&mut self, owners: &[OpenOwner]) -> BTreeSet<OwnerId> {
        let Dependencies { ownership, clock, .. } = &self.adopter.dependencies;
        let (me, now) = (ownership.me(), clock.now());
        if now.since(self.looked_at) > LOOK_LATE {
            self.leases.clear();
        }
        self.looked_at = now;
        self.leases.retain(|id, _| owners.iter().any(|it| it.owner == *id));
        let mut gone = BTreeSet::new();
        for it in owners.iter().filter(|it| it.owner != me) {
            let is_dead = !ownership.is_alive(it.owner);
            let Some(until) = it.lease_until.filter(|_| !is_dead) else {
                gone.extend(is_dead.then_some(it.owner));
                continue;
            };
            let seen = self.leases.entry(it.owner).or_insert(SeenLease { until, since: now });
            if seen.until != until {
                *seen = SeenLease { until, since: now };
            }
            if now.since(seen.since) >= LEASE {
                gone.insert(it.owner);
            }
        }
        gone
    }

    /// Takes over what can be, in an order of this process's own, so that two processes do not
    /// always read back the same dispatch.
    async fn adopt(&mut self, mut orphans: Vec<DispatchRow>) {
        let Dependencies { ownership, clock, .. } = &self.adopter.dependencies;
        let (me, now) = (ownership.me(), clock.now());
        orphans.retain(|it| self.failures.get(&it.dispatch).is_none_or(|it| it.until <= now));
        orphans.sort_by_key(|it| place(me, it.dispatch));
        let tries = orphans.into_iter().map(|row| {
            let adopter = self.adopter.clone();
            async move { (row.dispatch, adopter.take_over(&row).await) }
        });
        let mut tries = futures::stream::iter(tries).buffer_unordered(CONCURRENT_MAX);
        while let Some((dispatch, tried)) = tries.next().await {
            match tried {
                Ok(_) => {
                    self.failures.remove(&dispatch);
                }
                Err(error) => note(&mut self.failures, (now, dispatch), &error),
            }
        }
    }
}

/// Remembers that a dispatch cannot be taken over; said aloud only once.
fn note(
    failures: &mut BTreeMap<DispatchId, Pause>,
    (now, dispatch): (Millis, DispatchId),
    error: &RecoveryError,
) {
    let length = match failures.get(&dispatch) {
        None => {
            warn!(dispatch_id = %dispatch, %error, "failed to take a dispatch over");
            PAUSE_MIN
        }
        Some(before) => {
            debug!(dispatch_id = %dispatch, %error, "failed again to take a dispatch over");
            PAUSE_MAX.min(before.length + before.length)
        }
    };
    failures.insert(dispatch, Pause { length, until: now + length });
}

/// A number that mixes the random parts of both names.
fn place(me: OwnerId, dispatch: DispatchId) -> u64 {
    let low = |bytes: &[u8; 16]| bytes[8..].iter().fold(0, |sum, it| sum << 8 | u64::from(*it));
    low(me.0.as_bytes()) ^ low(dispatch.as_bytes())
}

//! Tells whoever watches a dispatch, a task or the lists that they have changed, whatever process
//! changed them.
//!
//! One task looks for all who watch, so that a change costs the same reads however many they are.
//! It hears of changes from the store and never holds up the dispatcher; what changes between two
//! looks is one change. It looks only while somebody watches.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{handle::DispatcherHandle, lookup::Newest, query};
use crate::{
    model::{DispatchId, Refusal, TaskId, TaskIdx},
    ports::{Changes, DispatchRow, Journal, RecordFilter, StoreError},
};

/// What changes within this time is one change.
const INTERVAL: Duration = Duration::from_millis(200);
/// How many records are read to find out which tasks changed; after more of them all may have.
const RECORDS_MAX: usize = 1_000;

/// Hears that what it watches has changed. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    word: watch::Receiver<()>,
    _leaving: Leaving,
}

impl Watch {
    /// Waits until what is watched has changed since the last look. Never ends once the runtime
    /// has stopped. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        if self.word.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Says good-bye; dropped after the receiver beside it.
#[derive(Debug)]
struct Leaving {
    subject: Subject,
    orders: mpsc::UnboundedSender<Order>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let _stopped = self.orders.send(Order::Left(self.subject));
    }
}

/// What can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Where a dispatch stands, or any of its tasks.
    Dispatch(DispatchId),
    /// Where one task stands.
    Task(DispatchId, TaskIdx),
    /// Which dispatches and plans there are, and which have ended.
    Lists,
}

/// What the one who looks is told; there are never more than watches that come and go.
#[derive(Debug)]
pub(super) enum Order {
    /// Somebody wants to watch.
    Watch { subject: Subject, reply: oneshot::Sender<watch::Receiver<()>> },
    /// Somebody watches no more.
    Left(Subject),
    /// How many watches are there?
    Count(oneshot::Sender<usize>),
}

impl DispatcherHandle {
    /// Watches a dispatch, in whatever process it runs.
    pub async fn watch_dispatch(&self, dispatch: DispatchId) -> Result<Watch, Refusal> {
        query::dispatch_row(&self.dependencies.journal, dispatch).await?;
        Ok(self.watch(Subject::Dispatch(dispatch)).await)
    }

    /// Watches one task of a dispatch.
    pub async fn watch_task(&self, dispatch: DispatchId, task: &TaskId) -> Result<Watch, Refusal> {
        let (_, tasks) = query::overview(&self.dependencies.journal, dispatch).await?;
        let task = query::places(&tasks, std::slice::from_ref(task))?[0];
        Ok(self.watch(Subject::Task(dispatch, task)).await)
    }

    /// Watches which dispatches and plans are the newest, and which of them have ended. Those of
    /// other callers count, too: compare [`Self::newest`].
    pub async fn watch_lists(&self) -> Watch {
        self.watch(Subject::Lists).await
    }

    /// How many watches there are in this process.
    pub async fn n_watches(&self) -> usize {
        let (reply, answer) = oneshot::channel();
        let _stopped = self.lookout.send(Order::Count(reply));
        answer.await.unwrap_or(0)
    }

    async fn watch(&self, subject: Subject) -> Watch {
        let orders = self.lookout.clone();
        // Here before the answer: whoever asks may be gone when it comes.
        let leaving = Leaving { subject, orders };
        let (reply, answer) = oneshot::channel();
        let _stopped = leaving.orders.send(Order::Watch { subject, reply });
        // After the runtime has stopped nothing changes.
        let word = answer.await.unwrap_or_else(|_| watch::Sender::new(()).subscribe());
        Watch { word, _leaving: leaving }
    }
}

/// Looks, until the shutdown.
pub(super) async fn run(
    journal: Arc<dyn Journal>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    shutdown: CancellationToken,
) {
    let mut lookout = Lookout::new(journal);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            order = orders.recv() => match order {
                Some(order) => lookout.obey(order).await,
                None => break,
            },
            () = lookout.due() => lookout.look().await,
        }
    }
}

/// What is watched, and how it stood at the last look.
#[derive(Debug)]
struct Lookout {
    journal: Arc<dyn Journal>,
    dispatches: BTreeMap<DispatchId, Seen>,
    lists: watch::Sender<()>,
    newest: Newest,
    /// There while somebody watches.
    changes: Option<Changes>,
    /// Whether the store has changed since the last look.
    is_stale: bool,
    looked_at: Instant,
}

/// A dispatch that is watched.
#[derive(Debug)]
struct Seen {
    mark: Mark,
    whole: watch::Sender<()>,
    tasks: BTreeMap<TaskIdx, watch::Sender<()>>,
}

impl Seen {
    fn new(mark: Mark) -> Self {
        Self { mark, whole: watch::Sender::new(()), tasks: BTreeMap::new() }
    }
}

/// How a dispatch stood: whatever is written about it adds a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    last_seq: u64,
    /// Whether it cannot change any more: it has ended, or is gone.
    is_final: bool,
}

impl Mark {
    /// How a dispatch stands that could not be looked at.
    const UNKNOWN: Self = Self { last_seq: 0, is_final: false };

    fn of(row: Option<&DispatchRow>) -> Self {
        Self {
            last_seq: row.map_or(0, |it| it.tenure.last_seq),
            is_final: row.is_none_or(|it| it.ended_at.is_some()),
        }
    }
}

impl Lookout {
    fn new(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal,
            dispatches: BTreeMap::new(),
            lists: watch::Sender::new(()),
            newest: Newest::default(),
            changes: None,
            is_stale: false,
            looked_at: Instant::now(),
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Watch { subject, reply } => {
                self.changes.get_or_insert_with(|| self.journal.changes());
                let word = self.subscribe(subject).await;
                let _gone = reply.send(word);
            }
            Order::Left(subject) => self.leave(subject),
            Order::Count(reply) => {
                let _gone = reply.send(self.n_watches());
            }
        }
    }

    async fn subscribe(&mut self, subject: Subject) -> watch::Receiver<()> {
        let (dispatch, task) = match subject {
            Subject::Dispatch(dispatch) => (dispatch, None),
            Subject::Task(dispatch, task) => (dispatch, Some(task)),
            Subject::Lists => {
                if self.lists.receiver_count() == 0 {
                    self.newest = Newest::read(&self.journal).await.unwrap_or_default();
                }
                return self.lists.subscribe();
            }
        };
        let mark = if self.dispatches.contains_key(&dispatch) {
            Mark::UNKNOWN
        } else {
            match self.journal.dispatch(dispatch).await {
                Ok(row) => Mark::of(row.as_ref()),
                Err(error) => {
                    self.try_again(&error);
                    Mark::UNKNOWN
                }
            }
        };
        let seen = self.dispatches.entry(dispatch).or_insert_with(|| Seen::new(mark));
        match task {
            None => seen.whole.subscribe(),
            Some(task) => seen.tasks.entry(task).or_default().subscribe(),
        }
    }

    fn leave(&mut self, subject: Subject) {
        if let Subject::Dispatch(dispatch) | Subject::Task(dispatch, _) = subject
            && let Some(seen) = self.dispatches.get_mut(&dispatch)
        {
            seen.tasks.retain(|_, it| it.receiver_count() > 0);
            if seen.whole.receiver_count() == 0 && seen.tasks.is_empty() {
                self.dispatches.remove(&dispatch);
            }
        }
        if self.n_watches() == 0 {
            self.changes = None;
            self.is_stale = false;
        }
    }

    fn n_watches(&self) -> usize {
        let count = |it: &watch::Sender<()>| it.receiver_count();
        let dispatches = self.dispatches.values();
        let watches =
            dispatches.map(|it| count(&it.whole) + it.tasks.values().map(count).sum::<usize>());
        count(&self.lists) + watches.sum::<usize>()
    }

    /// Waits until it is time to look.
    async fn due(&mut self) {
        let Some(changes) = &mut self.changes else { return std::future::pending().await };
        if !self.is_stale {
            changes.next().await;
            self.is_stale = true;
        }
        tokio::time::sleep_until(self.looked_at + INTERVAL).await;
    }

    async fn look(&mut self) {
        self.is_stale = false;
        self.looked_at = Instant::now();
        let watched: Vec<DispatchId> = self.dispatches.keys().copied().collect();
        for dispatch in watched {
            if let Err(error) = self.look_at(dispatch).await {
                self.try_again(&error);
            }
        }
        if self.lists.receiver_count() > 0 {
            match Newest::read(&self.journal).await {
                Ok(newest) if newest == self.newest => {}
                Ok(newest) => {
                    self.newest = newest;
                    self.lists.send_replace(());
                }
                Err(error) => self.try_again(&error),
            }
        }
    }

    async fn look_at(&mut self, dispatch: DispatchId) -> Result<(), StoreError> {
        let Some(seen) = self.dispatches.get_mut(&dispatch) else { return Ok(()) };
        if seen.mark.is_final {
            return Ok(());
        }
        let row = self.journal.dispatch(dispatch).await?;
        let (before, now) = (seen.mark, Mark::of(row.as_ref()));
        if now == before {
            return Ok(());
        }
        if !seen.tasks.is_empty() {
            let (after, limit) = (before.last_seq, RECORDS_MAX);
            let filter = RecordFilter { after, limit, ..RecordFilter::default() };
            let records = self.journal.records(dispatch, filter).await?;
            let touched: Vec<_> = records.iter().filter_map(|it| it.body.subject().0).collect();
            let is_all = records.len() == RECORDS_MAX || row.is_none();
            for (task, word) in &seen.tasks {
                if is_all || touched.contains(task) {
                    word.send_replace(());
                }
            }
        }
        seen.mark = now;
        seen.whole.send_replace(());
        Ok(())
    }

    /// Has the next look come without waiting for another change.
    fn try_again(&mut self, error: &StoreError) {
        debug!(%error, "failed to look for changes");
        self.is_stale = true;
    }
}

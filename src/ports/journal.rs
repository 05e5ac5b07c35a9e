//! The store: what was promised to the caller stands in it before the promise is made.
//!
//! A commit is one transaction with one sync; it holds the writes of many dispatches. Reads see
//! every commit that was answered. All of it may be used from several threads and processes.
//!
//! A dispatch has one owner of one epoch. Whoever takes it over raises the epoch, and from then on
//! nothing that the former owner writes about it takes effect.

use std::{fmt::Debug, sync::Arc};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Asked, Changes, Digest, KnownResult, Query, Record, Remember, RequestId, RequestState,
    Snapshot, ask,
};
use crate::model::{
    AgentName, ApprovalReport, DispatchId, DispatchStatus, DurationKey, Durations, Evidence,
    Failure, Millis, PlanId, Reused, TaskId, TaskIdx, TaskStatus, TaskUsage, TraceKind,
};

/// The name of a process that owns dispatches; a new one at each start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub Uuid);

/// How often the owner of a dispatch has changed, counted from [`Epoch::FIRST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch of whoever accepted the dispatch.
    pub const FIRST: Self = Self(1);

    /// The epoch of the next owner.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Who owned a dispatch when it was read, and how far its journal had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// The process that runs it, or ran it last.
    pub owner: OwnerId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The number of the last record.
    pub last_seq: u64,
}

/// One write of a commit. Writes take effect in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A new dispatch, with all its tasks pending.
    Accept(Box<Accept>),
    /// An entry of a dispatch's journal.
    Record {
        /// The dispatch.
        dispatch: DispatchId,
        /// The entry; its `seq` follows the last one's.
        record: Record,
    },
    /// Where a task stands now.
    Task {
        /// The dispatch.
        dispatch: DispatchId,
        /// The task.
        task: TaskIdx,
        /// Its new row.
        row: TaskRow,
    },
    /// What an agent answered: JSON text.
    Output {
        /// The dispatch.
        dispatch: DispatchId,
        /// The task.
        task: TaskIdx,
        /// The output.
        json: String,
    },
    /// The dispatch has ended.
    End {
        /// The dispatch.
        dispatch: DispatchId,
        /// The verdict.
        status: DispatchStatus,
        /// When.
        at: Millis,
        /// The longest chain of execution times.
        critical_path: Millis,
    },
    /// What reports need of the dispatch has changed, see [`Accept::meta`].
    Meta {
        /// The dispatch.
        dispatch: DispatchId,
        /// The whole of it, as JSON text that the runtime wrote and will read.
        json: String,
    },
    /// The document has changed, see [`Accept::document`]: what its tasks say, or tasks were added
    /// behind those that it had.
    Document {
        /// The dispatch.
        dispatch: DispatchId,
        /// The whole of it, as JSON text that the runtime wrote and will read.
        json: String,
        /// The tasks that are new, in document order.
        added: Vec<(TaskId, AgentName)>,
    },
    /// Another process than the owner asks something of a dispatch.
    Request(Box<Asked>),
    /// A request was carried out, or refused.
    RequestHandled {
        /// The dispatch.
        dispatch: DispatchId,
        /// The request.
        request: RequestId,
        /// Why it was not carried out, as JSON text that the runtime wrote and will read.
        refusal: Option<String>,
    },
    /// All writes of the commit about the dispatch are its owner's. Where somebody else owns it by
    /// now, none of them takes effect, and [`Committed::fenced`] says so.
    Claim {
        /// The dispatch.
        dispatch: DispatchId,
        /// The owner.
        owner: OwnerId,
        /// The owner's epoch.
        epoch: Epoch,
    },
    /// The dispatch belongs to `owner` from now on, in the epoch after that of `found`. Where
    /// `found` no longer stands, or the dispatch has ended, none of the commit's writes about it
    /// takes effect, and [`Committed::lost`] says so.
    Adopt {
        /// The dispatch.
        dispatch: DispatchId,
        /// What the new owner read.
        found: Tenure,
        /// The new owner.
        owner: OwnerId,
    },
    /// A process says that it goes on with what it owns.
    Lease {
        /// The process.
        owner: OwnerId,
        /// Its number in the system, for people.
        pid: u32,
        /// Until when it may be believed; a new time at each renewal.
        until: Millis,
    },
    /// A plan, as the JSON text of a dispatch document.
    Plan {
        /// The plan.
        plan: PlanId,
        /// When it was made.
        at: Millis,
        /// The document.
        document: String,
        /// Who asked for it, by name, where somebody showed who they are.
        caller: Option<Arc<str>>,
    },
    /// An attempt succeeded: a sample for estimates.
    Duration {
        /// What kind of work it was.
        key: Arc<DurationKey>,
        /// When it ended.
        at: Millis,
        /// How long it took.
        took: Millis,
    },
    /// An attempt succeeded whose result others may take.
    Remember(Box<Remember>),
}

impl Write {
    /// The dispatch that the write is about.
    pub fn dispatch(&self) -> Option<DispatchId> {
        match self {
            Self::Accept(it) => Some(it.dispatch),
            Self::Remember(it) => Some(it.dispatch),
            Self::Request(it) => Some(it.dispatch),
            Self::Record { dispatch, .. }
            | Self::Task { dispatch, .. }
            | Self::Output { dispatch, .. }
            | Self::End { dispatch, .. }
            | Self::Meta { dispatch, .. }
            | Self::Document { dispatch, .. }
            | Self::RequestHandled { dispatch, .. }
            | Self::Claim { dispatch, .. }
            | Self::Adopt { dispatch, .. } => Some(*dispatch),
            Self::Lease { .. } | Self::Plan { .. } | Self::Duration { .. } => None,
        }
    }
}

/// A new dispatch.
#[derive(Clone, Debug, PartialEq)]
pub struct Accept {
    /// Its id.
    pub dispatch: DispatchId,
    /// The process that runs it.
    pub owner: OwnerId,
    /// When it was accepted.
    pub at: Millis,
    /// The checked document, as JSON text that the runtime wrote and will read.
    pub document: String,
    /// What reports need of the document, as JSON text that the runtime wrote and will read.
    pub meta: String,
    /// The tasks, in document order.
    pub tasks: Vec<(TaskId, AgentName)>,
    /// The caller's key, if there is one, with a digest of what it stood for.
    pub idempotency: Option<(String, [u8; 32])>,
    /// Whom it belongs to, by name, if anybody.
    pub caller: Option<Arc<str>>,
}

/// What became of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Dispatches that were not accepted because their idempotency key is taken, by another
    /// process, say; all writes of the commit about them were left out.
    pub refused: Vec<DispatchId>,
    /// Dispatches that were claimed by a process that no longer owns them; all writes of the commit
    /// about them were left out.
    pub fenced: Vec<DispatchId>,
    /// Dispatches that somebody else took over or ended first; all writes of the commit about them
    /// were left out.
    pub lost: Vec<DispatchId>,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Its status.
    pub status: TaskStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// When its last attempt started.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The first task that failed, where this one was given up because of it.
    pub caused_by: Option<TaskIdx>,
    /// Where its result was taken from, if it did not run for that reason.
    pub reused: Option<Box<Reused>>,
    /// What was asked before it may start, and what was decided.
    pub approval: Option<Box<ApprovalReport>>,
    /// What its attempts used, where anything is known or reserved.
    pub usage: Option<Box<TaskUsage>>,
    /// What was found after the last attempt that its agent ended well.
    pub evidence: Option<Box<[Evidence]>>,
}

/// A task as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTask {
    /// Its place in the document.
    pub task: TaskIdx,
    /// Its name.
    pub task_id: TaskId,
    /// Who does it.
    pub agent: AgentName,
    /// Where it stands.
    pub row: TaskRow,
}

/// A dispatch as it stands in the store, without its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchRow {
    /// Its id.
    pub dispatch: DispatchId,
    /// Who runs it, or ran it last.
    pub tenure: Tenure,
    /// The verdict so far.
    pub status: DispatchStatus,
    /// When it was accepted.
    pub created_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// How many tasks it has.
    pub n_tasks: usize,
    /// How many succeeded.
    pub n_successful: usize,
    /// How many ended otherwise.
    pub n_unsuccessful: usize,
    /// The longest chain of execution times, once the dispatch has ended.
    pub critical_path: Millis,
    /// What the runtime gave as [`Accept::meta`].
    pub meta: String,
    /// As [`Accept::caller`].
    pub caller: Option<Arc<str>>,
}

/// A plan as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPlan {
    /// The JSON text of a dispatch document.
    pub document: String,
    /// Who asked for it, by name, where somebody showed who they are.
    pub caller: Option<Arc<str>>,
}

/// A process that owns dispatches which have not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOwner {
    /// The process.
    pub owner: OwnerId,
    /// What it gave as [`Write::Lease`] last, if it ever did.
    pub lease_until: Option<Millis>,
}

/// A dispatch and its tasks, in document order.
pub type Overview = (DispatchRow, Vec<StoredTask>);

/// What an idempotency key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedDispatch {
    /// The dispatch.
    pub dispatch: DispatchId,
    /// The digest that the key was given with.
    pub digest: [u8; 32],
}

/// Which records to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFilter {
    /// Only records about this task.
    pub task: Option<TaskIdx>,
    /// Only records of these kinds; all if empty.
    pub kinds: Vec<TraceKind>,
    /// Only records after this number.
    pub after: u64,
    /// At most so many.
    pub limit: usize,
}

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk or the database refused; nothing of the commit took effect.
    #[error("failed to {action} the store: {reason}")]
    Unavailable {
        /// What was tried: `open`, `write`, `read`.
        action: &'static str,
        /// Why.
        reason: String,
    },
    /// The store was written by a newer program, or is not ours.
    #[error("failed to open the store: its version is {found}, this program reads up to {known}")]
    Version {
        /// The store's version.
        found: i64,
        /// The newest version that this program reads.
        known: i64,
    },
    /// What stands in the store cannot be read back.
    #[error("failed to read the store: {0}")]
    Corrupt(String),
}

/// The store. Whoever needs several answers at once asks by [`ask`]; the methods below ask one
/// question each.
pub trait Journal: Debug + Send + Sync {
    /// Makes `writes` durable, all or none; the answer comes after the sync. They are shared, so
    /// that whoever asks has them still if it fails.
    fn commit(&self, writes: Arc<[Write]>) -> Answer<Committed>;

    /// Runs `question` here and now with what stands in the store, as far as that takes less than a
    /// millisecond; whether all of it was answered. Where it was not, [`Self::read`] does it.
    fn glance(&self, question: &mut dyn FnMut(&dyn Snapshot)) -> bool {
        // Most stores have no faster way.
        _ = question;
        false
    }

    /// Has `query` run with what stands in the store.
    fn read(&self, query: Query);

    /// Tells of changes from now on, by whatever process. It costs something only while somebody
    /// holds one of these.
    fn changes(&self) -> Changes;

    /// See [`super::Snapshot::dispatch`].
    fn dispatch(&self, dispatch: DispatchId) -> Answer<Option<DispatchRow>> {
        ask(self, move |it| it.dispatch(dispatch))
    }

    /// See [`super::Snapshot::overview`].
    fn overview(&self, dispatch: DispatchId) -> Answer<Option<Overview>> {
        ask(self, move |it| it.overview(dispatch))
    }

    /// See [`super::Snapshot::document`].
    fn document(&self, dispatch: DispatchId) -> Answer<Option<String>> {
        ask(self, move |it| it.document(dispatch))
    }

    /// See [`super::Snapshot::tasks`].
    fn tasks(&self, dispatch: DispatchId) -> Answer<Vec<StoredTask>> {
        ask(self, move |it| it.tasks(dispatch))
    }

    /// See [`super::Snapshot::outputs`].
    fn outputs(&self, dispatch: DispatchId, tasks: Vec<TaskIdx>) -> Answer<Vec<Option<String>>> {
        ask(self, move |it| it.outputs(dispatch, &tasks))
    }

    /// See [`super::Snapshot::records`].
    fn records(&self, dispatch: DispatchId, filter: RecordFilter) -> Answer<Vec<Record>> {
        ask(self, move |it| it.records(dispatch, &filter))
    }

    /// See [`super::Snapshot::recent`].
    fn recent(
        &self,
        caller: Option<Arc<str>>,
        before: Option<DispatchId>,
        limit: usize,
    ) -> Answer<Vec<DispatchRow>> {
        ask(self, move |it| it.recent(caller.as_deref(), before, limit))
    }

    /// See [`super::Snapshot::open_dispatches`].
    fn open_dispatches(&self) -> Answer<Vec<DispatchRow>> {
        ask(self, |it| it.open_dispatches())
    }

    /// See [`super::Snapshot::open_owners`].
    fn open_owners(&self) -> Answer<Vec<OpenOwner>> {
        ask(self, |it| it.open_owners())
    }

    /// See [`super::Snapshot::by_idempotency_key`].
    fn by_idempotency_key(&self, key: String) -> Answer<Option<KeyedDispatch>> {
        ask(self, move |it| it.by_idempotency_key(&key))
    }

    /// See [`super::Snapshot::requests`].
    fn requests(&self, owner: OwnerId) -> Answer<Vec<Asked>> {
        ask(self, move |it| it.requests(owner))
    }

    /// See [`super::Snapshot::request`].
    fn request(&self, request: RequestId) -> Answer<Option<RequestState>> {
        ask(self, move |it| it.request(request))
    }

    /// See [`super::Snapshot::plan`].
    fn plan(&self, plan: PlanId) -> Answer<Option<StoredPlan>> {
        ask(self, move |it| it.plan(plan))
    }

    /// See [`super::Snapshot::recent_plans`].
    fn recent_plans(
        &self,
        caller: Option<Arc<str>>,
        before: Option<PlanId>,
        limit: usize,
    ) -> Answer<Vec<(PlanId, Millis)>> {
        ask(self, move |it| it.recent_plans(caller.as_deref(), before, limit))
    }

    /// See [`super::Snapshot::durations`].
    fn durations(&self, agents: Vec<AgentName>) -> Answer<Vec<(DurationKey, Durations)>> {
        ask(self, move |it| it.durations(&agents))
    }

    /// See [`super::Snapshot::known_result`].
    fn known_result(&self, work: Digest) -> Answer<Option<KnownResult>> {
        ask(self, move |it| it.known_result(work))
    }
}

/// What a store answers in its own time.
pub type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

//! A dispatch that was checked and bound, on its way to the dispatcher.

use std::{collections::BTreeMap, sync::Arc};

use super::document::{Meta, StoredDocument};
use crate::{
    model::{AgentName, DispatchId, TaskIdx},
    plan::TaskGraph,
    ports::{AgentBackend, TaskRow},
};

/// Who serves each agent of a dispatch.
pub(super) type Backends = BTreeMap<AgentName, Arc<dyn AgentBackend>>;

/// A checked dispatch.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) dispatch: DispatchId,
    pub(super) document: Arc<StoredDocument>,
    pub(super) meta: Arc<Meta>,
    pub(super) graph: Arc<TaskGraph>,
    pub(super) backends: Backends,
    /// The caller's key with the digest of what it stands for.
    pub(super) idempotency: Option<(String, [u8; 32])>,
    /// Tasks whose results are taken over from an earlier dispatch.
    pub(super) kept: Vec<KeptTask>,
}

/// A result taken over.
#[derive(Clone, Debug)]
pub(super) struct KeptTask {
    pub(super) task: TaskIdx,
    pub(super) row: TaskRow,
    pub(super) output: Option<String>,
}

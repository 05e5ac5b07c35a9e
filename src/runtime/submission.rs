//! A dispatch that was checked and bound, on its way to the dispatcher.

use std::{collections::BTreeMap, sync::Arc};

use sha2::{Digest as _, Sha256};

use super::document::{Meta, StoredDocument};
use crate::{
    model::{
        AgentName, DispatchConfig, DispatchId, ErrorCode, Identity, ParentTask, Refusal, Spent,
        TaskIdx, TaskSpec,
    },
    plan::{DurationKeys, TaskGraph},
    ports::{AgentBackend, AgentDirectory, Nest, TaskRow},
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
    /// What kind of work each task is, for what its attempts will teach.
    pub(super) keys: DurationKeys,
    pub(super) backends: Backends,
    /// The caller's key with the digest of what it stands for.
    pub(super) idempotency: Option<(String, [u8; 32])>,
    /// Tasks whose results are taken over from an earlier dispatch.
    pub(super) kept: Vec<KeptTask>,
}

impl Submission {
    /// All of it that another process needs to accept it.
    pub(super) fn to_nest(&self) -> Nest {
        let kept = self.kept.iter().map(|it| (it.task, it.row.clone(), it.output.clone()));
        Nest {
            dispatch: self.dispatch,
            document: self.document.write(),
            meta: self.meta.write(),
            idempotency: self.idempotency.clone(),
            kept: kept.collect(),
        }
    }
}

/// A result taken over.
#[derive(Clone, Debug)]
pub(super) struct KeptTask {
    pub(super) task: TaskIdx,
    pub(super) row: TaskRow,
    pub(super) output: Option<String>,
}

/// What else a submission comes with.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) key: Option<String>,
    /// The task whose agent asks.
    pub(super) parent: Option<ParentTask>,
    /// The dispatch whose tasks run again.
    pub(super) retried: Option<Retried>,
    pub(super) kept: Vec<KeptTask>,
    pub(super) warnings: Vec<String>,
    /// What counts as used of the budget already.
    pub(super) spent: Spent,
}

/// A dispatch that another one runs again.
#[derive(Debug)]
pub(super) struct Retried {
    pub(super) dispatch: DispatchId,
    /// Whom it belongs to.
    pub(super) caller: Option<Identity>,
}

/// What an idempotency key stands for.
pub(super) fn digest(tasks: &[TaskSpec], config: &DispatchConfig) -> [u8; 32] {
    let json = serde_json::to_vec(&(tasks, config)).unwrap_or_default();
    Sha256::digest(&json).into()
}

/// Finds who serves each agent, with what the user should know about it.
pub(super) async fn bind_all(
    agents: &Arc<dyn AgentDirectory>,
    names: impl Iterator<Item = AgentName>,
) -> Result<(Backends, Vec<String>), Refusal> {
    let (mut backends, mut warnings) = (BTreeMap::new(), Vec::new());
    for name in names {
        let binding = agents.bind(&name).await.map_err(|error| {
            Refusal::of(ErrorCode::AgentUnavailable, "", &error.to_string(), &error.hint())
        })?;
        for it in binding.warnings {
            if !warnings.contains(&it) {
                warnings.push(it);
            }
        }
        backends.insert(name, binding.backend);
    }
    Ok((backends, warnings))
}

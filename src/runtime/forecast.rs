//! What is expected of a document's tasks, from what the store remembers of earlier ones.

use std::sync::Arc;

use tracing::debug;

use super::{document::StoredDocument, submission::KeptTask};
use crate::{
    model::{AgentName, EstimateSource, Millis, TaskSpec},
    plan::{self, DurationKeys, Estimate, History, TaskGraph},
    ports::Journal,
};

/// What is expected of each task, and what kind of work it is.
#[derive(Debug)]
pub(super) struct Forecast {
    pub(super) keys: DurationKeys,
    pub(super) expected: Vec<Estimate>,
}

impl Forecast {
    /// Looks up what the store remembers of the tasks' agents. A store that cannot be read makes a
    /// forecast worse, and refuses nothing.
    pub(super) async fn make(journal: &Arc<dyn Journal>, tasks: &[TaskSpec]) -> Self {
        let mut agents: Vec<AgentName> = tasks.iter().map(|it| it.agent.clone()).collect();
        agents.sort_unstable();
        agents.dedup();
        let rows = journal.durations(agents).await.unwrap_or_else(|error| {
            debug!(%error, "no estimates were learned");
            Vec::new()
        });
        let keys = DurationKeys::new(tasks);
        let expected = keys.estimate(tasks, &History::new(rows));
        Self { keys, expected }
    }

    /// The expected time of each task, in document order.
    pub(super) fn estimates(&self) -> Vec<Millis> {
        self.expected.iter().map(|it| it.likely).collect()
    }

    /// Whether the document alone would not give the same estimates again.
    pub(super) fn is_learned(&self) -> bool {
        self.expected.iter().any(|it| it.from == EstimateSource::Learned)
    }

    /// How long the whole is expected to take; `None` if every task's estimate is the default, so
    /// that there is nothing to be right or wrong about.
    pub(super) fn makespan(
        &self,
        graph: &TaskGraph,
        kept: &[KeptTask],
        document: &StoredDocument,
    ) -> Option<Millis> {
        if self.expected.iter().all(|it| it.from == EstimateSource::Default) {
            return None;
        }
        let mut durations = self.estimates();
        for it in kept {
            durations[it.task.as_usize()] = Millis(0);
        }
        Some(plan::makespan(graph, &document.claims(), &durations, document.config.max_workers))
    }
}

//! Which lane each task of a dispatch goes through: by who serves its agent.

use std::{collections::BTreeMap, sync::Arc};

use super::{document::StoredDocument, submission::Backends};
use crate::{
    model::{AgentName, TaskIdx},
    scheduler::{Governor, LaneId},
};

/// The lanes of a dispatch.
#[derive(Debug)]
pub(super) struct Lanes {
    /// What they are called; tasks name them by their places here. Never empty.
    names: Vec<Arc<str>>,
    /// The same as the governor knows them; empty before the dispatch is admitted.
    ids: Vec<LaneId>,
    /// By task; empty where there is one lane.
    of: Vec<u16>,
}

impl Lanes {
    pub(super) fn new(document: &StoredDocument, backends: &Backends) -> Self {
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut places: BTreeMap<&AgentName, u16> = BTreeMap::new();
        for (agent, backend) in backends {
            let lane = backend.lane();
            let place = names.iter().position(|it| **it == *lane).unwrap_or_else(|| {
                names.push(lane.into());
                names.len() - 1
            });
            // Agents are far fewer; those above would share one lane.
            places.insert(agent, u16::try_from(place).unwrap_or(u16::MAX));
        }
        let place = |agent: &AgentName| places.get(agent).copied().unwrap_or(0);
        let of = match names.len() {
            0 | 1 => Vec::new(),
            _ => document.tasks.iter().map(|it| place(&it.agent)).collect(),
        };
        if names.is_empty() {
            names.push("".into());
        }
        Self { names, ids: Vec::new(), of }
    }

    /// There are more tasks, and perhaps more agents; lanes that there were keep their places. New
    /// ones have to be registered.
    pub(super) fn extend(&mut self, document: &StoredDocument, backends: &Backends) {
        let mut names = std::mem::take(&mut self.names);
        let mut place_of = |agent: &AgentName| {
            let lane = backends.get(agent).map_or("", |it| it.lane());
            let place = names.iter().position(|it| **it == *lane).unwrap_or_else(|| {
                names.push(lane.into());
                names.len() - 1
            });
            u16::try_from(place).unwrap_or(u16::MAX)
        };
        let mut places: BTreeMap<&AgentName, u16> = BTreeMap::new();
        let agents = document.tasks.iter().map(|it| &it.agent);
        let of: Vec<u16> =
            agents.map(|it| *places.entry(it).or_insert_with(|| place_of(it))).collect();
        self.of = if names.len() == 1 { Vec::new() } else { of };
        self.names = names;
    }

    /// The lane of each task, as a policy takes it.
    pub(super) fn by_task(&self) -> &[u16] {
        &self.of
    }

    /// Makes the lanes known to the governor.
    pub(super) fn register(&mut self, governor: &mut Governor) {
        self.ids = self.names.iter().map(|it| governor.lane(it)).collect();
    }

    /// All of them.
    pub(super) fn ids(&self) -> &[LaneId] {
        &self.ids
    }

    /// The lane of `task`; `None` before the dispatch is admitted.
    pub(super) fn id(&self, task: TaskIdx) -> Option<LaneId> {
        let at = self.of.get(task.as_usize()).copied().unwrap_or(0);
        self.ids.get(usize::from(at)).copied()
    }
}

//! Worker caps of dispatches that agents asked for: they share those of the dispatches above.
//!
//! A task whose agent dispatched something holds a worker and waits. It lends that one to what it
//! dispatched, and to nobody else, so that it has it again when that ends. What is dispatched can
//! go on whatever else runs, and never do more attempts work at once than any dispatch above
//! allows.

use std::collections::BTreeMap;

use super::{Fleet, TaskState};
use crate::model::TaskIdx;

/// Who was dispatched by whom.
#[derive(Debug)]
pub(super) struct Families {
    parents: Vec<Option<(usize, TaskIdx)>>,
    children: BTreeMap<(usize, TaskIdx), Vec<usize>>,
}

impl Families {
    /// The families of a fleet; nothing if nobody in it was dispatched by another one's agent.
    pub(super) fn of(fleet: &impl Fleet) -> Option<Self> {
        let parents: Vec<_> = (0..fleet.n_members()).map(|it| fleet.parent(it)).collect();
        let mut children: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (member, parent) in parents.iter().enumerate() {
            if let Some(parent) = parent {
                children.entry(*parent).or_default().push(member);
            }
        }
        (!children.is_empty()).then_some(Self { parents, children })
    }

    /// How many more attempts a member may start.
    pub(super) fn room(&self, fleet: &impl Fleet, member: usize) -> u32 {
        let own = fleet.scheduler(member).workers_limit();
        let own = own.saturating_sub(self.load(fleet, member));
        match self.parents[member] {
            None => own,
            Some(at @ (parent, _)) => {
                let above = self.room(fleet, parent);
                own.min(above.saturating_add(self.lent_room(fleet, at)))
            }
        }
    }

    /// How many attempts a member may start on the worker of the task that waits for it.
    pub(super) fn spare(&self, fleet: &impl Fleet, member: usize) -> u32 {
        self.parents[member].map_or(0, |it| self.lent_room(fleet, it))
    }

    /// How many workers of the process the whole fleet has.
    pub(super) fn n_busy(&self, fleet: &impl Fleet) -> u32 {
        let roots = self.parents.iter().enumerate().filter(|it| it.1.is_none());
        roots.map(|it| self.load(fleet, it.0)).fold(0, u32::saturating_add)
    }

    /// How many workers a member has: for its own attempts, and for what these dispatched beyond
    /// the workers that they lend.
    fn load(&self, fleet: &impl Fleet, member: usize) -> u32 {
        let (first, last) = (TaskIdx::from_usize(0), TaskIdx::from_usize(u32::MAX as usize));
        let nested = self.children.range((member, first)..=(member, last));
        let beyond = nested.map(|(at, _)| self.under(fleet, *at).saturating_sub(lent(fleet, *at)));
        beyond.fold(fleet.scheduler(member).n_running(), u32::saturating_add)
    }

    fn under(&self, fleet: &impl Fleet, at: (usize, TaskIdx)) -> u32 {
        let children = self.children.get(&at).into_iter().flatten();
        children.map(|it| self.load(fleet, *it)).fold(0, u32::saturating_add)
    }

    fn lent_room(&self, fleet: &impl Fleet, at: (usize, TaskIdx)) -> u32 {
        lent(fleet, at).saturating_sub(self.under(fleet, at))
    }
}

/// How many workers a task lends: its own, while it runs.
fn lent(fleet: &impl Fleet, (member, task): (usize, TaskIdx)) -> u32 {
    u32::from(fleet.scheduler(member).state(task) == TaskState::Running)
}

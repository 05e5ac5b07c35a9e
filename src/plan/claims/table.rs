//! Who needs how much of what.

use std::collections::BTreeMap;

use super::overlap;
use crate::model::{TaskIdx, TaskSpec};

/// What tasks claim, as numbered keys with capacities; a key that only one task needs is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimTable {
    keys: Vec<Key>,
    starts: Vec<u32>,
    needs: Vec<Need>,
}

/// How much of one key a task needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Which key.
    pub key: u32,
    /// How much of its capacity; at most all of it.
    pub amount: u32,
}

/// Something that several tasks claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// What users call it: a path, a glob, two that overlap, or a resource.
    pub(super) name: String,
    pub(super) capacity: u32,
    /// Who needs it, with how much.
    pub(super) holders: Vec<(TaskIdx, u32)>,
}

impl ClaimTable {
    /// Finds what overlaps. `capacities` are of the resources; one that is not named has one. Of
    /// the tasks in each of `caps`, so many may run at once. What stands for many tasks claims
    /// nothing itself.
    ///
    /// Costs O(claims log claims + overlaps), and a bounded number of steps for globs.
    pub fn new(
        tasks: &[TaskSpec],
        capacities: &BTreeMap<String, u32>,
        caps: &[(Vec<TaskIdx>, u32)],
    ) -> Self {
        let mut keys = overlap::of_files(tasks);
        keys.extend(overlap::of_resources(tasks, capacities));
        keys.extend(caps.iter().map(|(tasks, cap)| Key {
            name: "max_parallel".to_owned(),
            capacity: *cap,
            holders: tasks.iter().map(|it| (*it, 1)).collect(),
        }));
        Self::of_keys(tasks.len(), keys)
    }

    pub(super) fn of_keys(n_tasks: usize, keys: Vec<Key>) -> Self {
        if keys.is_empty() {
            return Self::default();
        }
        let mut by_task = vec![Vec::new(); n_tasks];
        for (at, key) in keys.iter().enumerate() {
            for &(task, amount) in &key.holders {
                let key = u32::try_from(at).unwrap_or(u32::MAX);
                by_task[task.as_usize()].push(Need { key, amount });
            }
        }
        let (mut starts, mut needs) = (Vec::with_capacity(n_tasks + 1), Vec::new());
        for row in by_task {
            starts.push(u32::try_from(needs.len()).unwrap_or(u32::MAX));
            needs.extend(row);
        }
        starts.push(u32::try_from(needs.len()).unwrap_or(u32::MAX));
        Self { keys, starts, needs }
    }

    /// A table of keys with these capacities, whose needs are drawn up by task.
    #[cfg(test)]
    pub(crate) fn drawn(capacities: &[u32], needs: &[Vec<Need>]) -> Self {
        let key = |(at, &capacity): (usize, &u32)| {
            let of = |(task, row): (usize, &Vec<Need>)| {
                let amount = row.iter().find(|it| it.key as usize == at)?.amount;
                Some((TaskIdx::from_usize(task), amount))
            };
            let holders = needs.iter().enumerate().filter_map(of).collect();
            Key { name: format!("k{at}"), capacity, holders }
        };
        Self::of_keys(needs.len(), capacities.iter().enumerate().map(key).collect())
    }

    /// Whether no claims overlap.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What a task needs.
    pub fn needs(&self, task: TaskIdx) -> &[Need] {
        let row = self.starts.get(task.as_usize()).zip(self.starts.get(task.as_usize() + 1));
        row.map_or(&[], |(&from, &to)| &self.needs[from as usize..to as usize])
    }

    /// How much there is of a key.
    pub fn capacity(&self, key: u32) -> u32 {
        self.keys[key as usize].capacity
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }
}

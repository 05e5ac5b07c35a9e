//! Who has what it claims, and who waits for it.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::table::ClaimTable;
use crate::model::TaskIdx;

/// What is in use and who waits, while tasks of one table run.
///
/// A task takes all that it needs at once or waits, so no two can wait for each other. Nobody takes
/// what a waiting task with a better priority wants, so no task waits for ever.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    /// By key.
    in_use: Vec<u32>,
    /// By key, those who want it, the best priority first.
    waiting: FxHashMap<u32, BTreeSet<(u32, TaskIdx)>>,
    /// The priorities of those who wait.
    parked: FxHashMap<TaskIdx, u32>,
}

impl Holders {
    /// Nobody has anything.
    pub fn new(table: &ClaimTable) -> Self {
        Self { in_use: vec![0; table.keys().len()], ..Self::default() }
    }

    /// Whether a task finds all that it needs unused.
    pub fn has_room(&self, table: &ClaimTable, task: TaskIdx) -> bool {
        let fits = |it: &super::Need| {
            self.in_use[it.key as usize].saturating_add(it.amount) <= table.capacity(it.key)
        };
        table.needs(task).iter().all(fits)
    }

    /// Whether a task may take all that it needs, now and before all who wait.
    pub fn may_take(&self, table: &ClaimTable, task: TaskIdx, priority: u32) -> bool {
        let is_first = |it: &super::Need| {
            let first = self.waiting.get(&it.key).and_then(BTreeSet::first);
            first.is_none_or(|it| (priority, task) <= *it)
        };
        self.has_room(table, task) && table.needs(task).iter().all(is_first)
    }

    /// Takes what a task needs, whether there is room or not.
    pub fn take(&mut self, table: &ClaimTable, task: TaskIdx) {
        for it in table.needs(task) {
            self.in_use[it.key as usize] += it.amount;
        }
    }

    /// Gives back what a task took.
    pub fn give_back(&mut self, table: &ClaimTable, task: TaskIdx) {
        for it in table.needs(task) {
            self.in_use[it.key as usize] -= it.amount;
        }
    }

    /// Lets a task wait.
    pub fn park(&mut self, table: &ClaimTable, task: TaskIdx, priority: u32) {
        self.parked.insert(task, priority);
        for it in table.needs(task) {
            self.waiting.entry(it.key).or_default().insert((priority, task));
        }
    }

    /// Lets a task wait no longer; says whether it did.
    pub fn unpark(&mut self, table: &ClaimTable, task: TaskIdx) -> bool {
        let Some(priority) = self.parked.remove(&task) else { return false };
        for it in table.needs(task) {
            if let Some(waiting) = self.waiting.get_mut(&it.key) {
                waiting.remove(&(priority, task));
                if waiting.is_empty() {
                    self.waiting.remove(&it.key);
                }
            }
        }
        true
    }

    /// Who need not wait any longer, after `task` gave something back or wants it no more; they no
    /// longer do. Costs O(keys of all these tasks × log of those who wait).
    pub fn wake(&mut self, table: &ClaimTable, task: TaskIdx) -> Vec<TaskIdx> {
        let mut woken = Vec::new();
        if self.parked.is_empty() {
            return woken;
        }
        // Those who were woken are taken to have what they need, or too many would be; and those
        // who only waited behind them may find room.
        let mut examined = Some(task);
        let mut n_examined = 0;
        while let Some(made_way) = examined {
            for need in table.needs(made_way) {
                while let Some(&(priority, first)) =
                    self.waiting.get(&need.key).and_then(BTreeSet::first)
                    && self.may_take(table, first, priority)
                {
                    self.unpark(table, first);
                    self.take(table, first);
                    woken.push(first);
                }
            }
            examined = woken.get(n_examined).copied();
            n_examined += 1;
        }
        for it in &woken {
            self.give_back(table, *it);
        }
        woken
    }

    /// Whether a task waits.
    pub fn is_parked(&self, task: TaskIdx) -> bool {
        self.parked.contains_key(&task)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Need, *};

    fn task(at: usize) -> TaskIdx {
        TaskIdx::from_usize(at)
    }

    fn table(capacities: &[u32], needs: &[&[(u32, u32)]]) -> ClaimTable {
        let need = |&(key, amount): &(u32, u32)| Need { key, amount };
        let needs: Vec<Vec<_>> = needs.iter().map(|it| it.iter().map(need).collect()).collect();
        ClaimTable::drawn(capacities, &needs)
    }

    #[test]
    fn what_is_given_back_goes_to_the_first_who_finds_all_that_it_needs() {
        let table = table(&[1, 1], &[&[(0, 1)], &[(1, 1)], &[(0, 1), (1, 1)], &[(0, 1)]]);
        let mut holders = Holders::new(&table);
        for it in [task(0), task(1)] {
            assert!(holders.may_take(&table, it, 9));
            holders.take(&table, it);
        }
        for (it, priority) in [(task(3), 5), (task(2), 4)] {
            assert!(!holders.may_take(&table, it, priority));
            holders.park(&table, it, priority);
        }
        holders.give_back(&table, task(0));
        // The first of those who wait for key 0 also wants key 1, and nobody goes before it.
        assert_eq!(holders.wake(&table, task(0)), []);
        assert!(!holders.may_take(&table, task(3), 5));
        holders.give_back(&table, task(1));
        assert_eq!(holders.wake(&table, task(1)), [task(2)]);
        assert!(!holders.is_parked(task(2)) && holders.is_parked(task(3)));
        holders.take(&table, task(2));
        holders.give_back(&table, task(2));
        assert_eq!(holders.wake(&table, task(2)), [task(3)]);
    }

    #[test]
    fn as_many_are_woken_as_find_room() {
        let table = table(&[3], &[&[(0, 3)], &[(0, 1)], &[(0, 2)], &[(0, 1)]]);
        let mut holders = Holders::new(&table);
        holders.take(&table, task(0));
        for at in 1..4 {
            holders.park(&table, task(at), u32::try_from(at).unwrap());
        }
        holders.give_back(&table, task(0));
        assert_eq!(holders.wake(&table, task(0)), [task(1), task(2)]);
        assert!(holders.has_room(&table, task(3)));
    }

    #[test]
    fn who_wants_no_more_makes_way() {
        let table = table(&[1, 1], &[&[(1, 1)], &[(0, 1), (1, 1)], &[(0, 1)]]);
        let mut holders = Holders::new(&table);
        holders.take(&table, task(0));
        holders.park(&table, task(1), 1);
        assert!(!holders.may_take(&table, task(2), 2));
        holders.park(&table, task(2), 2);
        assert!(holders.unpark(&table, task(1)));
        assert!(!holders.unpark(&table, task(1)));
        assert_eq!(holders.wake(&table, task(1)), [task(2)]);
    }

    #[test]
    fn who_only_waited_behind_another_is_woken_with_it() {
        let table = table(&[1, 2], &[&[(0, 1)], &[(0, 1), (1, 1)], &[(1, 1)]]);
        let mut holders = Holders::new(&table);
        holders.take(&table, task(0));
        holders.park(&table, task(1), 1);
        assert!(holders.has_room(&table, task(2)));
        assert!(!holders.may_take(&table, task(2), 2));
        holders.park(&table, task(2), 2);
        holders.give_back(&table, task(0));
        assert_eq!(holders.wake(&table, task(0)), [task(1), task(2)]);
    }
}

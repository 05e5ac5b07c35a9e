//! Which tasks are held apart by their claims, for people who plan.

use super::table::{ClaimTable, Key};
use crate::{
    model::{ClaimConflict, TaskId, TaskIdx, TaskSpec},
    plan::TaskGraph,
};

/// The most conflicts that are listed, and the most tasks in each.
const LISTED_MAX: usize = 20;
/// How many dependencies are walked in all to find out who waits for whom anyway.
const STEPS_MAX: usize = 2_000_000;

/// What holds tasks apart that would else run at the same time, and how many such claims there are;
/// the first of them are listed.
pub(in crate::plan) fn conflicts(
    table: &ClaimTable,
    tasks: &[TaskSpec],
    graph: &TaskGraph,
) -> (Vec<ClaimConflict>, usize) {
    let mut steps = STEPS_MAX;
    let mut listed = Vec::new();
    let mut total = 0;
    for key in table.keys() {
        if !is_conflict(key, graph, &mut steps) {
            continue;
        }
        total += 1;
        if listed.len() < LISTED_MAX {
            let id = |it: &(TaskIdx, u32)| -> TaskId { tasks[it.0.as_usize()].task_id.clone() };
            listed.push(ClaimConflict {
                claim: key.name.clone(),
                capacity: key.capacity,
                task_ids: key.holders.iter().take(LISTED_MAX).map(id).collect(),
                n_tasks: key.holders.len(),
            });
        }
    }
    (listed, total)
}

/// Whether any two neighbours, in an order that the dependencies allow, do not wait for each other.
fn is_conflict(key: &Key, graph: &TaskGraph, steps: &mut usize) -> bool {
    let mut holders: Vec<TaskIdx> = key.holders.iter().map(|it| it.0).collect();
    holders.sort_by_key(|it| graph.priority(*it));
    holders.windows(2).any(|it| !waits_for(it[1], it[0], graph, steps))
}

/// Whether `later` waits for `earlier`, directly or through others; no where that takes too long.
fn waits_for(later: TaskIdx, earlier: TaskIdx, graph: &TaskGraph, steps: &mut usize) -> bool {
    let mut seen = rustc_hash::FxHashSet::default();
    let mut pending = vec![later];
    while let Some(task) = pending.pop() {
        for &dependency in graph.dependencies(task) {
            if dependency == earlier {
                return true;
            }
            let Some(left) = steps.checked_sub(1) else { return false };
            *steps = left;
            // Ancestors of the earlier one stand before it, and lead nowhere.
            if graph.priority(dependency) > graph.priority(earlier) && seen.insert(dependency) {
                pending.push(dependency);
            }
        }
    }
    false
}

//! Which claims overlap.

use std::{collections::BTreeMap, ops::Bound};

use super::{
    glob::{fixed_part, is_glob, overlap},
    table::Key,
};
use crate::model::{TaskIdx, TaskSpec};

/// How many characters of globs are compared in all; what is left then counts as overlapping.
const STEPS_MAX: usize = 50_000_000;

type Claims<'t> = BTreeMap<&'t str, Vec<TaskIdx>>;

/// The files that several tasks write.
pub(super) fn of_files(tasks: &[TaskSpec]) -> Vec<Key> {
    let (mut paths, mut globs) = (Claims::new(), Claims::new());
    for (at, task) in tasks.iter().enumerate().filter(|it| it.1.runs_itself()) {
        let writes = task.writes.iter().flat_map(|it| it.iter()).map(String::as_str);
        for it in writes.chain(output_path(task)) {
            let claims = if is_glob(it) { &mut globs } else { &mut paths };
            let holders = claims.entry(it).or_default();
            let task = TaskIdx::from_usize(at);
            if holders.last() != Some(&task) {
                holders.push(task);
            }
        }
    }
    let mut keys = Vec::new();
    let claims = paths.iter().chain(&globs);
    keys.extend(claims.filter_map(|(name, holders)| key((*name).to_owned(), holders, &[])));
    add_overlaps(&paths, &globs, &mut keys);
    keys
}

/// The resources that are asked for more than there is.
pub(super) fn of_resources(tasks: &[TaskSpec], capacities: &BTreeMap<String, u32>) -> Vec<Key> {
    let mut holders: BTreeMap<&str, Vec<(TaskIdx, u32)>> = BTreeMap::new();
    for (at, task) in tasks.iter().enumerate().filter(|it| it.1.runs_itself()) {
        for (name, amount) in task.resources.iter().flat_map(|it| it.iter()) {
            holders.entry(name).or_default().push((TaskIdx::from_usize(at), *amount));
        }
    }
    let key = |(name, holders): (&str, Vec<(TaskIdx, u32)>)| {
        let capacity = capacities.get(name).copied().unwrap_or(1);
        let wanted: u64 = holders.iter().map(|it| u64::from(it.1)).sum();
        (wanted > u64::from(capacity)).then(|| Key { name: name.to_owned(), capacity, holders })
    };
    holders.into_iter().filter_map(key).collect()
}

fn add_overlaps(paths: &Claims<'_>, globs: &Claims<'_>, keys: &mut Vec<Key>) {
    let mut steps = STEPS_MAX;
    for (glob, holders) in globs {
        let fixed = fixed_part(glob);
        // Sorted by name, all that begin alike stand together.
        let alike = paths
            .range::<str, _>((Bound::Included(fixed), Bound::Unbounded))
            .take_while(|it| it.0.starts_with(fixed));
        let later = globs.range::<str, _>((Bound::Excluded(*glob), Bound::Unbounded));
        for (other, also) in alike.chain(later) {
            if overlap(glob, other, &mut steps) {
                keys.extend(key(format!("{glob} and {other}"), holders, also));
            }
        }
    }
}

/// A key of all these tasks, of which one can run at a time; `None` if it is one task only.
fn key(name: String, holders: &[TaskIdx], also: &[TaskIdx]) -> Option<Key> {
    let mut all: Vec<_> = holders.iter().chain(also).map(|it| (*it, 1)).collect();
    all.sort_unstable();
    all.dedup();
    (all.len() > 1).then_some(Key { name, capacity: 1, holders: all })
}

/// The file that a task says it writes, where that is known beforehand.
fn output_path(task: &TaskSpec) -> Option<&str> {
    let path = task.input_data.field("output_path")?.as_str()?;
    (path.starts_with('/') && !is_glob(path) && !path.contains("${")).then_some(path)
}

//! What holds between tasks: no cycles, references only to ancestors, no two writers of one file.

use std::collections::{BTreeSet, VecDeque};

use indexmap::IndexMap;

use super::{
    faults::{Faults, Place, Subject, Warnings, quote},
    ids::shorten,
    input,
    table::StringTable,
};
use crate::{
    model::{ErrorCode, Fault, Refusal, TaskIdx, json::Json},
    plan::{Cycles, Edge, TaskGraph, find_cycles, reference},
};

/// How many dependencies may be walked in all to find out who is an ancestor of whom.
///
/// Direct dependencies cost nothing; 10,000 tasks in a chain that all refer to the first fit.
const STEPS_MAX: usize = 64_000_000;

/// The most characters of a cycle that are written out on either end.
const CYCLE_END_CHARS_MAX: usize = 140;

/// The fields of a task that name other tasks' results.
pub(super) const INPUT: &str = "input_data";
pub(super) const WHEN: &str = "when";

/// The tasks as they were written, for faults that are found after all were read.
#[derive(Clone, Copy)]
pub(super) struct Written<'j, 'p> {
    pub(super) tasks: &'j [Json<'j>],
    pub(super) place: &'p Place<'p>,
}

/// Who writes where, in document order.
#[derive(Debug, Default)]
pub(super) struct Outputs<'j> {
    writers: Vec<(&'j str, TaskIdx)>,
}

/// Finds ancestors, within a budget of steps.
#[derive(Debug)]
pub(super) struct Ancestry<'g> {
    graph: &'g TaskGraph,
    /// Per task, the number of the last walk that met it.
    met_in: Vec<u32>,
    n_walks: u32,
    steps_left: usize,
}

impl Written<'_, '_> {
    /// The id of a task, as far as it has one.
    pub(super) fn id(&self, idx: TaskIdx) -> &str {
        let Some(Json::Object(fields)) = self.tasks.get(idx.as_usize()) else { return "" };
        match fields.iter().find(|it| it.0 == "task_id") {
            Some((_, Json::String(id))) => id,
            _ => "",
        }
    }

    pub(super) fn field(
        &self,
        idx: TaskIdx,
        names: &[&'static str],
    ) -> Option<(&'static str, &Json<'_>)> {
        let Some(Json::Object(fields)) = self.tasks.get(idx.as_usize()) else { return None };
        let named = |(key, value)| {
            names.iter().find(|it| **it == AsRef::<str>::as_ref(key)).map(|it| (*it, value))
        };
        fields.iter().map(|it| (&it.0, &it.1)).find_map(named)
    }
}

/// Names each cycle among the dependencies.
pub(super) fn report_cycles(edges: &[Edge], written: &Written<'_, '_>, faults: &mut Faults) {
    let Cycles { named, count } = find_cycles(written.tasks.len(), edges, Refusal::FAULTS_MAX);
    for cycle in &named {
        let Some(&first) = cycle.first() else { continue };
        faults.at(first.as_usize() + 1);
        faults.add(|| describe_cycle(cycle, first, written));
    }
    faults.add_undescribed(count - named.len());
}

fn describe_cycle(cycle: &[TaskIdx], first: TaskIdx, written: &Written<'_, '_>) -> Fault {
    let names = cycle.iter().chain([&first]).map(|it| shorten(written.id(*it)));
    let message = format!("dependency cycle: {}", join_cycle(&names.collect::<Vec<_>>()));
    let task = written.place.index(first.as_usize());
    let field = written.field(first, &["dependencies", "depends_on"]);
    let place = task.key(field.map_or("dependencies", |it| it.0));
    let hint = "remove one of these dependencies, so that one of the tasks can start";
    place.say(ErrorCode::DependencyCycle, &message, hint)
}

/// Joins names with arrows; where they are many, the middle is counted only.
fn join_cycle(names: &[String]) -> String {
    let fits = |names: &mut dyn Iterator<Item = &String>| {
        let mut chars_left = CYCLE_END_CHARS_MAX;
        let affordable = names.take_while(|it| {
            let fits = it.len() + 4 <= chars_left;
            chars_left = chars_left.saturating_sub(it.len() + 4);
            fits
        });
        affordable.count().max(1)
    };
    let n_head = fits(&mut names.iter());
    let n_tail = fits(&mut names.iter().rev());
    if n_head + n_tail >= names.len() {
        return names.join(" -> ");
    }
    let (head, tail) = (&names[..n_head], &names[names.len() - n_tail..]);
    let n_between = names.len() - n_head - n_tail;
    format!("{} -> … {n_between} more … -> {}", head.join(" -> "), tail.join(" -> "))
}

/// Checks that each reference in `field` leads to an ancestor; `links` are (from, to), grouped by
/// from.
pub(super) fn check_references(
    links: &[(TaskIdx, TaskIdx)],
    field: &'static str,
    ancestry: &mut Ancestry<'_>,
    written: &Written<'_, '_>,
    faults: &mut Faults,
) {
    for group in links.chunk_by(|a, b| a.0 == b.0) {
        let from = group[0].0;
        let direct = ancestry.graph.dependencies(from);
        let mut targets: Vec<_> = group.iter().map(|it| it.1).collect();
        targets.retain(|it| direct.binary_search(it).is_err());
        targets.sort_unstable();
        targets.dedup();
        if targets.is_empty() {
            continue;
        }
        faults.at(from.as_usize() + 1);
        if let Some(strangers) = ancestry.without_ancestors_of(from, targets) {
            for target in strangers {
                faults.add(|| describe_stranger(from, target, field, written));
            }
        } else {
            faults.add(|| describe_too_far(from, written));
            return;
        }
    }
}

fn describe_stranger(
    from: TaskIdx,
    target: TaskIdx,
    field: &'static str,
    written: &Written<'_, '_>,
) -> Fault {
    let id = written.id(target);
    let mut task = written.place.index(from.as_usize());
    task.subject = Subject::Task(written.id(from));
    let what = if field == WHEN { "result" } else { "output" };
    let (message, hint) = if from == target {
        let hint = "refer to a task that ends before this one starts".to_owned();
        (format!("{} refers to its own {what}", task.subject), hint)
    } else {
        let subject = task.subject;
        let message =
            format!("{subject} refers to the {what} of {}, which it does not depend on", quote(id));
        (message, format!("add {} to the task's dependencies", quote(id)))
    };
    let say = |place: &Place<'_>| place.say(ErrorCode::InvalidReference, &message, &hint);
    if field == WHEN {
        return say(&task.key(WHEN));
    }
    find_reference(from, id, written, |_| true, say).unwrap_or_else(|| say(&task))
}

/// Goes to the first reference in a task's input to the task `id`, of those that `is_meant` takes:
/// it is told of the default, if there is one.
pub(super) fn find_reference<T>(
    from: TaskIdx,
    id: &str,
    written: &Written<'_, '_>,
    is_meant: impl Fn(Option<&str>) -> bool,
    found: impl Fn(&Place<'_>) -> T,
) -> Option<T> {
    let mut task = written.place.index(from.as_usize());
    task.subject = Subject::Task(written.id(from));
    let (_, input) = written.field(from, &[INPUT])?;
    let is_it = |piece: reference::Piece<'_>| match piece {
        reference::Piece::Reference { body, default, .. } => {
            is_meant(default) && reference::readings(body).any(|it| it.0 == id)
        }
        reference::Piece::Text(_) | reference::Piece::Unclosed(_) => false,
    };
    let mut first = None;
    input::walk_strings(input, &task.key(INPUT), &mut |text, place| {
        if first.is_none()
            && reference::may_refer(text)
            && reference::split(text).into_iter().any(is_it)
        {
            first = Some(found(place));
        }
    });
    first
}

/// The ids that a task's input refers to without a default.
pub(super) fn ids_without_default<'w>(
    from: TaskIdx,
    written: &'w Written<'_, '_>,
) -> BTreeSet<&'w str> {
    let mut ids = BTreeSet::new();
    let Some((_, input)) = written.field(from, &[INPUT]) else { return ids };
    collect_without_default(input, &mut ids);
    ids
}

fn collect_without_default<'j>(json: &'j Json<'_>, ids: &mut BTreeSet<&'j str>) {
    match json {
        Json::String(text) if reference::may_refer(text) => {
            for piece in reference::split(text) {
                if let reference::Piece::Reference { body, default: None, .. } = piece {
                    ids.extend(reference::readings(body).map(|it| it.0));
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|it| collect_without_default(it, ids)),
        Json::Object(fields) => fields.iter().for_each(|it| collect_without_default(&it.1, ids)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => (),
    }
}

fn describe_too_far(from: TaskIdx, written: &Written<'_, '_>) -> Fault {
    let mut task = written.place.index(from.as_usize());
    task.subject = Subject::Task(written.id(from));
    let message = format!(
        "{} and others refer to tasks that are too far upstream to be looked for",
        task.subject
    );
    let hint = "add the tasks that are referred to as direct dependencies";
    task.say(ErrorCode::LimitExceeded, &message, hint)
}

/// Warns of files that two tasks write without one waiting for the other.
pub(super) fn check_outputs(
    shared: IndexMap<&str, Vec<TaskIdx>>,
    ancestry: &mut Ancestry<'_>,
    written: &Written<'_, '_>,
    warnings: &mut Warnings,
) {
    for (path, mut writers) in shared {
        // Neighbours in a topological order that wait for each other are ordered all together.
        writers.sort_by_key(|it| ancestry.graph.priority(*it));
        let pairs = writers.windows(2).map(|it| (it[0], it[1]));
        let unordered = pairs.into_iter().find(|&(earlier, later)| {
            ancestry.without_ancestors_of(later, vec![earlier]).is_none_or(|it| !it.is_empty())
        });
        if let Some((one, other)) = unordered {
            warnings.add(|| {
                format!(
                    "tasks {} and {} both write {} and neither waits for the other: one runs after \
                     the other, in an order that nothing says",
                    quote(written.id(one)),
                    quote(written.id(other)),
                    quote(path)
                )
            });
        }
    }
}

impl<'j> Outputs<'j> {
    /// Adds a file that a task writes.
    pub(super) fn add(&mut self, path: &'j str, task: TaskIdx) {
        self.writers.push((path, task));
    }

    /// The files that several tasks write, each with its tasks in document order.
    ///
    /// All are looked up one after the other, which costs less than each at its turn: the memory
    /// of the table stays near.
    pub(super) fn into_shared(self) -> IndexMap<&'j str, Vec<TaskIdx>> {
        let mut first_writers = StringTable::with_capacity(self.writers.len());
        let mut shared: IndexMap<_, Vec<_>> = IndexMap::new();
        for (path, task) in self.writers {
            let first = first_writers.insert(path, task.as_u32());
            if first != task.as_u32() {
                let first = TaskIdx::from_usize(first as usize);
                shared.entry(path).or_insert_with(|| vec![first]).push(task);
            }
        }
        shared
    }
}

impl<'g> Ancestry<'g> {
    pub(super) fn new(graph: &'g TaskGraph) -> Self {
        Self::with_budget(graph, STEPS_MAX)
    }

    fn with_budget(graph: &'g TaskGraph, steps_left: usize) -> Self {
        Self { graph, met_in: Vec::new(), n_walks: 0, steps_left }
    }

    /// Those of `targets` that `task` does not wait for; `None` if the budget is spent.
    ///
    /// Near ancestors are found first; `targets` are sorted.
    fn without_ancestors_of(
        &mut self,
        task: TaskIdx,
        mut targets: Vec<TaskIdx>,
    ) -> Option<Vec<TaskIdx>> {
        self.met_in.resize(self.graph.len(), 0);
        self.n_walks += 1;
        let mut pending = VecDeque::from([task]);
        while let Some(at) = pending.pop_front() {
            for &dependency in self.graph.dependencies(at) {
                self.steps_left = self.steps_left.checked_sub(1)?;
                let met_in = &mut self.met_in[dependency.as_usize()];
                if *met_in == self.n_walks {
                    continue;
                }
                *met_in = self.n_walks;
                pending.push_back(dependency);
                if let Ok(found) = targets.binary_search(&dependency) {
                    targets.remove(found);
                    if targets.is_empty() {
                        return Some(targets);
                    }
                }
            }
        }
        Some(targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;

    #[test]
    fn the_search_for_ancestors_has_a_budget_and_ends_at_the_nearest() {
        let idx = TaskIdx::from_usize;
        let n_tasks = 100;
        let edges: Vec<_> =
            (1..n_tasks).map(|it| Edge { dependency: idx(it - 1), dependent: idx(it) }).collect();
        let graph = TaskGraph::build(vec![Millis(1); n_tasks], &edges).unwrap();
        let mut ancestry = Ancestry::with_budget(&graph, 100);
        assert_eq!(ancestry.without_ancestors_of(idx(99), vec![idx(97)]), Some(vec![]));
        assert_eq!(ancestry.steps_left, 98);
        let found = ancestry.without_ancestors_of(idx(50), vec![idx(0), idx(60)]);
        assert_eq!((found, ancestry.steps_left), (Some(vec![idx(60)]), 48));
        assert_eq!(ancestry.without_ancestors_of(idx(99), vec![idx(0)]), None);
    }

    #[test]
    fn long_cycles_are_shortened_in_the_middle() {
        let names = |n: usize| (0..n).map(|it| format!("task-{it:04}")).collect::<Vec<_>>();
        assert_eq!(join_cycle(&names(3)), "task-0000 -> task-0001 -> task-0002");
        assert!(join_cycle(&names(50)).contains(" -> … 30 more … -> "));
        let long = join_cycle(&names(1_000));
        assert!(long.contains("task-0009 -> … 980 more … -> task-0990"), "{long}");
        assert!(long.ends_with("-> task-0999"));
    }
}

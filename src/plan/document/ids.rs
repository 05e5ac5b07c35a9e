//! The names of a document's tasks, and how many dependencies it has: one look before the checks.

use indexmap::IndexMap;

use super::table::StringTable;
use crate::model::{json::Json, text};

/// How many characters may be compared with each other to find the nearest of many names.
///
/// It bounds what a document full of slips costs; enough for 10,000 names of ten characters.
const COMPARISONS_MAX: usize = 1_000_000;

/// The tasks of a document by name.
#[derive(Debug)]
pub(super) struct Ids<'j> {
    by_name: StringTable<'j>,
    /// The tasks whose names are those of earlier ones.
    repeats: Vec<u32>,
    /// How many dependencies all tasks name together, repeats included.
    pub(super) n_dependencies: usize,
}

impl<'j> Ids<'j> {
    /// Collects the names; of equal ones the first counts.
    #[expect(clippy::cast_possible_truncation, reason = "limits.tasks_max is below u32::MAX")]
    pub(super) fn collect(tasks: &'j [Json<'_>]) -> Self {
        let by_name = StringTable::with_capacity(tasks.len());
        let mut ids = Self { by_name, repeats: Vec::new(), n_dependencies: 0 };
        for (at, task) in tasks.iter().enumerate() {
            let Json::Object(fields) = task else { continue };
            for (key, value) in fields {
                match (key.as_ref(), value) {
                    ("task_id", Json::String(name)) => {
                        let first = ids.by_name.insert(name, at as u32);
                        ids.repeats.extend((first != at as u32).then_some(at as u32));
                    }
                    ("dependencies" | "depends_on", Json::Array(items)) => {
                        ids.n_dependencies += items.len();
                    }
                    _ => {}
                }
            }
        }
        ids
    }

    /// The position of the first task of a name.
    pub(super) fn get(&self, name: &str) -> Option<u32> {
        self.by_name.get(name)
    }

    /// The names in document order, each once.
    pub(super) fn names(&self) -> impl Iterator<Item = &'j str> {
        self.by_name.strings()
    }

    /// Whether the task at a position has the name of an earlier one.
    pub(super) fn is_repeat(&self, at: u32) -> bool {
        self.repeats.binary_search(&at).is_ok()
    }

    /// `; did you mean "…"?`, if a task has a name like this one.
    pub(super) fn did_you_mean(&self, name: &str) -> String {
        let mut left = COMPARISONS_MAX;
        let near = self.names().filter(|it| it.len().abs_diff(name.len()) <= 4);
        let affordable = near.take_while(|it| {
            left = left.saturating_sub(it.len() * name.len());
            left > 0
        });
        text::did_you_mean(name, affordable)
    }

    /// Pairs of names that differ in case only.
    pub(super) fn case_twins(&self) -> Vec<(&'j str, &'j str)> {
        let mut twins = Vec::new();
        let mut folded: IndexMap<String, &'j str> = IndexMap::new();
        // Two names that differ in case cannot both be in lower case.
        for name in self.names().filter(|it| it.bytes().any(|it| it.is_ascii_uppercase())) {
            let lower = name.to_ascii_lowercase();
            let exact = self.by_name.get_string(&lower);
            if let Some(twin) = exact.or_else(|| folded.get(&lower).copied()) {
                twins.push((twin, name));
            }
            folded.entry(lower).or_insert(name);
        }
        twins
    }
}

/// A name as far as it fits into a sentence that lists many.
pub(super) fn shorten(name: &str) -> String {
    text::cut(name, 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json as strict;

    /// What is proposed for a word of fifty letters, where names as long as it stand in front of the
    /// one that is meant.
    fn propose(n_before: usize) -> String {
        let before = (0..n_before).map(|it| format!("{it:0>50}"));
        let names = before.chain(["y".repeat(49) + "z"]);
        let tasks: Vec<_> = names.map(|it| format!("{{\"task_id\": {it:?}}}")).collect();
        let text = format!("[{}]", tasks.join(","));
        let Json::Array(tasks) = strict::read(text.as_bytes()).unwrap() else { panic!("{text}") };
        Ids::collect(&tasks).did_you_mean(&"y".repeat(50))
    }

    #[test]
    fn the_nearest_name_is_looked_for_within_a_budget() {
        let affordable = COMPARISONS_MAX / (50 * 50) - 1;
        assert!(propose(affordable - 1).starts_with("; did you mean \"yyy"));
        assert_eq!(propose(affordable), "");
    }
}

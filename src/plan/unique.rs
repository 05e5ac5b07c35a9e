//! Names made different by a number, without looking at all earlier ones.

use indexmap::IndexMap;

/// The names given so far, each with the last number tried for it.
#[derive(Debug, Default)]
pub(super) struct UniqueNames {
    tried: IndexMap<String, u32>,
}

impl UniqueNames {
    /// `stem` itself if it is new, else with a number behind `separator`.
    ///
    /// Costs O(1) amortised: numbers that were tried for a stem are not tried again.
    pub(super) fn choose(&mut self, stem: &str, separator: char) -> String {
        let Some(last) = self.tried.get(stem).copied() else {
            self.tried.insert(stem.to_owned(), 1);
            return stem.to_owned();
        };
        let mut number = last;
        let name = loop {
            number += 1;
            let name = format!("{stem}{separator}{number}");
            if !self.tried.contains_key(&name) {
                break name;
            }
        };
        self.tried.insert(stem.to_owned(), number);
        self.tried.insert(name.clone(), 1);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_names_get_the_next_free_number() {
        let mut names = UniqueNames::default();
        let chosen = ["a", "a-2", "a", "a", "a-2"].map(|it| names.choose(it, '-'));
        assert_eq!(chosen, ["a", "a-2", "a-3", "a-4", "a-2-2"]);
    }
}

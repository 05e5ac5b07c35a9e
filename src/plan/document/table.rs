//! A table of strangers' strings, each with the position it was first met at.

use std::hash::{BuildHasher as _, RandomState};

/// Strings by their hash, in one array that never grows.
///
/// The hash is seeded: the strings come from strangers, who could choose them to collide.
#[derive(Debug)]
pub(super) struct StringTable<'j> {
    hasher: RandomState,
    /// 0, or the upper half of the hash and the position in `strings` plus one.
    slots: Vec<u64>,
    strings: Vec<(&'j str, u32)>,
    n_max: usize,
}

/// Where a string is, or where it would be.
struct Found {
    slot: usize,
    /// The upper half of the hash.
    tag: u64,
    number: Option<u32>,
}

impl<'j> StringTable<'j> {
    /// A table for up to `n_max` strings, fewer than `u32::MAX`.
    pub(super) fn with_capacity(n_max: usize) -> Self {
        let n_slots = (n_max * 2).next_power_of_two();
        Self {
            hasher: RandomState::new(),
            slots: vec![0; n_slots],
            strings: Vec::with_capacity(n_max),
            n_max,
        }
    }

    /// Adds a string unless it is there; answers the number that it was first added with.
    ///
    /// Strings beyond the capacity are not added.
    pub(super) fn insert(&mut self, string: &'j str, number: u32) -> u32 {
        let found = self.look_up(string);
        if let Some(first) = found.number {
            return first;
        }
        if self.strings.len() < self.n_max {
            self.strings.push((string, number));
            self.slots[found.slot] = found.tag | self.strings.len() as u64;
        }
        number
    }

    /// The number that a string was first added with.
    pub(super) fn get(&self, string: &str) -> Option<u32> {
        self.look_up(string).number
    }

    /// The string itself, as it was added.
    pub(super) fn get_string(&self, string: &str) -> Option<&'j str> {
        let found = self.look_up(string);
        found.number.map(|_| self.strings[entry_index(self.slots[found.slot])].0)
    }

    /// The strings in the order in which they were added.
    pub(super) fn strings(&self) -> impl Iterator<Item = &'j str> {
        self.strings.iter().map(|it| it.0)
    }

    /// Goes from slot to slot; at least half of them are free, so there is an end.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half of the hash is meant")]
    fn look_up(&self, string: &str) -> Found {
        let hash = self.hasher.hash_one(string);
        let tag = hash & !u64::from(u32::MAX);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let entry = self.slots[slot];
            if entry == 0 {
                return Found { slot, tag, number: None };
            }
            if entry & !u64::from(u32::MAX) == tag {
                let (known, number) = self.strings[entry_index(entry)];
                if known == string {
                    return Found { slot, tag, number: Some(number) };
                }
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// The position of the string that a slot holds.
#[expect(clippy::cast_possible_truncation, reason = "the lower half of the slot is meant")]
fn entry_index(slot: u64) -> usize {
    slot as u32 as usize - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_keeps_its_first_number() {
        let strings: Vec<_> = (0..1_000).map(|it| format!("s{}", it % 700)).collect();
        let mut table = StringTable::with_capacity(strings.len());
        assert!(table.slots.len() >= 2 * strings.len(), "few are met on the way to another");
        for (at, string) in (0..).zip(&strings) {
            assert_eq!(table.insert(string, at), at % 700);
        }
        assert_eq!(table.strings().count(), 700);
        assert_eq!((table.get("s699"), table.get("s700")), (Some(699), None));
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let mut table = StringTable::with_capacity(1);
        assert_eq!((table.insert("a", 5), table.insert("b", 6)), (5, 6));
        assert_eq!((table.get("a"), table.get("b")), (Some(5), None));
        assert_eq!(StringTable::with_capacity(0).get(""), None);
    }
}

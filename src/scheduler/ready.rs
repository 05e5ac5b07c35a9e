//! The ready tasks: a set of priorities that gives its smallest in O(log₆₄ n).

/// A set of numbers below a fixed bound, as bits, with a summary of 64 words in each word above.
///
/// Invariant: a bit of level `k + 1` is set if and only if its word of level `k` is not zero.
#[derive(Clone, Debug)]
pub(super) struct ReadySet {
    levels: Vec<Vec<u64>>,
}

impl ReadySet {
    /// An empty set of numbers below `bound`.
    pub(super) fn new(bound: usize) -> Self {
        let mut levels = Vec::new();
        let mut n_words = bound.div_ceil(64).max(1);
        loop {
            levels.push(vec![0; n_words]);
            if n_words == 1 {
                return Self { levels };
            }
            n_words = n_words.div_ceil(64);
        }
    }

    /// Adds `item`.
    pub(super) fn insert(&mut self, item: u32) {
        let mut at = item as usize;
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            let was_empty = *word == 0;
            *word |= 1 << (at % 64);
            if !was_empty {
                return;
            }
            at /= 64;
        }
    }

    /// Removes `item`, if it is there.
    pub(super) fn remove(&mut self, item: u32) {
        let mut at = item as usize;
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            *word &= !(1 << (at % 64));
            if *word != 0 {
                return;
            }
            at /= 64;
        }
    }

    /// The smallest item.
    pub(super) fn first(&self) -> Option<u32> {
        let mut at = 0_u32;
        for level in self.levels.iter().rev() {
            let word = level[at as usize];
            if word == 0 {
                return None;
            }
            at = at * 64 + word.trailing_zeros();
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn behaves_like_an_ordered_set() {
        for bound in [1, 63, 64, 65, 4_096, 4_097, 300_000] {
            let (mut set, mut model) = (ReadySet::new(bound), BTreeSet::new());
            let mut seed = 1_u64;
            for step in 0..2_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step);
                let item = u32::try_from((seed >> 33) % bound as u64).unwrap();
                if seed.is_multiple_of(3) {
                    set.remove(item);
                    model.remove(&item);
                } else {
                    set.insert(item);
                    model.insert(item);
                }
                assert_eq!(set.first(), model.first().copied());
            }
        }
    }
}

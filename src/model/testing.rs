//! Samples, and bytes that are almost right, for the tests of readers.

use super::{DispatchId, Millis, Reused, TaskId, Timestamp};

/// Some place that a result was taken from.
pub(crate) fn reused_from() -> Reused {
    let dispatch_id = DispatchId::from_bytes([7; 16]);
    Reused { dispatch_id, task_id: TaskId::new("before"), at: Timestamp(Millis(3)) }
}

/// Hands `n` variants of the seeds to `check`: bytes changed, cut out, doubled, and mixed from two
/// of them. The same ones on every machine.
pub(crate) fn mutants(seeds: &[&str], n: usize, check: fn(&[u8])) {
    for seed in seeds {
        check(seed.as_bytes());
    }
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
    for _ in 0..n {
        let mut bytes = seeds[rng.below(seeds.len())].as_bytes().to_vec();
        for _ in 0..=rng.below(4) {
            mutate(&mut bytes, &mut rng, seeds);
        }
        check(&bytes);
    }
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng, seeds: &[&str]) {
    const TELLING: &[u8] = b"{}[]\",:\\0-9eE.\n\0\xff\xc3u$";
    let at = rng.below(bytes.len() + 1);
    let end = bytes.len().min(at + rng.below(40));
    match rng.below(6) {
        0 if at < bytes.len() => bytes[at] = rng.byte(),
        1 if at < bytes.len() => bytes[at] = TELLING[rng.below(TELLING.len())],
        2 => bytes.insert(at, TELLING[rng.below(TELLING.len())]),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            let other = seeds[rng.below(seeds.len())].as_bytes();
            let from = rng.below(other.len());
            let piece = &other[from..other.len().min(from + rng.below(40))];
            bytes.splice(at..end, piece.iter().copied());
        }
    }
}

/// xorshift64: small, seeded, the same on every machine.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

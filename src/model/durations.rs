//! How long work of one kind has taken: a small histogram in which older samples count less.

use serde::{Deserialize, Serialize};

use super::{AgentName, Millis};

/// Buckets in an octave: two neighbours differ by 9 %.
const RESOLUTION: f64 = 8.0;
/// After so many newer samples a sample counts half.
const HALF_LIFE: f64 = 64.0;
/// The weight of a new sample. Weights are whole numbers, so that they read back as they were.
const WEIGHT: u64 = 65_536;
/// What counts less than this is forgotten, so that a histogram stays small.
const WEIGHT_MIN: u64 = WEIGHT / 1_000;

/// What kind of work a duration is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurationKey {
    /// Who does it.
    pub agent: AgentName,
    /// What sort of input it has: a few letters, never text of the input itself.
    pub kind: String,
    /// How large the input is: the binary logarithm of its length in bytes, rounded down.
    pub size: u8,
}

/// Durations of one kind of work, as weights of logarithmic buckets.
///
/// Invariant: buckets ascend, and every weight is above zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Durations {
    /// How many samples were ever taken in.
    n: u64,
    /// Bucket and weight.
    buckets: Vec<(u16, u64)>,
}

impl Durations {
    /// Takes a sample in, which then counts in full; all earlier ones count a little less from now
    /// on.
    pub fn add(&mut self, took: Millis) {
        for (_, weight) in &mut self.buckets {
            *weight = decay(*weight);
        }
        self.buckets.retain(|it| it.1 >= WEIGHT_MIN);
        let bucket = bucket_of(took);
        match self.buckets.binary_search_by_key(&bucket, |it| it.0) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(WEIGHT),
            Err(at) => self.buckets.insert(at, (bucket, WEIGHT)),
        }
        self.n = self.n.saturating_add(1);
    }

    /// Takes in all that another histogram knows, at the weights it has there.
    pub fn merge(&mut self, other: &Self) {
        for &(bucket, weight) in &other.buckets {
            match self.buckets.binary_search_by_key(&bucket, |it| it.0) {
                Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(weight),
                Err(at) => self.buckets.insert(at, (bucket, weight)),
            }
        }
        self.n = self.n.saturating_add(other.n);
    }

    /// How many samples were ever taken in.
    pub fn n_samples(&self) -> u64 {
        self.n
    }

    /// The duration that a share of the samples, 0 to 1, does not exceed; `None` without samples.
    ///
    /// Off by a few percent, because samples of one bucket are not told apart.
    #[expect(clippy::cast_precision_loss, reason = "weights are far below 2^53")]
    pub fn quantile(&self, share: f64) -> Option<Millis> {
        let total: f64 = self.buckets.iter().map(|it| it.1 as f64).sum();
        let mut wanted = total * share.clamp(0.0, 1.0);
        let last = self.buckets.last()?;
        for &(bucket, weight) in &self.buckets {
            let weight = weight as f64;
            if wanted <= weight {
                return Some(duration_of(bucket, wanted / weight));
            }
            wanted -= weight;
        }
        Some(duration_of(last.0, 1.0))
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float casts saturate, and a weight becomes no larger"
)]
fn decay(weight: u64) -> u64 {
    (weight as f64 * (-1.0 / HALF_LIFE).exp2()).round() as u64
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the logarithm of any u64 is from 0 to 64, so the bucket is from 0 to 512"
)]
fn bucket_of(took: Millis) -> u16 {
    ((took.0.max(1) as f64).log2() * RESOLUTION).round() as u16
}

/// The duration at a place in a bucket, from 0 at its lower end to 1 at its upper end.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float casts saturate, and a duration is above zero"
)]
fn duration_of(bucket: u16, place: f64) -> Millis {
    let log = (f64::from(bucket) + place - 0.5) / RESOLUTION;
    Millis(log.exp2().round().max(1.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: impl IntoIterator<Item = u64>) -> Durations {
        let mut durations = Durations::default();
        samples.into_iter().for_each(|it| durations.add(Millis(it)));
        durations
    }

    fn median(durations: &Durations) -> u64 {
        durations.quantile(0.5).unwrap().0
    }

    #[track_caller]
    fn assert_close(found: u64, wanted: u64) {
        assert!(found.abs_diff(wanted) * 20 <= wanted, "{found} is not within 5 % of {wanted}");
    }

    #[test]
    fn nothing_is_known_without_samples() {
        assert_eq!(Durations::default().quantile(0.5), None);
    }

    #[test]
    fn quantiles_are_those_of_the_samples() {
        let durations = of((0..64).map(|it| 1_000 + it % 8 * 1_000));
        assert_close(median(&durations), 4_500);
        assert_close(durations.quantile(0.06).unwrap().0, 1_000);
        assert_close(durations.quantile(0.9).unwrap().0, 8_000);
        assert!(durations.quantile(0.0) <= durations.quantile(1.0));
        assert_eq!(durations.n_samples(), 64);
    }

    #[test]
    fn any_duration_is_taken_in() {
        for took in [0, 1, 7, 86_400_000, u64::MAX] {
            let found = median(&of([took]));
            assert!(took < 10 || found >= took / 100 * 95, "{took} came back as {found}");
        }
    }

    #[test]
    fn newer_samples_win_over_more_older_ones() {
        let mut durations = of(std::iter::repeat_n(10_000, 1_000));
        (0..64).for_each(|_| durations.add(Millis(100)));
        assert_close(median(&durations), 100);
        assert_close(durations.quantile(0.9).unwrap().0, 10_000);
    }

    #[test]
    fn it_stays_small_and_forgets() {
        let durations = of((0..100_000_u64).map(|it| it * 7_919 % 1_000_003));
        assert!(durations.buckets.len() < 160, "{}", durations.buckets.len());
        let moved = of(std::iter::once(1).chain(std::iter::repeat_n(500, 1_000)));
        assert_eq!(moved.buckets.len(), 1);
    }

    #[test]
    fn merging_keeps_what_both_know() {
        let (mut one, other) = (of([100; 30]), of([10_000; 30]));
        one.merge(&other);
        assert_close(one.quantile(0.2).unwrap().0, 100);
        assert_close(one.quantile(0.8).unwrap().0, 10_000);
        assert_eq!(one.n_samples(), 60);
    }

    #[test]
    fn it_reads_back_from_json() {
        let durations = of([5, 700, 80_000]);
        let json = serde_json::to_string(&durations).unwrap();
        assert_eq!(serde_json::from_str::<Durations>(&json).unwrap(), durations);
    }
}

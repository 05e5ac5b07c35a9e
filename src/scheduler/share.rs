//! What is scarce, shared out evenly: nobody gets more than he asks for, and nothing is left over
//! while somebody asks.

/// What somebody holds of a scarce thing, and how much more of it he could use at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// What he holds; it is not taken away.
    pub(super) held: u32,
    /// What he could use besides.
    pub(super) wanted: u32,
}

/// Shares out what is free, as water fills a vessel: how much each gets besides what he holds.
///
/// Those who hold the least come first, until all hold the same; what does not go up evenly then
/// goes to those who stand first. Costs O(n).
pub(super) fn grants(free: u32, claims: &[Claim]) -> Vec<u32> {
    let level = level(free, claims);
    let mut granted: Vec<_> = claims.iter().map(|it| it.up_to(level)).collect();
    let mut left = free - granted.iter().sum::<u32>();
    for (it, claim) in granted.iter_mut().zip(claims) {
        if left > 0 && claim.up_to(level.saturating_add(1)) > *it {
            *it += 1;
            left -= 1;
        }
    }
    granted
}

/// The highest level that what is free fills all claims up to; the very last one, `u32::MAX`, is
/// left to what does not go up evenly.
fn level(free: u32, claims: &[Claim]) -> u32 {
    let needed = |level: u32| claims.iter().map(|it| u64::from(it.up_to(level))).sum::<u64>();
    let (mut full, mut too_high) = (0, u32::MAX);
    while full + 1 < too_high {
        let middle = u32::midpoint(full, too_high);
        let is_enough = needed(middle) <= u64::from(free);
        *(if is_enough { &mut full } else { &mut too_high }) = middle;
    }
    full
}

impl Claim {
    /// How much is missing to hold `level`, as far as it is wanted.
    fn up_to(self, level: u32) -> u32 {
        level.saturating_sub(self.held).min(self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::random::Rng, *};

    /// Shares `cap` out, so that the smallest shares are as large as they can be (max-min fair). What
    /// does not go up evenly goes to those who come first.
    fn shares(cap: u32, demands: &[u32]) -> Vec<u32> {
        let claims: Vec<_> = demands.iter().map(|&wanted| Claim { held: 0, wanted }).collect();
        grants(cap, &claims)
    }

    fn random_demands(rng: &mut Rng) -> Vec<u32> {
        let bound = [1, 4, 20, 2_000][usize::try_from(rng.below(4)).unwrap()];
        (0..rng.below(9)).map(|_| u32::try_from(rng.below(bound)).unwrap()).collect()
    }

    #[test]
    fn scarce_things_are_shared_evenly() {
        assert_eq!(shares(4, &[9, 9]), [2, 2]);
        assert_eq!(shares(4, &[9]), [4]);
        assert_eq!(shares(10, &[1, 9, 9]), [1, 5, 4]);
        assert_eq!(shares(1, &[9, 1]), [1, 0]);
        assert_eq!(shares(u32::MAX, &[3, u32::MAX]), [3, u32::MAX - 3]);
        assert_eq!(shares(u32::MAX, &[u32::MAX]), [u32::MAX]);
        assert!(shares(5, &[]).is_empty());
    }

    #[test]
    fn shares_are_fair_whatever_is_asked_for() {
        for seed in 1..5_000 {
            let mut rng = Rng(seed);
            let (demands, cap) = (random_demands(&mut rng), u32::try_from(rng.below(60)).unwrap());
            let given = shares(cap, &demands);
            let sum: u32 = given.iter().sum();
            assert_eq!(sum, cap.min(demands.iter().sum()), "{cap} of {demands:?}: {given:?}");
            let largest = given.iter().copied().max().unwrap_or(0);
            for (at, &share) in given.iter().enumerate() {
                assert!(share <= demands[at]);
                let is_content = share == demands[at];
                assert!(is_content || share + 1 >= largest, "{cap} of {demands:?}: {given:?}");
            }
            let backwards: Vec<_> = demands.iter().rev().copied().collect();
            let mut other = shares(cap, &backwards);
            other.reverse();
            assert!(other.iter().zip(&given).all(|it| it.0.abs_diff(*it.1) <= 1));
        }
    }

    #[test]
    fn who_holds_more_than_his_share_waits_for_the_others() {
        let claim = |held, wanted| Claim { held, wanted };
        assert_eq!(grants(0, &[claim(4, 9), claim(0, 9)]), [0, 0]);
        assert_eq!(grants(1, &[claim(3, 9), claim(0, 9)]), [0, 1]);
        assert_eq!(grants(1, &[claim(1, 9), claim(1, 9)]), [1, 0]);
        assert_eq!(grants(1, &[claim(2, 9), claim(4, 9), claim(1, 1)]), [0, 0, 1]);
        assert_eq!(grants(3, &[claim(1, 9), claim(0, 1), claim(5, 0)]), [2, 1, 0]);
    }

    #[test]
    fn all_that_is_free_is_granted_while_somebody_wants_it() {
        for seed in 1..5_000 {
            let mut rng = Rng(seed);
            let (held, wanted) = (random_demands(&mut rng), random_demands(&mut rng));
            let claims: Vec<_> = held.into_iter().zip(wanted).collect();
            let claims: Vec<_> =
                claims.into_iter().map(|(held, wanted)| Claim { held, wanted }).collect();
            let free = u32::try_from(rng.below(60)).unwrap();
            let given = grants(free, &claims);
            assert!(given.iter().zip(&claims).all(|it| *it.0 <= it.1.wanted));
            let wanted: u32 = claims.iter().map(|it| it.wanted).sum();
            assert_eq!(given.iter().sum::<u32>(), free.min(wanted), "{free} of {claims:?}");
        }
    }
}

//! When a task is tried again, and when not; a pure function of what is known.

use super::policy::Policy;
use crate::model::{Attempt, Failure, FailureCode, Millis, RetrySpec, TaskIdx};

/// How often a task goes back to the queue because its upstream asks to come back later.
pub const REQUEUES_MAX: u32 = 50;

/// How a task is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many attempts there may be, the first included; those that the upstream turned away,
    /// and those that a dead process left behind, do not count.
    pub attempts_max: u32,
    /// How long to wait before the second attempt; it doubles with each further one.
    pub backoff: Millis,
    /// How long to wait at most, unless the upstream asks for more.
    pub backoff_max: Millis,
    /// After which failures.
    pub on: CodeSet,
}

/// A set of failure codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeSet(u32);

/// What has happened to a task that was tried, as far as the next try depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trial {
    /// How many attempts failed and counted.
    pub(super) n_failed: u32,
    /// How many attempts the upstream turned away.
    pub(super) n_requeued: u32,
    /// When the backoff ends, if there is one.
    pub(super) retry_at: Option<Millis>,
    /// When the task must have ended.
    pub(super) total_deadline: Option<Millis>,
    /// When the running attempt must have shown progress; no fact, and so not replayed.
    pub(super) idle_deadline: Option<Millis>,
}

impl RetryPolicy {
    /// One attempt; the waits are those of tasks that the upstream turns away.
    pub const ONCE: Self = Self {
        attempts_max: 1,
        backoff: Millis(1_000),
        backoff_max: Millis(30_000),
        on: CodeSet(0),
    };

    /// How long to wait after `n_before + 1` attempts, of which half or more is certain and the
    /// rest chance, so that tasks which failed together do not come back together.
    ///
    /// What the upstream asks for is a minimum, and chance is added to it.
    fn delay(&self, n_before: u32, retry_after: Option<u64>, chance: u64) -> Millis {
        let factor = 1_u64.checked_shl(n_before).unwrap_or(u64::MAX);
        let full = self.backoff.0.saturating_mul(factor).min(self.backoff_max.0);
        let certain = (full - full / 2).max(retry_after.unwrap_or(0));
        Millis(certain + chance % (full / 2 + 1))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::ONCE
    }
}

impl From<&RetrySpec> for RetryPolicy {
    fn from(spec: &RetrySpec) -> Self {
        Self {
            attempts_max: spec.max_attempts,
            backoff: Millis(spec.backoff_ms),
            backoff_max: Millis(spec.max_backoff_ms.max(spec.backoff_ms)),
            on: spec.codes().into_iter().collect(),
        }
    }
}

impl CodeSet {
    /// Whether `code` is in the set.
    pub fn contains(self, code: FailureCode) -> bool {
        self.0 & 1 << code as u32 != 0
    }
}

impl FromIterator<FailureCode> for CodeSet {
    fn from_iter<T: IntoIterator<Item = FailureCode>>(codes: T) -> Self {
        Self(codes.into_iter().fold(0, |set, it| set | 1 << it as u32))
    }
}

impl Trial {
    /// Counts an attempt that failed and will be followed by another one at `retry_at`.
    pub(super) fn count(&mut self, code: FailureCode, retry_at: Millis) {
        if is_requeue(code) {
            self.n_requeued += 1;
        } else {
            self.n_failed += 1;
        }
        self.retry_at = Some(retry_at);
    }
}

/// When the task is tried again after its attempt failed at `now`; `None` if it is not.
pub(super) fn next_try(
    policy: &Policy,
    trial: &Trial,
    (task, attempt): (TaskIdx, Attempt),
    failure: &Failure,
    now: Millis,
) -> Option<Millis> {
    let retry = policy.of(task).retry;
    let may_retry = if is_requeue(failure.code) {
        trial.n_requeued < REQUEUES_MAX
    } else {
        retry.on.contains(failure.code) && trial.n_failed + 1 < retry.attempts_max
    };
    if !may_retry {
        return None;
    }
    let retry_after = failure.retry_after_ms.map(|it| it.min(Failure::RETRY_AFTER_MS_MAX));
    let chance = scatter(policy.seed, number(task, attempt));
    let at = now + retry.delay(trial.n_failed + trial.n_requeued, retry_after, chance);
    trial.total_deadline.is_none_or(|it| at < it).then_some(at)
}

/// Whether the upstream turned the attempt away before it began.
fn is_requeue(code: FailureCode) -> bool {
    code == FailureCode::RateLimited
}

/// One number for each attempt at each task.
fn number(task: TaskIdx, attempt: Attempt) -> u64 {
    u64::from(task.as_u32()) << 32 | u64::from(attempt.0)
}

/// A number that looks like chance and is the same whenever it is asked for: the finaliser of
/// splitmix64 over what it is for.
pub(super) fn scatter(seed: u64, of: u64) -> u64 {
    let mut bits = seed ^ of.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OnFailure;

    fn policy() -> Policy {
        let retry = RetryPolicy::from(&RetrySpec { max_attempts: 20, ..RetrySpec::default() });
        let own = super::super::TaskPolicy { retry, ..Default::default() };
        Policy {
            workers_max: 1,
            on_failure: OnFailure::default(),
            timeout: Millis(1),
            tasks: vec![(TaskIdx::from_usize(0), own)],
            lanes: Vec::new(),
            claims: std::sync::Arc::default(),
            funds: crate::scheduler::Funds::default(),
            seed: 7,
        }
    }

    fn delay(n_failed: u32, failure: &Failure) -> Option<u64> {
        let trial = Trial { n_failed, ..Trial::default() };
        let of = (TaskIdx::from_usize(0), Attempt(n_failed + 1));
        Some(next_try(&policy(), &trial, of, failure, Millis(0))?.0)
    }

    #[test]
    fn waits_double_up_to_their_limit_and_half_of_each_is_chance() {
        let failure = Failure::new(FailureCode::Timeout, "late");
        for (n_failed, full) in [(0, 1_000), (1, 2_000), (4, 16_000), (5, 30_000), (18, 30_000)] {
            let delay = delay(n_failed, &failure).unwrap();
            assert!((full / 2..=full).contains(&delay), "{delay} after {n_failed}");
        }
        assert_eq!(delay(19, &failure), None);
        let ten = (0..10).map(|it| scatter(it, 1) % 500);
        assert!(ten.collect::<std::collections::BTreeSet<_>>().len() > 5);
    }

    #[test]
    fn what_the_upstream_asks_for_is_kept_up_to_an_hour() {
        let failure = |millis| Failure {
            retry_after_ms: Some(millis),
            ..Failure::new(FailureCode::RateLimited, "busy")
        };
        assert!((90_000..=90_500).contains(&delay(0, &failure(90_000)).unwrap()));
        assert!((3_600_000..=3_600_500).contains(&delay(0, &failure(u64::MAX)).unwrap()));
        assert!((500..=1_000).contains(&delay(0, &failure(0)).unwrap()));
    }

    #[test]
    fn only_what_is_named_is_tried_again() {
        assert_eq!(delay(0, &Failure::new(FailureCode::AgentError, "no")), None);
        let spec = RetrySpec { on: Some(vec![FailureCode::AgentError]), ..RetrySpec::default() };
        let retry = RetryPolicy::from(&spec);
        assert!(retry.on.contains(FailureCode::AgentError));
        assert!(!retry.on.contains(FailureCode::Timeout));
        let twice: CodeSet = [FailureCode::AgentError; 2].into_iter().collect();
        assert!(twice.contains(FailureCode::AgentError));
    }

    #[test]
    fn no_wait_ends_after_the_total_deadline() {
        let failure = Failure::new(FailureCode::Timeout, "late");
        let trial = Trial { total_deadline: Some(Millis(500)), ..Trial::default() };
        let of = (TaskIdx::from_usize(0), Attempt(1));
        assert_eq!(next_try(&policy(), &trial, of, &failure, Millis(0)), None);
    }
}

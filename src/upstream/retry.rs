//! When something that certainly did not reach an upstream is tried again.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::{Retry, UpstreamError, breaker::Verdict};
use crate::model::FailureCode;

/// The longest pause between two tries. What an upstream asks beyond that is for the scheduler,
/// which lets other tasks have the worker meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// One try that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: UpstreamError,
    pub(super) verdict: Verdict,
    /// It certainly did not arrive.
    pub(super) is_unsent: bool,
}

/// The tries of one call.
#[derive(Debug)]
pub(super) struct Tries {
    retry: Retry,
    n_made: u32,
    deadline: Instant,
}

impl Tries {
    /// Tries that end at `limit` from now.
    pub(super) fn new(retry: Retry, limit: Duration) -> Self {
        let now = Instant::now();
        // Longer than a day is as good as for ever.
        let deadline = now.checked_add(limit).unwrap_or(now + Duration::from_hours(24));
        Self { retry, n_made: 0, deadline }
    }

    /// How long to wait before the next try; nothing if there is none.
    pub(super) fn next(&mut self, failed: &Failed) -> Option<Duration> {
        if self.n_made >= self.retry.attempts_max {
            return None;
        }
        let asked = failed.error.retry_after_ms.map(Duration::from_millis);
        let is_turned_away = failed.error.kind == FailureCode::RateLimited && asked.is_some();
        if !failed.is_unsent && !is_turned_away {
            return None;
        }
        let asked = asked.unwrap_or_default();
        let pause = asked + self.backoff();
        let left = self.deadline.saturating_duration_since(Instant::now());
        if asked > PAUSE_MAX || pause >= left {
            return None;
        }
        self.n_made += 1;
        Some(pause)
    }

    /// Twice as long each time, the later half of it chance, so that not all come back at once.
    fn backoff(&self) -> Duration {
        let whole = self.retry.backoff.saturating_mul(1 << self.n_made.min(16)).min(PAUSE_MAX);
        let [chance, ..] = *Uuid::new_v4().as_bytes();
        whole / 2 + whole / 2 * u32::from(chance) / 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: FailureCode, is_unsent: bool, retry_after_ms: Option<u64>) -> Failed {
        let error = UpstreamError { retry_after_ms, ..UpstreamError::new(kind, "x") };
        Failed { error, verdict: Verdict::Unknown, is_unsent }
    }

    fn tries(attempts_max: u32) -> Tries {
        let backoff = Duration::from_millis(100);
        Tries::new(Retry { attempts_max, backoff }, Duration::from_secs(10))
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_and_end() {
        let mut tries = tries(3);
        let refused = failed(FailureCode::UpstreamUnavailable, true, None);
        for whole in [100, 200, 400] {
            let pause = tries.next(&refused).unwrap().as_millis();
            assert!((whole / 2..=whole).contains(&pause), "{pause}");
        }
        assert_eq!(tries.next(&refused), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_arrived_is_not_tried_again() {
        for kind in [FailureCode::UpstreamUnavailable, FailureCode::Timeout] {
            assert_eq!(tries(9).next(&failed(kind, false, None)), None);
        }
        let told = failed(FailureCode::UpstreamUnavailable, false, Some(100));
        assert_eq!(tries(9).next(&told), None);
        assert_eq!(tries(9).next(&failed(FailureCode::RateLimited, false, None)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_wait_that_was_asked_for_is_kept_and_a_long_one_is_the_schedulers() {
        let pause = |asked| tries(9).next(&failed(FailureCode::RateLimited, false, Some(asked)));
        let pause_ms = pause(2_000).unwrap().as_millis();
        assert!((2_050..=2_100).contains(&pause_ms), "{pause_ms}");
        assert!(pause(5_000).is_some());
        assert_eq!(pause(5_001), None);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_beyond_the_deadline() {
        let retry = Retry { attempts_max: 9, backoff: Duration::ZERO };
        let mut tries = Tries::new(retry, Duration::from_millis(999));
        let asked = failed(FailureCode::RateLimited, false, Some(1_000));
        assert_eq!(tries.next(&asked), None);
        let refused = failed(FailureCode::UpstreamUnavailable, true, None);
        assert_eq!(tries.next(&refused), Some(Duration::ZERO));
    }
}

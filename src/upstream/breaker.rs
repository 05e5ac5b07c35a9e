//! Keeps calls away from an upstream that fails again and again, until one probe succeeds.

use parking_lot::Mutex;

use super::BreakerSettings;
use crate::model::{FailureCode, Millis};

/// Each probe that fails doubles the pause, up to this, or what it begins with.
const PAUSE_MAX: Millis = Millis(30_000);

/// What an ended call says about the health of its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answered, be it with an error of its own.
    Healthy,
    /// It could not be reached, or broke off.
    Failed,
    /// Nothing: the call was given up, or the agent took too long.
    Unknown,
}

impl Verdict {
    /// What the way in which a call failed says.
    pub(super) fn of(code: FailureCode) -> Self {
        match code {
            FailureCode::UpstreamUnavailable => Self::Failed,
            FailureCode::Timeout
            | FailureCode::RateLimited
            | FailureCode::Cancelled
            | FailureCode::CircuitOpen
            | FailureCode::Interrupted => Self::Unknown,
            FailureCode::AgentError
            | FailureCode::UpstreamProtocol
            | FailureCode::UpstreamLimit
            | FailureCode::OutputInvalid
            | FailureCode::CheckFailed
            | FailureCode::DependencyFailed
            | FailureCode::ConditionUnmet
            | FailureCode::ConditionError
            | FailureCode::BudgetExceeded
            | FailureCode::Rejected
            | FailureCode::ContextUnavailable => Self::Healthy,
        }
    }
}

/// Closed: calls pass. Open: they are refused. Half open: one of them is the probe.
#[derive(Debug)]
pub(super) struct Breaker {
    failures_max: u32,
    pause_min: Millis,
    /// Guards the state for the moment of a look or a change.
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { n_failed: u32 },
    Open { until: Millis, pause: Millis },
    HalfOpen { pause: Millis },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { n_failed: 0 }
    }
}

/// The leave to make one call; a probe that is dropped without a verdict lets the next one probe.
#[derive(Debug)]
pub(super) struct Pass<'b> {
    breaker: &'b Breaker,
    is_probe: bool,
}

impl Breaker {
    pub(super) fn new(settings: BreakerSettings) -> Self {
        let pause_min = u64::try_from(settings.pause.as_millis()).unwrap_or(u64::MAX);
        Self {
            failures_max: settings.failures_max,
            pause_min: Millis(pause_min),
            state: Mutex::default(),
        }
    }

    /// How long calls are kept away from now, if they are.
    pub(super) fn is_open_for(&self, now: Millis) -> Option<Millis> {
        match *self.state.lock() {
            State::Open { until, .. } => Some(until.since(now)),
            State::HalfOpen { pause } => Some(pause),
            State::Closed { .. } => None,
        }
    }

    /// Lets a call through, or says for how long to stay away.
    pub(super) fn pass(&self, now: Millis) -> Result<Pass<'_>, Millis> {
        let mut state = self.state.lock();
        match *state {
            State::Closed { .. } => Ok(Pass { breaker: self, is_probe: false }),
            State::Open { until, pause } if until <= now => {
                *state = State::HalfOpen { pause };
                Ok(Pass { breaker: self, is_probe: true })
            }
            State::Open { until, .. } => Err(until.since(now)),
            State::HalfOpen { pause } => Err(pause),
        }
    }
}

impl Pass<'_> {
    /// Says how the call went; a late verdict on a call from before the breaker opened counts for
    /// nothing.
    pub(super) fn settle(mut self, verdict: Verdict, now: Millis) {
        let is_probe = std::mem::take(&mut self.is_probe);
        let mut state = self.breaker.state.lock();
        *state = match (*state, verdict) {
            (State::Closed { .. }, Verdict::Healthy) => State::default(),
            (State::Closed { n_failed }, Verdict::Failed)
                if n_failed + 1 >= self.breaker.failures_max =>
            {
                let pause = self.breaker.pause_min;
                State::Open { until: now + pause, pause }
            }
            (State::Closed { n_failed }, Verdict::Failed) => {
                State::Closed { n_failed: n_failed + 1 }
            }
            (State::HalfOpen { .. }, Verdict::Healthy) if is_probe => State::default(),
            (State::HalfOpen { pause }, Verdict::Failed) if is_probe => {
                let pause_max = PAUSE_MAX.max(self.breaker.pause_min);
                let pause = Millis(pause.0.saturating_mul(2)).min(pause_max);
                State::Open { until: now + pause, pause }
            }
            (State::HalfOpen { pause }, Verdict::Unknown) if is_probe => {
                State::Open { until: now, pause }
            }
            (state, _) => state,
        };
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            let mut state = self.breaker.state.lock();
            if let State::HalfOpen { pause } = *state {
                *state = State::Open { until: Millis(0), pause };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(breaker: &Breaker, now: u64, verdict: Verdict) {
        breaker.pass(Millis(now)).unwrap().settle(verdict, Millis(now));
    }

    fn opened() -> Breaker {
        let breaker = Breaker::new(BreakerSettings::default());
        (0..5).for_each(|_| settle(&breaker, 100, Verdict::Failed));
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_between_does_not_let_them() {
        let breaker = Breaker::new(BreakerSettings::default());
        for verdict in [Verdict::Failed, Verdict::Unknown, Verdict::Healthy] {
            (0..4).for_each(|_| settle(&breaker, 0, verdict));
        }
        (0..4).for_each(|_| settle(&breaker, 0, Verdict::Failed));
        settle(&breaker, 0, Verdict::Unknown);
        settle(&breaker, 0, Verdict::Failed);
        assert_eq!(breaker.pass(Millis(400)).unwrap_err(), Millis(600));
    }

    #[test]
    fn one_probe_is_let_through_and_its_success_closes_it() {
        let breaker = opened();
        assert_eq!(breaker.pass(Millis(1_099)).unwrap_err(), Millis(1));
        let probe = breaker.pass(Millis(1_100)).unwrap();
        assert_eq!(breaker.pass(Millis(1_100)).unwrap_err(), Millis(1_000));
        probe.settle(Verdict::Healthy, Millis(1_200));
        let (one, two) = (breaker.pass(Millis(1_200)), breaker.pass(Millis(1_200)));
        assert!(one.is_ok() && two.is_ok());
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_half_a_minute() {
        let breaker = opened();
        let mut now = 1_100;
        for pause in [2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            settle(&breaker, now, Verdict::Failed);
            assert_eq!(breaker.pass(Millis(now)).unwrap_err(), Millis(pause));
            now += pause;
        }
    }

    #[test]
    fn a_probe_that_says_nothing_leaves_the_next_call_to_probe() {
        let breaker = opened();
        drop(breaker.pass(Millis(1_100)).unwrap());
        breaker.pass(Millis(1_100)).unwrap().settle(Verdict::Unknown, Millis(1_100));
        settle(&breaker, 1_100, Verdict::Healthy);
        assert!(breaker.pass(Millis(1_100)).is_ok());
    }

    #[test]
    fn late_verdicts_on_old_calls_change_nothing() {
        let breaker = Breaker::new(BreakerSettings::default());
        let (old, other) = (breaker.pass(Millis(0)).unwrap(), breaker.pass(Millis(0)).unwrap());
        (0..5).for_each(|_| settle(&breaker, 100, Verdict::Failed));
        old.settle(Verdict::Healthy, Millis(200));
        assert!(breaker.pass(Millis(200)).is_err());
        let probe = breaker.pass(Millis(1_100)).unwrap();
        other.settle(Verdict::Failed, Millis(1_100));
        probe.settle(Verdict::Healthy, Millis(1_100));
        assert!(breaker.pass(Millis(1_100)).is_ok());
    }
}

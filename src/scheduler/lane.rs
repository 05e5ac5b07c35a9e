//! How many attempts an upstream gets at once of one agent, learned from what it turns away.

use super::retry::scatter;
use crate::model::{Failure, FailureCode, Millis};

/// The first wait after the upstream turned an attempt away; it doubles with each probe that fails.
const COOLDOWN: Millis = Millis(1_000);
/// The longest wait, unless the upstream asks for more.
const COOLDOWN_MAX: Millis = Millis(60_000);
/// For how long a probe must run to count as let in: upstreams turn away at the start.
const PROBE_PATIENCE: Millis = Millis(10_000);

/// The limiter of one lane: additive increase, multiplicative decrease. It limits nothing before
/// something was turned away.
///
/// ```text
/// open ── turned away: limit halved ──► cooling ── time ──► probing ──► open
///                                          ▲                   │
///                                          └── turned away ────┘
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limiter {
    /// How many may run at once; `u32::MAX` before anything was turned away.
    limit: u32,
    /// Whether nothing but a probe may start, and that only from `reopens_at` on.
    is_closed: bool,
    /// Attempts from before this say nothing about now.
    reopens_at: Millis,
    /// When the last attempt started that says something about now.
    probed_at: Millis,
    n_running: u32,
    /// How many of those started since `reopens_at`.
    n_fresh: u32,
    /// How many were served since the limit last changed, while it was reached.
    n_served: u32,
    /// How often in a row it closed without serving in between.
    n_closed: u32,
    seed: u64,
}

/// What the end of an attempt says about the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It had time for the attempt, whatever came of it.
    Served,
    /// It asked to come back later; in so many milliseconds, if it says that.
    TurnedAway(Option<u64>),
    /// Nothing.
    Unknown,
}

impl Limiter {
    /// A lane of which nothing is known. The chance in its waits is made of `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            limit: u32::MAX,
            is_closed: false,
            reopens_at: Millis(0),
            probed_at: Millis(0),
            n_running: 0,
            n_fresh: 0,
            n_served: 0,
            n_closed: 0,
            seed,
        }
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.limit != u32::MAX
    }

    /// How many more may start now; `u32::MAX` where there is no limit.
    pub(super) fn room(&self, now: Millis) -> u32 {
        match self.is_closed {
            _ if !self.is_limited() => u32::MAX,
            true if now < self.reopens_at => 0,
            true => 1_u32.saturating_sub(self.n_fresh),
            false => self.limit.saturating_sub(self.n_running),
        }
    }

    /// When the room grows next without an attempt ending, if that is after `now`.
    pub(super) fn wake_at(&self, now: Millis) -> Option<Millis> {
        let patience = (self.n_fresh > 0).then(|| self.probed_at + PROBE_PATIENCE);
        let at = [Some(self.reopens_at), patience].into_iter().flatten().find(|it| *it > now);
        at.filter(|_| self.is_closed)
    }

    /// Takes the passing of time: a probe that goes on was let in.
    pub(super) fn handle_timeout(&mut self, now: Millis) {
        let has_patience = now < self.probed_at + PROBE_PATIENCE;
        if self.n_fresh > 0 && now >= self.reopens_at && !has_patience {
            self.is_closed = false;
        }
    }

    /// Counts an attempt that was handed to the upstream.
    pub(super) fn start(&mut self, now: Millis) {
        self.n_running += 1;
        if now >= self.reopens_at {
            self.n_fresh += 1;
            self.probed_at = now;
        }
    }

    /// Takes the end of an attempt that started at `started`.
    pub(super) fn end(&mut self, now: Millis, started: Millis, verdict: Verdict) {
        let was_full = self.n_running >= self.limit;
        let is_fresh = started >= self.reopens_at;
        match verdict {
            Verdict::TurnedAway(retry_after) if is_fresh => self.close(now, retry_after),
            // It was under way when others were turned away, and brings no news but the date.
            Verdict::TurnedAway(Some(retry_after)) if self.is_closed => {
                self.close_until(now + Millis(retry_after));
            }
            Verdict::Served if is_fresh => self.serve(was_full),
            Verdict::TurnedAway(_) | Verdict::Served | Verdict::Unknown => (),
        }
        self.n_running = self.n_running.saturating_sub(1);
        if started >= self.reopens_at {
            self.n_fresh = self.n_fresh.saturating_sub(1);
        }
    }

    fn serve(&mut self, was_full: bool) {
        self.is_closed = false;
        self.n_closed = 0;
        if self.is_limited() && was_full {
            self.n_served += 1;
            if self.n_served >= self.limit {
                self.limit += 1;
                self.n_served = 0;
            }
        }
    }

    /// That a single probe was turned away says nothing about how many are too many, so the limit
    /// stays then; only the wait doubles.
    fn close(&mut self, now: Millis, retry_after: Option<u64>) {
        if !self.is_closed {
            self.limit = (self.limit.min(self.n_running) / 2).max(1);
            self.n_served = 0;
        }
        let factor = 1_u64.checked_shl(self.n_closed).unwrap_or(u64::MAX);
        let full = COOLDOWN.0.saturating_mul(factor).min(COOLDOWN_MAX.0);
        let chance = scatter(self.seed, now.0) % (full / 2 + 1);
        let certain = (full - full / 2).max(retry_after.unwrap_or(0));
        self.n_closed = self.n_closed.saturating_add(1);
        self.is_closed = true;
        self.close_until(now + Millis(certain + chance));
    }

    fn close_until(&mut self, at: Millis) {
        if at > self.reopens_at {
            self.reopens_at = at;
            self.n_fresh = 0;
        }
    }
}

impl Verdict {
    /// What the end of an attempt says about the upstream that it comes from.
    pub fn of(result: Result<(), &Failure>) -> Self {
        let Err(failure) = result else { return Self::Served };
        match failure.code {
            FailureCode::RateLimited => Self::TurnedAway(failure.retry_after_ms),
            FailureCode::AgentError | FailureCode::UpstreamLimit => Self::Served,
            FailureCode::Timeout
            | FailureCode::UpstreamUnavailable
            | FailureCode::UpstreamProtocol
            | FailureCode::CircuitOpen
            | FailureCode::OutputInvalid
            | FailureCode::CheckFailed
            | FailureCode::DependencyFailed
            | FailureCode::ConditionUnmet
            | FailureCode::ConditionError
            | FailureCode::BudgetExceeded
            | FailureCode::Rejected
            | FailureCode::Cancelled
            | FailureCode::Interrupted
            | FailureCode::ContextUnavailable => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use expect_test::{Expect, expect};

    use super::*;

    /// Plays `script`, one `TIME WHAT` a line, and shows the room after each; `start N`, and the
    /// ends `served N`, `away N [MS]`, `unknown N`, each of the N attempts that run longest.
    #[track_caller]
    fn check(script: &str, expected: &Expect) {
        let (mut limiter, mut running, mut log) = (Limiter::new(1), Vec::new(), String::new());
        for line in script.lines().map(str::trim) {
            let words: Vec<_> = line.split_whitespace().collect();
            let number = |at: usize| words.get(at).map(|it| it.parse::<u64>().unwrap());
            let now = Millis(number(0).unwrap());
            limiter.handle_timeout(now);
            for _ in 0..number(2).unwrap_or(0) {
                let verdict = match words[1] {
                    "start" => {
                        limiter.start(now);
                        running.push(now);
                        continue;
                    }
                    "served" => Verdict::Served,
                    "away" => Verdict::TurnedAway(number(3)),
                    _ => Verdict::Unknown,
                };
                limiter.end(now, running.remove(0), verdict);
            }
            let room = match limiter.room(now) {
                u32::MAX => "no limit".to_owned(),
                room => format!("room {room}"),
            };
            let wake = limiter.wake_at(now).map_or(String::new(), |it| format!(", wake {}", it.0));
            writeln!(log, "{line}: {room}{wake}").unwrap();
        }
        expected.assert_eq(&log);
    }

    #[test]
    fn there_is_no_limit_before_something_is_turned_away() {
        check(
            "0 start 5000
             9 served 4999
             9 unknown 1",
            &expect![[r"
                0 start 5000: no limit
                9 served 4999: no limit
                9 unknown 1: no limit
            "]],
        );
    }

    #[test]
    fn those_that_are_turned_away_together_halve_the_limit_once() {
        check(
            "0 start 8
             10 away 6
             20 served 2
             2000 start 1
             2010 served 1",
            &expect![[r"
                0 start 8: no limit
                10 away 6: room 0, wake 610
                20 served 2: room 0, wake 610
                2000 start 1: room 0, wake 12000
                2010 served 1: room 4
            "]],
        );
    }

    #[test]
    fn the_limit_grows_by_one_for_as_many_as_it_is_while_it_is_reached() {
        check(
            "0 start 4
             1 away 1
             2 served 3
             2000 start 1
             2001 served 1
             2002 start 2
             2003 served 1
             2003 start 1
             2004 served 1
             2005 served 1
             2006 start 1
             2007 served 1",
            &expect![[r"
                0 start 4: no limit
                1 away 1: room 0, wake 530
                2 served 3: room 0, wake 530
                2000 start 1: room 0, wake 12000
                2001 served 1: room 2
                2002 start 2: room 0
                2003 served 1: room 1
                2003 start 1: room 0
                2004 served 1: room 2
                2005 served 1: room 3
                2006 start 1: room 2
                2007 served 1: room 3
            "]],
        );
    }

    #[test]
    fn the_wait_is_what_the_upstream_asks_for_and_one_probe_follows() {
        check(
            "0 start 3
             5 away 1 90000
             6 away 1 100000
             89999 look
             100006 look
             100006 start 1
             100007 served 1
             100008 served 1",
            &expect![[r"
                0 start 3: no limit
                5 away 1 90000: room 0, wake 90329
                6 away 1 100000: room 0, wake 100006
                89999 look: room 0, wake 100006
                100006 look: room 1
                100006 start 1: room 0, wake 110006
                100007 served 1: room 0, wake 110006
                100008 served 1: room 2
            "]],
        );
    }

    #[test]
    fn the_wait_doubles_while_probes_are_turned_away_up_to_a_minute() {
        check(
            "0 start 8
             0 away 8
             1000 start 1
             1000 away 1
             3000 start 1
             3000 away 1
             7000 start 1
             7000 away 1
             100000 start 1
             100000 away 1
             200000 start 1
             200000 away 1
             300000 start 1
             300000 away 1
             400000 start 1
             400000 served 1
             400001 start 4
             400002 away 4",
            &expect![[r"
                0 start 8: no limit
                0 away 8: room 0, wake 855
                1000 start 1: room 0, wake 11000
                1000 away 1: room 0, wake 2531
                3000 start 1: room 0, wake 13000
                3000 away 1: room 0, wake 6740
                7000 start 1: room 0, wake 17000
                7000 away 1: room 0, wake 14604
                100000 start 1: room 0, wake 110000
                100000 away 1: room 0, wake 111623
                200000 start 1: room 0, wake 210000
                200000 away 1: room 0, wake 230264
                300000 start 1: room 0, wake 310000
                300000 away 1: room 0, wake 349441
                400000 start 1: room 0, wake 410000
                400000 served 1: room 4
                400001 start 4: room 0
                400002 away 4: room 0, wake 400861
            "]],
        );
    }

    #[test]
    fn a_probe_that_says_nothing_is_followed_by_another() {
        check(
            "0 start 4
             0 away 4
             1000 start 1
             1010 unknown 1
             1010 start 1
             1020 served 1",
            &expect![[r"
                0 start 4: no limit
                0 away 4: room 0, wake 855
                1000 start 1: room 0, wake 11000
                1010 unknown 1: room 1
                1010 start 1: room 0, wake 11010
                1020 served 1: room 2
            "]],
        );
    }

    #[test]
    fn a_probe_that_takes_long_was_let_in() {
        check(
            "0 start 4
             0 away 4
             1000 start 1
             10999 look
             11000 look
             12000 served 1",
            &expect![[r"
                0 start 4: no limit
                0 away 4: room 0, wake 855
                1000 start 1: room 0, wake 11000
                10999 look: room 0, wake 11000
                11000 look: room 1
                12000 served 1: room 2
            "]],
        );
    }

    #[test]
    fn old_news_moves_no_date_once_it_is_open_again() {
        check(
            "0 start 3
             1 away 1
             1000 start 1
             11000 look
             11001 away 1 50000
             11002 away 1 50000
             11003 away 1",
            &expect![[r"
                0 start 3: no limit
                1 away 1: room 0, wake 530
                1000 start 1: room 0, wake 11000
                11000 look: room 0
                11001 away 1 50000: room 0
                11002 away 1 50000: room 0
                11003 away 1: room 0, wake 12630
            "]],
        );
    }

    #[test]
    fn who_asks_for_no_time_lets_no_second_probe_in() {
        check(
            "0 start 3
             5 away 1 90000
             90329 start 1
             90329 away 1 0",
            &expect![[r"
                0 start 3: no limit
                5 away 1 90000: room 0, wake 90329
                90329 start 1: room 0, wake 100329
                90329 away 1 0: room 0, wake 100329
            "]],
        );
    }
}

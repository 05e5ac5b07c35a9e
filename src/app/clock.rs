//! The machine's clock: wall time at the start, monotonic from there.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::{model::Millis, ports::Clock};

/// A clock that follows the machine's, and does not jump when that one is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemClock {
    started: Instant,
    started_at: Millis,
}

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter of the clock port")]
    pub(super) fn start() -> Self {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis = since_epoch.unwrap_or_default().as_millis();
        Self { started: Instant::now(), started_at: Millis(u64::try_from(millis).unwrap_or(0)) }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let elapsed = self.started.elapsed().as_millis();
        self.started_at + Millis(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()> {
        // One more, because `now` rounds down.
        let span = Duration::from_millis(at.since(self.started_at).0.saturating_add(1));
        let until = self.started.checked_add(span);
        Box::pin(async move {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        })
    }
}

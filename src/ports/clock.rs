//! Time from outside, so that tests can hold it still.

use std::fmt::Debug;

use futures::future::BoxFuture;

use crate::model::Millis;

/// A clock that never goes back.
pub trait Clock: Debug + Send + Sync {
    /// The time now, in milliseconds since 1970.
    fn now(&self) -> Millis;

    /// Waits until `at`; returns at once if it has passed.
    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()>;
}

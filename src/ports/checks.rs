//! Commands of the settings that say whether work is good.

use std::{fmt::Debug, time::Duration};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// How a check is run.
#[derive(Clone, Debug)]
pub struct CheckCall {
    /// Its name in the settings.
    pub name: String,
    /// How long it may take at most; the settings may say less.
    pub timeout: Duration,
    /// When it is to stop.
    pub cancelled: CancellationToken,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckOutcome {
    /// Whether its command ended with exit code 0.
    pub ok: bool,
    /// How it ended, and the end of what it said; for people.
    pub detail: String,
}

/// Runs checks. What they are comes from the settings alone.
pub trait Checks: Debug + Send + Sync {
    /// Runs one to its end; a name that is not known is a check that failed.
    fn run(&self, call: CheckCall) -> BoxFuture<'_, CheckOutcome>;
}

//! The checks of the settings: commands whose exit code says whether work is good.

use futures::future::BoxFuture;

use crate::ports::{CheckCall, CheckOutcome, Checks};

/// The checks of the settings, by name.
#[derive(Debug, Default)]
pub struct CheckCommands {}

impl Checks for CheckCommands {
    fn run(&self, call: CheckCall) -> BoxFuture<'_, CheckOutcome> {
        let detail = format!("the settings have no check \"{}\" any more", call.name);
        Box::pin(async move { CheckOutcome { ok: false, detail } })
    }
}

//! Whether there is room for another dispatch.

use super::dispatcher::Dispatcher;
use crate::model::{ErrorCode, Identity, Refusal, Sees};

/// When it is worth asking again, in milliseconds.
const RETRY_AFTER_MS: u64 = 1_000;

impl Dispatcher {
    /// Refuses where as many are open as may be, or as many of one caller who sees only their own:
    /// they have at most half of the room, for others cannot even see what takes it.
    pub(super) fn check_room(&self, caller: Option<&Identity>) -> Result<(), Refusal> {
        let n_open = self.lives.len();
        if n_open >= self.dispatches_open_max {
            let message = format!("{n_open} dispatches are open, as many as may be");
            return Err(busy(&message));
        }
        let share = self.dispatches_open_max.div_ceil(2);
        let Some(caller) = caller.filter(|it| it.sees() == Sees::Own && n_open >= share) else {
            return Ok(());
        };
        let is_own =
            |it: &Option<Identity>| it.as_ref().is_some_and(|it| it.name() == caller.name());
        let n_own = self.lives.values().filter(|it| is_own(&it.meta.caller)).count();
        if n_own >= share {
            let message = format!("{n_own} of your dispatches are open, as many as may be");
            return Err(busy(&message));
        }
        Ok(())
    }
}

fn busy(message: &str) -> Refusal {
    let hint = "wait for one to end, or cancel one";
    Refusal::of(ErrorCode::Busy, "", message, hint).retry_after(RETRY_AFTER_MS)
}

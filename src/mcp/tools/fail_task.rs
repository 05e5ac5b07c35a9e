//! `fail_task`: takes a worker's word that a task could not be done.

use crate::{
    mcp::catalog::{Effect, Entry},
    model::{FailRequest, HandedIn, Refusal, json::Json},
    plan,
    runtime::DispatcherHandle,
};

pub(super) const NAME: &str = "fail_task";

pub(super) fn entry() -> Entry {
    Entry::new::<FailRequest, HandedIn>(
        NAME,
        "Fail task",
        Effect::Works,
        "For workers: say that the task of this lease could not be done, and why. The code says \
         what kind of failure it is (agent_error unless set; interrupted if you only have to \
         stop), and so whether the task's retry tries again. Refused with lease_lost when the task \
         is not yours any more.",
    )
}

pub(super) fn call(handle: &DispatcherHandle, args: &Json<'_>) -> Result<HandedIn, Refusal> {
    handle.fail_task(plan::check_fail(args)?)
}

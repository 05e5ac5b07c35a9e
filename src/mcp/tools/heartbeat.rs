//! `heartbeat`: keeps a worker's lease.

use crate::{
    mcp::catalog::{Effect, Entry},
    model::{HeartbeatRequest, LeaseReport, Refusal, json::Json},
    plan,
    runtime::DispatcherHandle,
};

pub(super) const NAME: &str = "heartbeat";

pub(super) fn entry() -> Entry {
    Entry::new::<HeartbeatRequest, LeaseReport>(
        NAME,
        "Heartbeat",
        Effect::Steers,
        "For workers: say that you still work at the task of this lease, and learn until when it \
         is yours now. Refused with lease_lost when it is not yours any more, because heartbeats \
         were missed or the task was cancelled: then stop working at it and claim another.",
    )
}

pub(super) fn call(handle: &DispatcherHandle, args: &Json<'_>) -> Result<LeaseReport, Refusal> {
    handle.heartbeat(plan::check_heartbeat(args)?)
}

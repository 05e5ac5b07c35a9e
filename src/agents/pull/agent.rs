//! An agent whose work is done by whichever worker claims it.

use futures::future::BoxFuture;
use serde_json::Value;

use super::{
    board::{Lease, Standing, Work, traced},
    workers::{Offered, PullWorkers},
};
use crate::{
    model::{AgentName, Failure, FailureCode, Lineage, Millis, Timestamp, UpstreamCall, text},
    ports::{AgentBackend, AttemptCall, CallLog},
};

/// What workers stand under in traces, where calls have the name of their upstream.
const WORKERS: &str = "workers";

/// Offers its attempts to workers, and waits for what they hand in.
#[derive(Debug)]
pub(super) struct PullAgent {
    heartbeat: Millis,
    workers: PullWorkers,
    lane: String,
}

/// What ends an attempt that no worker ended.
enum End {
    GivenUp,
    Late,
}

/// Where the calls of one attempt are noted.
struct Notes {
    calls: CallLog,
    request_bytes: u64,
    trace: Option<Lineage>,
}

impl PullAgent {
    pub(super) fn new(agent: &AgentName, heartbeat: Millis, workers: PullWorkers) -> Self {
        Self { heartbeat, workers, lane: format!("{WORKERS}/{agent}") }
    }

    async fn attempt(&self, call: AttemptCall) -> Result<Value, Failure> {
        let AttemptCall { cancelled, calls, heartbeat, timeout, .. } = call;
        let clock = self.workers.clock();
        let patience = Millis(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let work = Work {
            dispatch_id: call.dispatch_id,
            task_id: call.task_id,
            attempt: call.attempt,
            agent: call.agent,
            description: call.description,
            input: call.input,
            heartbeat: self.heartbeat,
            deadline: clock.now() + patience,
            trace: call.trace,
        };
        let (deadline, notes) = (work.deadline, Notes::new(calls, &work));
        let offered = self.workers.offer(work, heartbeat);
        let end = tokio::select! {
            // What was handed in in the last moment counts.
            biased;
            result = ended(&offered, &notes, self) => return result,
            () = cancelled.cancelled() => End::GivenUp,
            () = clock.sleep_until(deadline) => End::Late,
        };
        let holder = offered.withdraw();
        if let Some(lease) = &holder {
            let what = "the attempt ended before the worker's work did";
            notes.note(lease, clock.now(), Err((FailureCode::Cancelled, what)));
        }
        Err(match end {
            End::GivenUp => Failure::new(FailureCode::Cancelled, "the attempt was given up"),
            End::Late => late(patience, holder.as_ref()),
        })
    }
}

/// Waits for a worker's result; leases that lapse meanwhile are noted.
async fn ended(offered: &Offered<'_>, notes: &Notes, agent: &PullAgent) -> Result<Value, Failure> {
    loop {
        let standing = offered.next().await;
        let now = agent.workers.clock().now();
        match standing {
            Standing::Ended(lease, result) => {
                notes.note(&lease, now, result.as_ref().map_err(|it| (it.code, &*it.message)));
                return result;
            }
            Standing::Requeued(lease) => {
                let what = "the lease lapsed: no heartbeat came in time";
                notes.note(&lease, now, Err((FailureCode::Timeout, what)));
            }
            Standing::Waiting | Standing::Leased(_) => (),
            Standing::Gone => {
                return Err(Failure::new(FailureCode::Interrupted, "it was taken off the board"));
            }
        }
    }
}

/// Why nothing was handed in in time.
fn late(patience: Millis, holder: Option<&Lease>) -> Failure {
    let seconds = patience.seconds();
    let message = match holder {
        Some(lease) => {
            let worker = text::escape(&lease.worker);
            format!("worker \"{worker}\" claimed it and was not done after {seconds} s in all")
        }
        None => format!("no worker claimed it, or none that stayed, within {seconds} s"),
    };
    Failure::new(FailureCode::Timeout, message)
}

impl AgentBackend for PullAgent {
    fn run(&self, call: AttemptCall) -> BoxFuture<'_, Result<Value, Failure>> {
        Box::pin(self.attempt(call))
    }

    fn lane(&self) -> &str {
        &self.lane
    }
}

impl Notes {
    fn new(calls: CallLog, work: &Work) -> Self {
        Self { calls, request_bytes: n_bytes(&work.input), trace: work.trace.clone() }
    }

    /// Notes what came of one worker's claim.
    fn note(&self, lease: &Lease, now: Millis, result: Result<&Value, (FailureCode, &str)>) {
        let call = UpstreamCall {
            upstream: WORKERS.to_owned(),
            tool: lease.worker.to_string(),
            at: Timestamp(lease.since),
            duration_ms: now.since(lease.since).0,
            ok: result.is_ok(),
            error: result.err().map(|it| it.1.to_owned()),
            code: result.err().map(|it| it.0),
            span_id: traced(self.trace.as_ref(), lease.id).1,
            request_bytes: self.request_bytes,
            response_bytes: result.map_or(0, n_bytes),
            usage: None,
        };
        if self.calls.send(call).is_err() {
            tracing::trace!(worker = %text::escape(&lease.worker), "nobody notes the claim");
        }
    }
}

fn n_bytes(value: &impl serde::Serialize) -> u64 {
    serde_json::to_vec(value).map_or(0, |it| it.len() as u64)
}

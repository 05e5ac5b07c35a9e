//! Reads the arguments of the tools for workers that pull.

use super::{
    call::{finish, read_uuid},
    faults::{Faults, Place, list_words, quote},
    fields::{self, Blank, Fields, Object},
};
use crate::model::{
    AgentName, ClaimRequest, CompleteRequest, ErrorCode, FailRequest, FailureCode,
    HeartbeatRequest, LeaseId, Refusal, json::Json, text,
};

pub(super) static CLAIM: Fields<3> = Fields {
    names: ["worker", "agents", "wait_ms"],
    alias: None,
    hint: "claim_task takes worker, agents, wait_ms",
};

pub(super) static HEARTBEAT: Fields<1> =
    Fields { names: ["lease"], alias: None, hint: "heartbeat takes lease" };

pub(super) static COMPLETE: Fields<2> =
    Fields { names: ["lease", "output"], alias: None, hint: "complete_task takes lease, output" };

pub(super) static FAIL: Fields<3> = Fields {
    names: ["lease", "message", "code"],
    alias: None,
    hint: "fail_task takes lease, message, code",
};

/// Checks the arguments of `claim_task`; `agents` are those whose workers pull.
pub fn check_claim(args: &Json<'_>, agents: &[AgentName]) -> Result<ClaimRequest, Refusal> {
    let mut faults = Faults::default();
    let root = Place::ROOT;
    let Some(object) = CLAIM.read(args, &root, &mut faults) else { return Err(finish(faults)) };
    let [at_worker, _, at_wait] = CLAIM.names.map(|it| root.key(it));
    let longest = ClaimRequest::WORKER_CHARS_MAX;
    let worker = object
        .require(0, &root, "say what the worker is called", &mut faults)
        .and_then(|it| fields::text(it, &at_worker, Blank::Refused, longest, &mut faults));
    let named = object.get(1).map(|it| read_agents(it, agents, &mut faults));
    let range = (0, ClaimRequest::WAIT_MS_MAX);
    let wait_ms = object.get(2).and_then(|it| fields::integer(it, &at_wait, range, &mut faults));
    match worker {
        Some(worker) if faults.count() == 0 => {
            Ok(ClaimRequest { worker: worker.to_owned(), agents: named, wait_ms })
        }
        _ => Err(finish(faults)),
    }
}

/// Checks the arguments of `heartbeat`.
pub fn check_heartbeat(args: &Json<'_>) -> Result<HeartbeatRequest, Refusal> {
    let mut faults = Faults::default();
    let object = HEARTBEAT.read(args, &Place::ROOT, &mut faults);
    match object.and_then(|it| require_lease(&it, &mut faults)) {
        Some(lease) if faults.count() == 0 => Ok(HeartbeatRequest { lease }),
        _ => Err(finish(faults)),
    }
}

/// Checks the arguments of `complete_task`.
pub fn check_complete(args: &Json<'_>) -> Result<CompleteRequest, Refusal> {
    let mut faults = Faults::default();
    let root = Place::ROOT;
    let Some(object) = COMPLETE.read(args, &root, &mut faults) else { return Err(finish(faults)) };
    let lease = require_lease(&object, &mut faults);
    let hint = "say what came out, such as {\"summary\": \"…\"}";
    let output = object.require(1, &root, hint, &mut faults);
    match (lease, output) {
        (Some(lease), Some(output)) if faults.count() == 0 => {
            Ok(CompleteRequest { lease, output: output.to_value() })
        }
        _ => Err(finish(faults)),
    }
}

/// Checks the arguments of `fail_task`.
pub fn check_fail(args: &Json<'_>) -> Result<FailRequest, Refusal> {
    let mut faults = Faults::default();
    let root = Place::ROOT;
    let Some(object) = FAIL.read(args, &root, &mut faults) else { return Err(finish(faults)) };
    let [_, at_message, at_code] = FAIL.names.map(|it| root.key(it));
    let lease = require_lease(&object, &mut faults);
    let longest = FailRequest::MESSAGE_CHARS_MAX;
    let message = object
        .require(1, &root, "say why it could not be done", &mut faults)
        .and_then(|it| fields::text(it, &at_message, Blank::Refused, longest, &mut faults));
    let words = FailRequest::CODES.map(FailureCode::as_str);
    let code = object
        .get(2)
        .and_then(|it| fields::word(it, &at_code, &words, &mut faults))
        .and_then(|word| FailRequest::CODES.into_iter().find(|it| it.as_str() == word));
    match (lease, message) {
        (Some(lease), Some(message)) if faults.count() == 0 => {
            Ok(FailRequest { lease, message: message.to_owned(), code })
        }
        _ => Err(finish(faults)),
    }
}

fn require_lease<const N: usize>(
    object: &Object<'_, '_, N>,
    faults: &mut Faults,
) -> Option<LeaseId> {
    let hint = "claim_task answers the lease of the task that it gives";
    let json = object.require(0, &Place::ROOT, hint, faults)?;
    read_uuid(json, &Place::ROOT.key("lease"), ErrorCode::LeaseLost, hint, faults)
}

fn read_agents(json: &Json<'_>, known: &[AgentName], faults: &mut Faults) -> Vec<AgentName> {
    let place = Place::ROOT.key("agents");
    let items = fields::list(json, &place, faults).unwrap_or_default();
    if items.is_empty() && matches!(json, Json::Array(_)) {
        let what = format_args!("must name at least one agent");
        faults.add(|| place.fault(ErrorCode::EmptyValue, what, "leave it out to mean all"));
    }
    let read = |(at, it): (usize, &Json<'_>)| {
        let place = place.index(at);
        let name = fields::text(it, &place, Blank::Refused, fields::TEXT_CHARS_MAX, faults)?;
        let agent = AgentName::new(name);
        if !known.contains(&agent) {
            let words: Vec<&str> = known.iter().map(AgentName::as_str).collect();
            let guess = text::did_you_mean(name, words.iter().copied());
            let what = format_args!("names no agent whose workers pull: {}{guess}", quote(name));
            let hint = format!("workers pull tasks of {}", list_words(&words));
            faults.add(|| place.fault(ErrorCode::UnknownAgent, what, &hint));
        }
        Some(agent)
    };
    items.iter().enumerate().filter_map(read).collect()
}

//! Reads a task's `approval`.

use super::{
    faults::{Faults, Place, quote},
    fields::{self, Blank, Fields},
};
use crate::model::{ApprovalSpec, ErrorCode, json::Json};

pub(super) static APPROVAL: Fields<3> = Fields {
    names: ["message", "decisions", "timeout_seconds"],
    alias: None,
    hint: "approval takes message, decisions, timeout_seconds",
};

const DECISION_HINT: &str = "use 1 to 64 letters, digits, dots, dashes and underscores";

/// Reads `approval`; what is left out has its default.
pub(super) fn read(
    json: &Json<'_>,
    place: &Place<'_>,
    faults: &mut Faults,
) -> Option<ApprovalSpec> {
    let object = APPROVAL.read(json, place, faults)?;
    let [message, decisions, timeout] = APPROVAL.names.map(|it| place.key(it));
    let chars_max = ApprovalSpec::MESSAGE_CHARS_MAX;
    let asked = object
        .require(0, place, "say what is to be decided", faults)
        .and_then(|it| fields::text(it, &message, Blank::Refused, chars_max, faults));
    let words = object.get(1).map(|it| read_decisions(it, &decisions, faults));
    let timeout_seconds = object
        .get(2)
        .and_then(|it| fields::seconds(it, &timeout, ApprovalSpec::TIMEOUT_SECONDS_MAX, faults));
    Some(ApprovalSpec {
        message: asked?.to_owned(),
        decisions: words.unwrap_or_else(|| {
            [ApprovalSpec::APPROVE, ApprovalSpec::REJECT].map(str::to_owned).to_vec()
        }),
        timeout_seconds: timeout_seconds.unwrap_or(ApprovalSpec::TIMEOUT_SECONDS_DEFAULT),
    })
}

/// Whether what changes a task takes its approval away, by null. Elsewhere null says nothing.
pub(super) fn is_removed(change: &Json<'_>) -> bool {
    let Json::Object(fields) = change else { return false };
    fields.iter().any(|it| it.0 == "approval" && it.1 == Json::Null)
}

fn read_decisions(json: &Json<'_>, place: &Place<'_>, faults: &mut Faults) -> Vec<String> {
    let Some(items) = fields::list(json, place, faults) else { return Vec::new() };
    if items.len() > ApprovalSpec::DECISIONS_MAX {
        let what = format_args!("must name at most {} decisions", ApprovalSpec::DECISIONS_MAX);
        faults.add(|| place.fault(ErrorCode::LimitExceeded, what, "offer fewer to choose from"));
        return Vec::new();
    }
    let mut words: Vec<String> = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let place = place.index(at);
        let longest = ApprovalSpec::DECISION_CHARS_MAX;
        let Some(word) = fields::text(item, &place, Blank::Refused, longest, faults) else {
            continue;
        };
        if !ApprovalSpec::is_decision(word) {
            let what = format_args!("must be one plain word, not {}", quote(word));
            faults.add(|| place.fault(ErrorCode::InvalidEnum, what, DECISION_HINT));
        } else if words.iter().any(|it| it == word) {
            let what = format_args!("names {} again", quote(word));
            faults.add(|| place.fault(ErrorCode::DuplicateField, what, "name each once"));
        } else {
            words.push(word.to_owned());
        }
    }
    let is_hopeless = items.is_empty() || words.iter().all(|it| it == ApprovalSpec::REJECT);
    if is_hopeless && words.len() == items.len() {
        let what = format_args!("must name a decision other than {:?}", ApprovalSpec::REJECT);
        let hint = "leave it out to mean [\"approve\", \"reject\"]";
        faults.add(|| place.fault(ErrorCode::EmptyValue, what, hint));
    }
    words
}

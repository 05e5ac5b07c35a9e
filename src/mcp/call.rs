//! One call of a tool that waits, with what earlier rounds of it left behind, and what it comes to.
//!
//! Since 2026-07-28 a server asks its client by answering: the client calls again with the answers
//! and the state that it was given. That state is a stranger's word: it says no more than which
//! dispatch the call had made and what not to ask again, so that somebody who makes one up gets
//! what `get_result` gives them.

use std::{collections::BTreeSet, fmt::Write as _};

use rmcp::{
    ErrorData, RoleServer,
    model::{CreateTaskResult, InputRequiredResult, InputResponses, JsonObject},
    service::RequestContext,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    model::{DispatchId, DispatchResult, TaskIdx},
    runtime::Ticket,
};

/// Clients follow ten rounds at most; the last answers must be results.
const ROUNDS_MAX: u32 = 8;
/// The longest wait that a state may ask for, in milliseconds.
const WAIT_MS_MAX: u64 = 600_000;
/// How a state begins that this version has written.
const VERSION: &str = "pd1";

/// A call as its tool sees it.
pub(super) struct Call<'a> {
    pub(super) context: &'a RequestContext<RoleServer>,
    pub(super) round: Round,
    digest: Digest<'a>,
}

/// What a tool that waits comes to.
pub(super) enum Outcome {
    /// What is there when the wait is over.
    Result(Box<DispatchResult>),
    /// The client comes back to ask.
    Task(CreateTaskResult),
    /// The client answers questions and calls again.
    Asks(InputRequiredResult),
}

/// Where a call stands that may have been made before.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Round {
    before: Option<Before>,
    /// What the client answered.
    pub(super) responses: InputResponses,
}

/// What an earlier round left behind.
#[derive(Clone, Debug, PartialEq)]
struct Before {
    dispatch: DispatchId,
    wait_ms: u64,
    number: u32,
    left: BTreeSet<TaskIdx>,
}

/// What a call asks for, in few letters.
#[derive(Clone, Copy)]
struct Digest<'a> {
    tool: &'a str,
    arguments: &'a JsonObject,
}

impl<'a> Call<'a> {
    /// Reads what the client says about earlier rounds of this call. `arguments` are of bounded
    /// depth.
    pub(super) fn open(
        (tool, arguments): (&'a str, &'a JsonObject),
        (responses, state): (Option<InputResponses>, Option<String>),
        context: &'a RequestContext<RoleServer>,
    ) -> Result<Self, ErrorData> {
        let digest = Digest { tool, arguments };
        let round = Round::open(responses, state, || digest.write())?;
        Ok(Self { context, round, digest })
    }

    /// The state with which this call goes on once questions about `ticket` are answered.
    pub(super) fn next_state(&self, ticket: Ticket, left: &BTreeSet<TaskIdx>) -> String {
        let number = self.round.number() + 1;
        let Ticket { dispatch, wait_ms } = ticket;
        let before = Before { dispatch, wait_ms, number, left: left.clone() };
        before.write(&self.digest.write())
    }
}

impl Round {
    fn open(
        responses: Option<InputResponses>,
        state: Option<String>,
        digest: impl FnOnce() -> String,
    ) -> Result<Self, ErrorData> {
        let responses = responses.unwrap_or_default();
        let before = match state {
            Some(state) => Some(Before::read(&state, &digest()).ok_or_else(not_ours)?),
            // Without it this would be another dispatch.
            None if !responses.is_empty() => return Err(not_ours()),
            None => None,
        };
        Ok(Self { before, responses })
    }

    /// The dispatch that an earlier round of the call made.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        self.before.as_ref().map(|it| Ticket { dispatch: it.dispatch, wait_ms: it.wait_ms })
    }

    /// What was asked in vain in earlier rounds.
    pub(super) fn left(&self) -> BTreeSet<TaskIdx> {
        self.before.as_ref().map(|it| it.left.clone()).unwrap_or_default()
    }

    /// Whether the client may be asked once more.
    pub(super) fn may_ask(&self) -> bool {
        self.number() < ROUNDS_MAX
    }

    fn number(&self) -> u32 {
        self.before.as_ref().map_or(0, |it| it.number)
    }
}

impl Before {
    fn write(&self, digest: &str) -> String {
        let Self { dispatch, wait_ms, number, left } = self;
        let left: Vec<_> = left.iter().map(|it| it.as_usize().to_string()).collect();
        format!("{VERSION}.{dispatch}.{wait_ms}.{number}.{}.{digest}", left.join("-"))
    }

    fn read(state: &str, digest: &str) -> Option<Self> {
        let fields: Vec<_> = state.split('.').collect();
        let [VERSION, dispatch, wait_ms, number, left, of] = fields[..] else { return None };
        let place = |it: &str| Some(TaskIdx::from_usize(it.parse::<u32>().ok()? as usize));
        let left = left.split('-').filter(|it| !it.is_empty()).map(place);
        let before = Self {
            dispatch: dispatch.parse().ok()?,
            wait_ms: wait_ms.parse().ok().filter(|it| *it <= WAIT_MS_MAX)?,
            number: number.parse().ok()?,
            left: left.collect::<Option<_>>()?,
        };
        (of == digest).then_some(before)
    }
}

impl Digest<'_> {
    /// The same for the same call, in whatever order the client writes its fields.
    fn write(self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.tool.as_bytes());
        feed_object(&mut hash, self.arguments);
        let mut text = String::with_capacity(32);
        for byte in &hash.finalize()[..16] {
            // Writing to a string does not fail.
            let _written = write!(text, "{byte:02x}");
        }
        text
    }
}

fn feed_object(hash: &mut Sha256, object: &JsonObject) {
    let mut fields: Vec<_> = object.iter().collect();
    fields.sort_unstable_by_key(|it| it.0);
    hash.update(b"{");
    for (name, value) in fields {
        feed(hash, &Value::String(name.clone()));
        feed(hash, value);
    }
    hash.update(b"}");
}

fn feed(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Object(object) => feed_object(hash, object),
        Value::Array(items) => {
            hash.update(b"[");
            for item in items {
                feed(hash, item);
            }
            hash.update(b"]");
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            hash.update(value.to_string().as_bytes());
            hash.update(b",");
        }
    }
}

fn not_ours() -> ErrorData {
    let message = "the requestState is not of this call: pass on, unchanged, the requestState of \
                   the answer whose questions inputResponses answer, with the same arguments";
    ErrorData::invalid_params(message, None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn object(value: Value) -> JsonObject {
        let Value::Object(object) = value else { panic!("no object") };
        object
    }

    fn digest(tool: &str, arguments: Value) -> String {
        Digest { tool, arguments: &object(arguments) }.write()
    }

    fn open(state: &str) -> Option<Round> {
        Round::open(None, Some(state.to_owned()), || "abc".to_owned()).ok()
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let left: BTreeSet<_> = [3, 17].map(TaskIdx::from_usize).into();
        let before = Before {
            dispatch: ID.parse().unwrap(),
            wait_ms: 45_000,
            number: 2,
            left: left.clone(),
        };
        let state = before.write("abc");
        assert_eq!(state, format!("pd1.{ID}.45000.2.3-17.abc"));
        let round = open(&state).unwrap();
        assert_eq!(round.ticket().map(|it| it.wait_ms), Some(45_000));
        assert_eq!((round.left(), round.may_ask()), (left, true));
        assert!(!open(&format!("pd1.{ID}.1.8..abc")).unwrap().may_ask());
    }

    #[test]
    fn what_nobody_wrote_is_refused() {
        for state in [
            "",
            "pd1",
            &format!("pd1.{ID}.1.1..abd"),
            &format!("pd2.{ID}.1.1..abc"),
            &format!("pd1.{ID}.600001.1..abc"),
            &format!("pd1.{ID}.1.-1..abc"),
            &format!("pd1.{ID}.1.1.4294967296.abc"),
            &format!("pd1.{ID}.1.1.x.abc"),
            &format!("pd1.{ID}.1.1..abc.more"),
            "pd1.x.1.1..abc",
        ] {
            assert_eq!(open(state), None, "{state}");
        }
        let answers = InputResponses::from([("a".to_owned(), json!({}))]);
        assert!(Round::open(Some(answers), None, String::new).is_err());
    }

    #[test]
    fn the_order_of_fields_does_not_matter_and_all_else_does() {
        let one = digest("dispatch", json!({"a": [1, {"b": "x", "c": null}], "d": "y"}));
        assert_eq!(one, digest("dispatch", json!({"d": "y", "a": [1, {"c": null, "b": "x"}]})));
        for other in [
            digest("retry_dispatch", json!({"a": [1, {"b": "x", "c": null}], "d": "y"})),
            digest("dispatch", json!({"a": [1, {"b": "x"}], "d": "y"})),
            digest("dispatch", json!({"a": [[1], {"b": "x", "c": null}], "d": "y"})),
            digest("dispatch", json!({"a": ["1", {"b": "x", "c": null}], "d": "y"})),
        ] {
            assert_ne!(one, other);
        }
    }
}

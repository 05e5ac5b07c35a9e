//! One call of a tool that waits, with what earlier rounds of it left behind, and what it comes to.
//!
//! Since 2026-07-28 a server asks its client by answering: the client calls again with the answers
//! and the state that it was given. That state is a stranger's word: it bears the mark of the
//! server's secret, and holds for the same call of the same caller only, and for a week.

use std::{borrow::Cow, collections::BTreeSet, fmt::Write as _};

use rmcp::{
    ErrorData, RoleServer,
    model::{CreateTaskResult, InputRequiredResult, InputResponses, JsonObject},
    service::RequestContext,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{DispatchServer, Seal, caller};
use crate::{
    model::{DispatchId, DispatchResult, Identity, Millis, TaskIdx},
    plan::WAIT_MS_MAX,
    runtime::{DispatcherHandle, Ticket},
};

/// Clients follow ten rounds at most; the last answers must be results.
const ROUNDS_MAX: u32 = 8;
/// How a state begins that this version has written.
const VERSION: &str = "pd2";
/// How long a state holds: people answer after the weekend.
const HELD_FOR: Millis = Millis(7 * 86_400_000);

/// A call as its tool sees it.
pub(super) struct Call<'a> {
    pub(super) context: &'a RequestContext<RoleServer>,
    pub(super) round: Round,
    /// The service as the caller sees it.
    pub(super) handle: Cow<'a, DispatcherHandle>,
    bond: Bond<'a>,
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
    until: Millis,
}

/// What a state is bound to: for another call, or for somebody else, it is worth nothing.
#[derive(Clone, Copy)]
struct Bond<'a> {
    seal: &'a Seal,
    /// The name of the caller, where they showed who they are.
    who: Option<&'a str>,
    tool: &'a str,
    arguments: &'a JsonObject,
}

/// Why a state is not gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It was not given out, or not for this call.
    NotOurs,
    /// It was, and too long ago.
    Expired(DispatchId),
}

impl<'a> Call<'a> {
    /// Reads what the client says about earlier rounds of this call. `arguments` are of bounded
    /// depth.
    pub(super) fn open(
        server: &'a DispatchServer,
        (tool, arguments): (&'a str, &'a JsonObject),
        rounds: (Option<InputResponses>, Option<String>),
        context: &'a RequestContext<RoleServer>,
    ) -> Result<Self, ErrorData> {
        let who = caller::identity(context).map(Identity::name);
        let bond = Bond { seal: server.seal(), who, tool, arguments };
        let handle = server.handle(context);
        let round = Round::open(rounds, bond, handle.now()).map_err(Fault::to_error)?;
        Ok(Self { context, round, handle, bond })
    }

    /// The state with which this call goes on once questions about `ticket` are answered.
    pub(super) fn next_state(&self, ticket: Ticket, left: &BTreeSet<TaskIdx>) -> String {
        let number = self.round.number() + 1;
        let Ticket { dispatch, wait_ms } = ticket;
        let until = self.handle.now() + HELD_FOR;
        Before { dispatch, wait_ms, number, left: left.clone(), until }.write(self.bond)
    }
}

impl Round {
    fn open(
        (responses, state): (Option<InputResponses>, Option<String>),
        bond: Bond<'_>,
        now: Millis,
    ) -> Result<Self, Fault> {
        let responses = responses.unwrap_or_default();
        let before = match state {
            Some(state) => {
                let before = Before::read(&state, bond).ok_or(Fault::NotOurs)?;
                if before.until < now {
                    return Err(Fault::Expired(before.dispatch));
                }
                Some(before)
            }
            // Without it this would be another dispatch.
            None if !responses.is_empty() => return Err(Fault::NotOurs),
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
    fn write(&self, bond: Bond<'_>) -> String {
        let Self { dispatch, wait_ms, number, left, until } = self;
        let left: Vec<_> = left.iter().map(|it| it.as_usize().to_string()).collect();
        let left = left.join("-");
        let state = format!("{VERSION}.{dispatch}.{wait_ms}.{number}.{left}.{}", until.0);
        let mark = bond.mark(&state);
        format!("{state}.{mark}")
    }

    fn read(state: &str, bond: Bond<'_>) -> Option<Self> {
        let (state, mark) = state.rsplit_once('.')?;
        if !bond.has_marked(state, mark) {
            return None;
        }
        let fields: Vec<_> = state.split('.').collect();
        let [VERSION, dispatch, wait_ms, number, left, until] = fields[..] else { return None };
        let place = |it: &str| Some(TaskIdx::from_usize(it.parse::<u32>().ok()? as usize));
        let left = left.split('-').filter(|it| !it.is_empty()).map(place);
        Some(Self {
            dispatch: dispatch.parse().ok()?,
            wait_ms: wait_ms.parse().ok().filter(|it| *it <= WAIT_MS_MAX)?,
            number: number.parse().ok()?,
            left: left.collect::<Option<_>>()?,
            until: until.parse().ok().map(Millis)?,
        })
    }
}

impl Bond<'_> {
    fn mark(self, state: &str) -> String {
        self.seal.mark(&[state, self.who.unwrap_or_default(), &self.digest()])
    }

    fn has_marked(self, state: &str, mark: &str) -> bool {
        self.seal.is_of(mark, &[state, self.who.unwrap_or_default(), &self.digest()])
    }

    /// The same for the same call, in whatever order the client writes its fields.
    fn digest(self) -> String {
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

impl Fault {
    fn to_error(self) -> ErrorData {
        let message = match self {
            Self::NotOurs => {
                "the requestState is not of this call: pass on, unchanged, the requestState of \
                 the answer whose questions inputResponses answer, with the same arguments"
                    .to_owned()
            }
            Self::Expired(dispatch) => format!(
                "the requestState is older than a week: go on with get_result for dispatch \
                 {dispatch}, which asks again"
            ),
        };
        ErrorData::invalid_params(message, None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
    const NOW: Millis = Millis(1_000);

    fn object(value: Value) -> JsonObject {
        let Value::Object(object) = value else { panic!("no object") };
        object
    }

    fn digest(tool: &str, arguments: Value) -> String {
        let arguments = &object(arguments);
        Bond { seal: &Seal::new(&[1; 32]), who: None, tool, arguments }.digest()
    }

    /// Does something with a bond of this secret, caller and argument.
    fn with<T>(
        (secret, who, argument): (u8, Option<&str>, u8),
        act: impl FnOnce(Bond<'_>) -> T,
    ) -> T {
        let (seal, arguments) = (Seal::new(&[secret; 32]), object(json!({ "a": argument })));
        act(Bond { seal: &seal, who, tool: "dispatch", arguments: &arguments })
    }

    /// Opens a state with the bond that it should have.
    fn open(state: &str) -> Result<Round, Fault> {
        with((1, None, 1), |it| Round::open((None, Some(state.to_owned())), it, NOW))
    }

    /// A state of these fields, whatever they are, as the server would have marked it.
    fn marked(fields: &str) -> String {
        with((1, None, 1), |it| format!("{fields}.{}", it.mark(fields)))
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let left: BTreeSet<_> = [3, 17].map(TaskIdx::from_usize).into();
        let before = Before {
            dispatch: ID.parse().unwrap(),
            wait_ms: 45_000,
            number: 2,
            left: left.clone(),
            until: NOW,
        };
        let state = with((1, None, 1), |it| before.write(it));
        assert_eq!(state, marked(&format!("pd2.{ID}.45000.2.3-17.1000")));
        let round = open(&state).unwrap();
        assert_eq!(round.ticket().map(|it| it.wait_ms), Some(45_000));
        assert_eq!((round.left(), round.may_ask()), (left, true));
        assert!(!open(&marked(&format!("pd2.{ID}.1.8..1000"))).unwrap().may_ask());
    }

    #[test]
    fn a_state_holds_for_its_call_and_its_caller_and_not_for_ever() {
        let fields = format!("pd2.{ID}.1.1..1000");
        let state = marked(&fields);
        let opened = |bond, now| {
            with(bond, |it| Round::open((None, Some(state.clone())), it, now).map(|_| ()))
        };
        assert_eq!(opened((1, None, 1), NOW), Ok(()));
        for other in [(2, None, 1), (1, Some("ada"), 1), (1, None, 2)] {
            assert_eq!(opened(other, NOW), Err(Fault::NotOurs), "{other:?}");
        }
        let expired = Err(Fault::Expired(ID.parse().unwrap()));
        assert_eq!(opened((1, None, 1), Millis(1_001)), expired);
    }

    #[test]
    fn what_nobody_wrote_is_refused() {
        let mark = marked(&format!("pd2.{ID}.1.2..1000"));
        let mark = mark.rsplit_once('.').unwrap().1;
        for state in [
            "",
            "pd2",
            ".",
            &format!("pd2.{ID}.1.1..1000"),
            // What another state was marked with.
            &format!("pd2.{ID}.1.1..1000.{mark}"),
            &marked(&format!("pd1.{ID}.1.1..1000")),
            &marked(&format!("pd2.{ID}.600001.1..1000")),
            &marked(&format!("pd2.{ID}.1.-1..1000")),
            &marked(&format!("pd2.{ID}.1.1.4294967296.1000")),
            &marked(&format!("pd2.{ID}.1.1.x.1000")),
            &marked(&format!("pd2.{ID}.1.1..1000.more")),
            &marked("pd2.x.1.1..1000"),
        ] {
            assert_eq!(open(state), Err(Fault::NotOurs), "{state}");
        }
        let answers = InputResponses::from([("a".to_owned(), json!({}))]);
        let opened = with((1, None, 1), |it| Round::open((Some(answers), None), it, NOW));
        assert_eq!(opened, Err(Fault::NotOurs));
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

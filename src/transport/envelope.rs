//! Reads one JSON-RPC message strictly, and says what is wrong with it in JSON-RPC's own terms.
//!
//! rmcp drops what it cannot parse, or answers without an id; a client would then wait for ever.
//! So the text is checked here, before rmcp sees it, and the same faults get the same answer over
//! every transport.

use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorData, GetMeta as _, RequestId, ServerJsonRpcMessage,
};
use serde_json::{Value, json};

use super::{
    MESSAGE_BYTES_MAX, call,
    scan::{Recipient, Scan},
};
use crate::model::{
    ErrorCode, Refusal,
    json::{self, Json},
    text,
};

/// Why a message cannot be served.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// Its sender waits for an answer.
    Answer(Box<Rejection>),
    /// Nobody waits: it was a notification or a response.
    Ignore(Refusal),
}

/// The answer to a message that cannot be served.
#[derive(Debug)]
pub(super) struct Rejection {
    code: RpcCode,
    id: Option<RequestId>,
    refusal: Refusal,
}

/// The codes that JSON-RPC 2.0 gives to messages that are not served.
#[derive(Clone, Copy, Debug)]
enum RpcCode {
    ParseError = -32_700,
    InvalidRequest = -32_600,
    InvalidParams = -32_602,
    InternalError = -32_603,
}

enum Kind {
    Request(RequestId),
    Notification,
    Response,
}

/// The requests whose parameters rmcp knows. It takes one with other parameters for a request of
/// an unknown method; the answer must name the parameters instead.
const METHODS: [&str; 18] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/update",
    call::METHOD,
    "tools/list",
];

/// Those of them that the revisions without `initialize` do not have, where rmcp refuses them as
/// unknown.
const REMOVED: [&str; 4] =
    ["initialize", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

/// When a client with too many requests should come back, in milliseconds.
const BUSY_AFTER_MS: u64 = 1_000;

/// RFC 8259 lets a reader ignore a byte order mark.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads one message. Costs O(bytes), twice.
pub(super) fn read(bytes: &[u8]) -> Result<ClientJsonRpcMessage, Unreadable> {
    let (json, kind, bytes) = read_shape(bytes)?;
    read_out(&json, kind, bytes)
}

/// Checks one message as [`read`] does, and reads it out unless it is a plain call of a tool.
pub(super) fn check(bytes: &[u8]) -> Result<Option<ClientJsonRpcMessage>, Unreadable> {
    let (json, kind, bytes) = read_shape(bytes)?;
    if matches!(kind, Kind::Request(_)) && call::is_plain(&json) {
        return Ok(None);
    }
    read_out(&json, kind, bytes).map(Some)
}

fn read_shape(bytes: &[u8]) -> Result<(Json<'_>, Kind, &[u8]), Unreadable> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let json = json::read(bytes).map_err(|refusal| {
        let mut scan = Scan::default();
        scan.feed(bytes);
        Unreadable::told(scan.finish(), RpcCode::ParseError, refusal)
    })?;
    check_shape(&json).map(|kind| (json, kind, bytes))
}

fn read_out(json: &Json<'_>, kind: Kind, bytes: &[u8]) -> Result<ClientJsonRpcMessage, Unreadable> {
    // rmcp tries one kind of request after the other, which takes three times as long.
    if let Kind::Request(id) = &kind
        && call::is_one(json)
        && let Ok(call) = serde_json::from_slice(bytes)
    {
        let call = ClientJsonRpcMessage::request(ClientRequest::CallToolRequest(call), id.clone());
        return Ok(call);
    }
    match serde_json::from_slice(bytes) {
        Ok(message) => check_params(message),
        Err(error) => Err(refuse_unknown_shape(kind, &error)),
    }
}

/// Refuses a message of more than [`MESSAGE_BYTES_MAX`] that `scan` saw go by.
pub(super) fn refuse_oversized(scan: Scan) -> Unreadable {
    Unreadable::told(scan.finish(), RpcCode::InvalidRequest, oversized())
}

/// Refuses a request of a session that has `n_running` others.
pub(super) fn refuse_busy(id: RequestId, n_running: usize) -> Rejection {
    let message = format!("{n_running} requests of this session run already");
    let hint = "send it again when some of them were answered";
    let refusal = Refusal::of(ErrorCode::Busy, "", &message, hint).retry_after(BUSY_AFTER_MS);
    Rejection { code: RpcCode::InternalError, id: Some(id), refusal }
}

/// What is said about a message or a body of more than [`MESSAGE_BYTES_MAX`].
pub(super) fn oversized() -> Refusal {
    Refusal::of(
        ErrorCode::RequestTooLarge,
        "",
        &format!("the message is longer than {MESSAGE_BYTES_MAX} bytes"),
        "split the document, or name files by path instead of quoting them",
    )
}

impl Unreadable {
    fn told(recipient: Recipient, code: RpcCode, refusal: Refusal) -> Self {
        match recipient {
            Recipient::Request(id) => Self::answer(code, id, refusal),
            Recipient::Nobody => Self::Ignore(refusal),
        }
    }

    fn answer(code: RpcCode, id: Option<RequestId>, refusal: Refusal) -> Self {
        Self::Answer(Box::new(Rejection { code, id, refusal }))
    }

    /// The answer for a transport that must answer everything, as HTTP does.
    pub(super) fn into_rejection(self) -> Rejection {
        match self {
            Self::Answer(rejection) => *rejection,
            Self::Ignore(refusal) => Rejection { code: RpcCode::InvalidRequest, id: None, refusal },
        }
    }
}

impl Rejection {
    /// Writes the answer as a JSON-RPC error response. Code and hint stand in the message too,
    /// because clients show nothing else; an unknown id is null, as JSON-RPC 2.0 wants it.
    pub(super) fn to_json(&self) -> Value {
        json!({ "jsonrpc": "2.0", "id": self.id, "error": self.to_error() })
    }

    /// The same for a queue of rmcp's messages.
    pub(super) fn to_message(&self) -> ServerJsonRpcMessage {
        ServerJsonRpcMessage::error(self.to_error(), self.id.clone())
    }

    fn to_error(&self) -> ErrorData {
        let body = self.refusal.to_body();
        let message =
            format!("{}: {} (hint: {})", body.error.code.as_str(), self.refusal, body.error.hint);
        ErrorData::new(rmcp::model::ErrorCode(self.code as i32), message, Some(json!(body)))
    }
}

fn check_shape(json: &Json<'_>) -> Result<Kind, Unreadable> {
    let Json::Object(fields) = json else {
        return Err(invalid(None, ErrorCode::InvalidType, "", &not_an_object(json)));
    };
    let field = |name: &str| fields.iter().find(|it| it.0 == name).map(|it| &it.1);
    let id = read_id(field("id"))?;
    let (has_method, has_reply) =
        (field("method").is_some(), field("result").is_some() || field("error").is_some());
    if !has_method && has_reply {
        return Ok(Kind::Response);
    }
    let refuse = |code, path, message: &str| Err(invalid(id.clone(), code, path, message));
    match field("jsonrpc") {
        Some(Json::String(version)) if version == "2.0" => {}
        Some(_) => return refuse(ErrorCode::InvalidEnum, "/jsonrpc", "jsonrpc must be \"2.0\""),
        None => return refuse(ErrorCode::MissingField, "/jsonrpc", "jsonrpc is missing"),
    }
    match field("method") {
        Some(Json::String(_)) if has_reply => {
            return refuse(
                ErrorCode::UnknownField,
                "",
                "a message has a method, or a result or an error; this one has both",
            );
        }
        Some(Json::String(_)) => {}
        Some(other) => {
            let message = format!("method must be a string, not {}", other.kind());
            return refuse(ErrorCode::InvalidType, "/method", &message);
        }
        None => return refuse(ErrorCode::MissingField, "/method", "method is missing"),
    }
    match (field("params"), id) {
        (None | Some(Json::Object(_)), Some(id)) => Ok(Kind::Request(id)),
        (None | Some(Json::Object(_)), None) => Ok(Kind::Notification),
        (Some(other), id) => Err(invalid_params(id, "/params", other.kind())),
    }
}

fn not_an_object(json: &Json<'_>) -> String {
    if matches!(json, Json::Array(_)) {
        return "batches are not read: send each message by itself".to_owned();
    }
    format!("a message must be an object, not {}", json.kind())
}

fn read_id(id: Option<&Json<'_>>) -> Result<Option<RequestId>, Unreadable> {
    let Some(id) = id else { return Ok(None) };
    serde_json::from_value(id.to_value()).map(Some).map_err(|_| {
        let message = format!("id must be a string or an integer, not {}", id.kind());
        invalid(None, ErrorCode::InvalidType, "/id", &message)
    })
}

/// Refuses what is no message.
pub(super) fn invalid(
    id: Option<RequestId>,
    code: ErrorCode,
    path: &str,
    message: &str,
) -> Unreadable {
    let hint = "send one JSON-RPC 2.0 request or notification, as MCP defines them";
    Unreadable::answer(RpcCode::InvalidRequest, id, Refusal::of(code, path, message, hint))
}

fn invalid_params(id: Option<RequestId>, path: &str, kind: &str) -> Unreadable {
    let refusal = Refusal::of(
        ErrorCode::InvalidType,
        path,
        &format!("params must be an object, not {kind}"),
        "MCP passes parameters by name",
    );
    match id {
        Some(id) => Unreadable::answer(RpcCode::InvalidParams, Some(id), refusal),
        None => Unreadable::Ignore(refusal),
    }
}

fn check_params(message: ClientJsonRpcMessage) -> Result<ClientJsonRpcMessage, Unreadable> {
    if let ClientJsonRpcMessage::Request(request) = &message
        && let ClientRequest::CustomRequest(custom) = &request.request
        && METHODS.contains(&custom.method.as_str())
        && !(REMOVED.contains(&custom.method.as_str()) && is_without_initialize(&request.request))
    {
        return Err(refuse_params(request.id.clone(), &custom.method));
    }
    Ok(message)
}

fn is_without_initialize(request: &ClientRequest) -> bool {
    request.get_meta().protocol_version().is_some_and(|it| !it.has_initialize())
}

fn refuse_params(id: RequestId, method: &str) -> Unreadable {
    let refusal = Refusal::of(
        ErrorCode::InvalidType,
        "/params",
        &format!("the params of {method} have not the shape that MCP gives them"),
        "check the names and types of the fields, also of those in _meta",
    );
    Unreadable::answer(RpcCode::InvalidParams, Some(id), refusal)
}

fn refuse_unknown_shape(kind: Kind, error: &serde_json::Error) -> Unreadable {
    let refusal = Refusal::of(
        ErrorCode::InvalidType,
        "",
        &format!(
            "the message has not the shape that MCP gives it: {}",
            text::cut(&error.to_string(), 200)
        ),
        "check the names and types of the fields, also of those in _meta",
    );
    match kind {
        Kind::Request(id) => Unreadable::answer(RpcCode::InvalidParams, Some(id), refusal),
        Kind::Notification | Kind::Response => Unreadable::Ignore(refusal),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &Expect) {
        let got = match read(text.as_bytes()) {
            Ok(_) => "served".to_owned(),
            Err(Unreadable::Ignore(refusal)) => format!("ignored: {refusal}"),
            Err(Unreadable::Answer(rejection)) => {
                let json = rejection.to_json();
                format!("{} {} {}", json["id"], json["error"]["code"], json["error"]["message"])
            }
        };
        expected.assert_eq(&got);
    }

    #[test]
    fn what_is_well_formed_is_served() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"a":1}}}"#,
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/list","params":{}}"#,
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":1.0,"method":"no/such/method","params":{"a":1}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
        ] {
            check(text, &expect!["served"]);
        }
    }

    #[test]
    fn requests_that_a_revision_does_not_have_are_left_to_be_unknown() {
        for method in REMOVED {
            let wrong = |version: &str| {
                format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}"}}}}}}"#
                )
            };
            check(&wrong("2026-07-28"), &expect!["served"]);
            let Err(Unreadable::Answer(refused)) = read(wrong("2025-11-25").as_bytes()) else {
                panic!("{method} is served");
            };
            assert_eq!(refused.to_json()["error"]["code"], -32_602);
        }
    }

    #[test]
    fn json_that_means_two_things_is_a_parse_error_of_its_request() {
        check(
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a":1,"a":2}}"#,
            &expect![[
                r#"7 -32700 "parse_error: the key \"a\" stands twice in one object (hint: keep one of the two; which one counts would be a guess)""#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","method":"x","params":{"a":"\ud800"},"id":"q"}"#,
            &expect![[
                r#""q" -32700 "parse_error: failed to read the document as JSON: unexpected end of hex escape at line 1 column 52 (hint: write characters beyond U+FFFF as two \\u escapes that belong together, or as UTF-8)""#
            ]],
        );
        check(
            "hello",
            &expect![[
                r#"null -32700 "parse_error: failed to read the document as JSON: expected value at line 1 column 1 (hint: JSON knows no comments, trailing commas, NaN or Infinity; strings need double quotes)""#
            ]],
        );
        let deep = "[".repeat(100) + &"]".repeat(100);
        check(
            &format!(r#"{{"jsonrpc":"2.0","id":7,"params":{deep}}}"#),
            &expect![[
                r#"7 -32700 "too_deep: the document is nested more than 64 levels deep (hint: flatten it, or pass the deep part as a string)""#
            ]],
        );
    }

    #[test]
    fn faulty_notifications_are_ignored() {
        check(
            r#"{"jsonrpc":"2.0","method":"x","params":{"a":1,"a":2}}"#,
            &expect![[r#"ignored: the key "a" stands twice in one object"#]],
        );
        check(
            r#"{"jsonrpc":"2.0","method":"x","params":[]}"#,
            &expect!["ignored: params must be an object, not a list"],
        );
        check(
            r#"{"jsonrpc":"2.0","id":3,"result":{"a":1,"a":2}}"#,
            &expect![[r#"ignored: the key "a" stands twice in one object"#]],
        );
    }

    #[test]
    fn what_is_no_message_is_an_invalid_request() {
        check(
            "[]",
            &expect![[
                r#"null -32600 "invalid_type: batches are not read: send each message by itself (hint: send one JSON-RPC 2.0 request or notification, as MCP defines them)""#
            ]],
        );
        check(
            "5",
            &expect![[
                r#"null -32600 "invalid_type: a message must be an object, not a number (hint: send one JSON-RPC 2.0 request or notification, as MCP defines them)""#
            ]],
        );
        check(
            "{}",
            &expect![[
                r#"null -32600 "missing_field: jsonrpc is missing (hint: send one JSON-RPC 2.0 request or notification, as MCP defines them)""#
            ]],
        );
        check(
            r#"{"id":1,"method":"ping"}"#,
            &expect![[
                r#"1 -32600 "missing_field: jsonrpc is missing (hint: send one JSON-RPC 2.0 request or notification, as MCP defines them)""#
            ]],
        );
        check(
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            &expect![[
                r#"1 -32600 "invalid_enum: jsonrpc must be \"2.0\" (hint: send one JSON-RPC 2.0 request or notification, as MCP defines them)""#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            &expect![[
                r#"null -32600 "invalid_type: id must be a string or an integer, not null (hint: send one JSON-RPC 2.0 request or notification, as MCP defines them)""#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            &expect![[
                r#"null -32600 "invalid_type: id must be a string or an integer, not a number (hint: send one JSON-RPC 2.0 request or notification, as MCP defines them)""#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            &expect![[
                r#"null -32600 "invalid_type: id must be a string or an integer, not an object (hint: send one JSON-RPC 2.0 request or notification, as MCP defines them)""#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":5}"#,
            &expect![[
                r#"1 -32600 "invalid_type: method must be a string, not a number (hint: send one JSON-RPC 2.0 request or notification, as MCP defines them)""#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            &expect![[
                r#"1 -32600 "unknown_field: a message has a method, or a result or an error; this one has both (hint: send one JSON-RPC 2.0 request or notification, as MCP defines them)""#
            ]],
        );
    }

    #[test]
    fn params_of_another_shape_are_named() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}"#,
            &expect![[
                r#"1 -32602 "invalid_type: params must be an object, not a list (hint: MCP passes parameters by name)""#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#,
            &expect![[
                r#"1 -32602 "invalid_type: the params of tools/call have not the shape that MCP gives them (hint: check the names and types of the fields, also of those in _meta)""#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":5}}"#,
            &expect![[
                r#"1 -32602 "invalid_type: the params of tools/call have not the shape that MCP gives them (hint: check the names and types of the fields, also of those in _meta)""#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":5}}"#,
            &expect![[
                r#"1 -32602 "invalid_type: the message has not the shape that MCP gives it: unrecognized JSON-RPC message (hint: check the names and types of the fields, also of those in _meta)""#
            ]],
        );
    }
}

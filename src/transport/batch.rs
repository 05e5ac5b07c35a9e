//! Takes batches of JSON-RPC apart, which of the revisions of MCP only 2025-03-26 has.

use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ProtocolVersion};
use serde_json::value::RawValue;

use super::envelope::{self, Unreadable};
use crate::model::ErrorCode;

/// The revision that has batches.
pub(super) const REVISION: ProtocolVersion = ProtocolVersion::V_2025_03_26;

/// How many messages one may have.
const MESSAGES_MAX: usize = 64;

/// A message of a batch, and its text.
pub(super) type Part<'b> = (Result<ClientJsonRpcMessage, Unreadable>, &'b [u8]);

/// Whether a text can only be a batch, and no message.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"[")
}

/// Takes a batch apart. It fails as a whole if it is no list, or one of too few or too many
/// messages; each of these is read like any other, but that none may begin a session.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Part<'_>>, Unreadable> {
    let Ok(texts) = serde_json::from_slice::<Vec<&RawValue>>(bytes) else {
        return envelope::read(bytes).map(|it| vec![(Ok(it), bytes)]);
    };
    if texts.is_empty() || texts.len() > MESSAGES_MAX {
        let message = format!("a batch has 1 to {MESSAGES_MAX} messages, not {}", texts.len());
        return Err(envelope::invalid(None, ErrorCode::OutOfRange, "", &message));
    }
    let texts = texts.into_iter().map(|it| it.get().as_bytes());
    Ok(texts.map(|it| (read_part(it), it)).collect())
}

fn read_part(text: &[u8]) -> Result<ClientJsonRpcMessage, Unreadable> {
    let message = envelope::read(text)?;
    if let ClientJsonRpcMessage::Request(request) = &message
        && let ClientRequest::InitializeRequest(_) = request.request
    {
        let id = Some(request.id.clone());
        let message = "initialize must not be part of a batch";
        return Err(envelope::invalid(id, ErrorCode::InvalidEnum, "/method", message));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &Expect) {
        let said = |it: Unreadable| {
            let error = &it.into_rejection().to_json()["error"]["data"]["error"];
            format!("{} {}", error["code"], error["message"])
        };
        let got = match read(text.as_bytes()) {
            Err(unreadable) => said(unreadable),
            Ok(parts) => {
                let parts = parts.into_iter().map(|it| it.0.map_or_else(said, |_| "read".into()));
                parts.collect::<Vec<_>>().join("\n")
            }
        };
        expected.assert_eq(&got);
    }

    #[test]
    fn each_message_is_read_by_itself() {
        let parts = [
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":2,"method":"ping","id":2}"#,
            "[]",
            "7",
        ];
        check(
            &format!(" [ {} ]", parts.join(" , ")),
            &expect![[r#"
                read
                read
                "parse_error" "the key \"id\" stands twice in one object"
                "invalid_type" "batches are not read: send each message by itself"
                "invalid_type" "a message must be an object, not a number""#]],
        );
        let whole = format!("[{}]", parts[..2].join(","));
        let texts: Vec<_> = read(whole.as_bytes()).unwrap().into_iter().map(|it| it.1).collect();
        assert_eq!(texts, [parts[0].as_bytes(), parts[1].as_bytes()]);
    }

    #[test]
    fn no_batch_begins_a_session() {
        let initialize = concat!(
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{},"#,
            r#""protocolVersion":"2025-03-26","clientInfo":{"name":"a","version":"1"}}}"#,
        );
        check(
            &format!("[{initialize}]"),
            &expect![[r#""invalid_enum" "initialize must not be part of a batch""#]],
        );
    }

    #[test]
    fn what_is_no_batch_is_refused_as_a_whole() {
        check("[]", &expect![[r#""out_of_range" "a batch has 1 to 64 messages, not 0""#]]);
        check(
            &format!("[{}1]", "1,".repeat(MESSAGES_MAX)),
            &expect![[r#""out_of_range" "a batch has 1 to 64 messages, not 65""#]],
        );
        let Err(Unreadable::Answer(broken)) = read(b"[7,") else { panic!("it is read") };
        assert_eq!(broken.to_json()["error"]["code"], -32700);
    }

    #[test]
    fn a_batch_is_told_by_its_first_sign() {
        assert!(is_one(b" \n["));
        assert!(!is_one(b"{\"a\":[]}"));
        assert!(!is_one(b""));
    }
}

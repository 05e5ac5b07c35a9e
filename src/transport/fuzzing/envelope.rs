//! What holds of every message.

use rmcp::model::{ClientJsonRpcMessage, ClientRequest};

use crate::transport::{batch, envelope, scan::Scan};

/// The longest answer, but for the id, which it repeats: the refusal, and its text once more.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Reads any bytes as one JSON-RPC message, and as a batch.
///
/// # Panics
/// When a promise is broken: a message is read as something else than rmcp takes it for, or a
/// refusal is no JSON-RPC error, or too long a one, or a batch has more in it than was sent.
#[doc(hidden)]
pub fn fuzz_envelope(bytes: &[u8]) {
    let middle = bytes.len() / 2;
    let scan = |pieces: &[&[u8]]| {
        let mut scan = Scan::default();
        for piece in pieces {
            scan.feed(piece);
        }
        format!("{:?}", scan.finish())
    };
    let (one, two) = (scan(&[bytes]), scan(&[&bytes[..middle], &bytes[middle..]]));
    assert_eq!(one, two, "where a message is cut decides who is answered");
    if let Ok(parts) = batch::read(bytes) {
        let n_bytes: usize = parts.iter().map(|it| it.1.len()).sum();
        assert!(n_bytes <= bytes.len(), "its messages have {n_bytes} bytes");
        assert!(parts.len() == 1 || batch::is_one(bytes), "a message is taken for a batch");
    }
    let read = envelope::read(bytes);
    match (envelope::check(bytes), &read) {
        (Ok(None), Ok(ClientJsonRpcMessage::Request(it))) => {
            let is_call = matches!(it.request, ClientRequest::CallToolRequest(_));
            assert!(is_call, "{it:?} is taken for a call");
        }
        (Ok(Some(checked)), Ok(read)) => {
            let json = |it| serde_json::to_value(it).ok();
            assert_eq!(json(&checked), json(read));
        }
        (checked, read) => assert!(checked.is_err() && read.is_err(), "{checked:?}, {read:?}"),
    }
    if let Ok(message) = &read {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let known = serde_json::from_slice::<ClientJsonRpcMessage>(bytes).ok();
        let known = known.and_then(|it| serde_json::to_value(it).ok());
        assert_eq!(serde_json::to_value(message).ok(), known, "rmcp reads it in another way");
    }
    if let Err(unreadable) = read {
        let answer = unreadable.into_rejection().to_json();
        let code = answer["error"]["code"].as_i64();
        assert!(code.is_some_and(|it| (-32_768..=-32_000).contains(&it)), "{answer}");
        assert_eq!(answer["jsonrpc"], "2.0");
        assert!(answer["id"].is_null() || answer["id"].is_number() || answer["id"].is_string());
        let length = answer.to_string().len();
        // Each byte of the id may be escaped.
        assert!(length <= ANSWER_BYTES_MAX + 6 * bytes.len(), "an answer of {length} bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::mutants;

    #[test]
    fn mutants_of_messages_keep_the_promises() {
        let seeds = [
            include_str!("../../../fuzz/seeds/envelope/initialize.json"),
            include_str!("../../../fuzz/seeds/envelope/batch.json"),
            include_str!("../../../fuzz/seeds/envelope/call.json"),
            include_str!("../../../fuzz/seeds/envelope/cancelled.json"),
        ];
        mutants(&seeds, 1_000, fuzz_envelope);
    }
}

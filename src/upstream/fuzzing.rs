//! What holds of every answer of another server, whatever its bytes are; `fuzz/` feeds it.

use futures::{FutureExt as _, StreamExt as _, stream};
use hyper::body::Bytes;
use rmcp::model::ServerJsonRpcMessage;

use super::{
    decode::decode,
    frames::{read_message, read_start},
    sse::{Event, Events},
};

/// The largest event that is let in, in bytes: small, so that some are too large.
const EVENT_BYTES_MAX: usize = 256;

/// Reads any bytes as an event stream, and its events as messages; and the bytes themselves as an
/// answer.
///
/// # Panics
/// When a promise is broken: how the bytes are cut decides what is read of them, or an event is
/// larger than the largest.
#[doc(hidden)]
pub fn fuzz_answers(bytes: &[u8]) {
    let (whole, n_cut) = events(bytes, bytes.len().max(1));
    for size in [1, 7] {
        let (again, n_cut_again) = events(bytes, size);
        // What is let in before a flood is noticed depends on how much comes at once.
        let is_flood = bytes.len() > 4 * EVENT_BYTES_MAX;
        assert!(is_flood || (&whole, n_cut) == (&again, n_cut_again), "cut at {size}: {again:?}");
    }
    for (kind, data) in &whole {
        assert!(data.len() <= EVENT_BYTES_MAX, "{kind:?}: {} bytes", data.len());
        look(read_message(data));
    }
    look(read_message(bytes));
    look(read_start(bytes, EVENT_BYTES_MAX));
    if let Ok(result) = serde_json::from_slice(bytes) {
        look_at_result(result);
    }
}

/// What an event says it is, and what it holds.
type Read = (Vec<u8>, Vec<u8>);

/// The events as they are read in pieces of a size, and how many were too large.
fn events(bytes: &[u8], size: usize) -> (Vec<Read>, usize) {
    let chunks: Vec<_> = bytes.chunks(size).map(|it| Ok(Bytes::copy_from_slice(it))).collect();
    let mut events = Events::new(stream::iter(chunks).boxed(), EVENT_BYTES_MAX);
    let (mut read, mut n_cut) = (Vec::new(), 0);
    // What there is to read is there already.
    while let Some(Ok(event)) = events.next().now_or_never() {
        match event {
            Event::Whole(kind, data) => read.push((kind, data)),
            Event::Start(_) => n_cut += 1,
        }
    }
    (read, n_cut)
}

fn look(message: Option<ServerJsonRpcMessage>) {
    let Some(message) = message else { return };
    assert!(serde_json::to_vec(&message).is_ok(), "{message:?} cannot be written");
    if let ServerJsonRpcMessage::Response(response) = message
        && let rmcp::model::ServerResult::CallToolResult(result) = response.result
    {
        look_at_result(result);
    }
}

fn look_at_result(result: rmcp::model::CallToolResult) {
    if let (Err(failure), _) = decode(result) {
        assert!(!failure.message.is_empty(), "a failure that does not say why");
        let is_shown = |it: char| it == '\n' || it == '\t' || !it.is_control();
        assert!(failure.message.chars().all(is_shown), "{:?}", failure.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::mutants;

    #[test]
    fn mutants_of_answers_keep_the_promises() {
        let seeds = [
            include_str!("../../fuzz/seeds/answers/endpoint"),
            include_str!("../../fuzz/seeds/answers/result"),
            include_str!("../../fuzz/seeds/answers/large"),
            include_str!("../../fuzz/seeds/answers/failure.json"),
        ];
        mutants(&seeds, 5_000, fuzz_answers);
    }
}

//! Messages cut from a stream of bytes that carries all answers of a session.
//!
//! Over HTTP each answer has a response of its own. Here one that is too large, or is no JSON, must
//! fail the request it belongs to and leave the others alone, so its id is looked for in what can
//! be read of it.

use std::{cell::RefCell, fmt};

use rmcp::model::{RequestId, ServerJsonRpcMessage};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::fault::{LinkFault, quote};

/// How much of what is too large is kept, for its id.
const START_BYTES: usize = 4 * 1024;
/// How many times the largest answer may come in a row without any message among it.
const FLOOD_FACTOR: usize = 8;

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// As it came.
    Whole(Vec<u8>),
    /// The start of one that is longer than is let in.
    Start(Vec<u8>),
}

/// Bytes on their way to become lines.
#[derive(Debug)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where the line begins that comes next.
    start: usize,
    n_searched: usize,
    bytes_max: usize,
    /// The rest of a line that was too long is dropped up to its end.
    is_dropping: bool,
    n_useless: usize,
}

impl Lines {
    /// Cuts lines of at most `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            n_searched: 0,
            bytes_max,
            is_dropping: false,
            n_useless: 0,
        }
    }

    /// Takes what came; refuses a flood without any message in it.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), LinkFault> {
        self.n_useless = self.n_useless.saturating_add(chunk.len());
        if self.n_useless > self.bytes_max.saturating_mul(FLOOD_FACTOR) {
            return Err(LinkFault::TooLarge(self.bytes_max));
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// Notes that a message came, so what was read was of use.
    pub(super) fn was_useful(&mut self) {
        self.n_useless = self.bytes.len() - self.start;
    }

    /// The next line, if its end has come, or more of it than is let in.
    pub(super) fn pop(&mut self) -> Option<Line> {
        loop {
            let end = self.bytes[self.n_searched..].iter().position(|it| *it == b'\n');
            let Some(end) = end.map(|it| it + self.n_searched) else {
                return self.without_end();
            };
            let line = &self.bytes[self.start..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = self.judge(line);
            self.start = end + 1;
            self.n_searched = self.start;
            if !std::mem::take(&mut self.is_dropping) {
                return Some(line);
            }
        }
    }

    fn without_end(&mut self) -> Option<Line> {
        self.bytes.drain(..std::mem::take(&mut self.start));
        if self.is_dropping {
            self.bytes.clear();
        }
        self.n_searched = self.bytes.len();
        if self.bytes.len() <= self.bytes_max {
            return None;
        }
        let start = self.judge(&self.bytes);
        self.is_dropping = true;
        self.bytes = Vec::new();
        self.n_searched = 0;
        Some(start)
    }

    fn judge(&self, line: &[u8]) -> Line {
        if line.len() <= self.bytes_max {
            return Line::Whole(line.to_vec());
        }
        Line::Start(line[..line.len().min(START_BYTES)].to_vec())
    }
}

/// What a message says, or how the request that it answers failed; nothing for what is neither.
pub(super) fn read_message(json: &[u8]) -> Option<ServerJsonRpcMessage> {
    if let Ok(message) = serde_json::from_slice(json) {
        return Some(message);
    }
    let fault = LinkFault::Protocol(format!("its answer is {}", quote(json)));
    answered_id(json).map(|it| fault.to_rpc(&it))
}

/// How the request failed whose answer, of which this is the start, is too large.
pub(super) fn read_start(start: &[u8], bytes_max: usize) -> Option<ServerJsonRpcMessage> {
    answered_id(start).map(|it| LinkFault::TooLarge(bytes_max).to_rpc(&it))
}

/// The id that a broken or unfinished answer begins with; not that of a request.
fn answered_id(json: &[u8]) -> Option<RequestId> {
    let found = RefCell::new(Found::default());
    // The end is missing, or nonsense: what stood before it counts.
    let _broken = Search(&found).deserialize(&mut serde_json::Deserializer::from_slice(json));
    let found = found.into_inner();
    if found.is_request { None } else { found.id }
}

#[derive(Default)]
struct Found {
    id: Option<RequestId>,
    is_request: bool,
}

struct Search<'f>(&'f RefCell<Found>);

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            match name.as_str() {
                "id" => self.0.borrow_mut().id = Some(fields.next_value()?),
                "method" => {
                    self.0.borrow_mut().is_request = true;
                    fields.next_value::<IgnoredAny>()?;
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&str], bytes_max: usize) -> String {
        let mut lines = Lines::new(bytes_max);
        let mut shown = Vec::new();
        for chunk in chunks {
            lines.push(chunk.as_bytes()).unwrap();
            while let Some(line) = lines.pop() {
                shown.push(match line {
                    Line::Whole(it) => String::from_utf8(it).unwrap(),
                    Line::Start(it) => format!("<{}>", String::from_utf8(it).unwrap()),
                });
            }
        }
        shown.join("|")
    }

    #[test]
    fn lines_are_cut_however_they_come() {
        assert_eq!(lines(&["a\nb\r\n", "c", "", "d\n\n", "e"], 9), "a|b|cd|");
        assert_eq!(lines(&["a", "b", "\n"], 9), "ab");
    }

    #[test]
    fn of_a_long_line_the_start_is_kept_and_the_next_one_is_whole() {
        assert_eq!(lines(&["123456", "78\nab\n"], 5), "<123456>|ab");
        assert_eq!(lines(&["1234567\nab\n"], 5), "<1234567>|ab");
        assert_eq!(lines(&["12345\n1", "23456", "7", "8\n", "ab\n"], 5), "12345|<123456>|ab");
        let long = "x".repeat(3 * START_BYTES);
        assert_eq!(lines(&[&long], START_BYTES).len(), START_BYTES + 2);
    }

    #[test]
    fn a_flood_without_a_message_is_refused() {
        let mut lines = Lines::new(10);
        for _ in 0..8 {
            lines.push(b"123456789\n").unwrap();
            while lines.pop().is_some() {}
        }
        assert_eq!(lines.push(b"!").unwrap_err(), LinkFault::TooLarge(10));
        lines.was_useful();
        lines.push(b"!").unwrap();
    }

    #[test]
    fn what_broken_answers_belong_to_is_found() {
        let id = |json: &str| answered_id(json.as_bytes()).map(|it| it.to_string());
        assert_eq!(id(r#"{"jsonrpc":"2.0","id":7,"result":{"content":["#).as_deref(), Some("7"));
        assert_eq!(id(r#"{"id":"a","result":nonsense}"#).as_deref(), Some("a"));
        assert_eq!(id(r#"{"jsonrpc":"2.0","method":"ping","id":7,"x":"#), None);
        for nothing in ["", "log: ready", "[1", r#"{"result": {"id": 7"#, r#"{"id": {"#] {
            assert_eq!(id(nothing), None, "{nothing}");
        }
        let nested = "[".repeat(100_000);
        assert_eq!(id(&format!("{{\"id\": 1, \"result\": {nested}")).as_deref(), Some("1"));
    }
}

//! Finds the id of a message that cannot be read, so that its sender can be told.

use rmcp::model::RequestId;

/// A reader of a JSON text's outermost level that takes it in pieces and never fails.
///
/// It keeps at most [`Scan::TOKEN_BYTES_MAX`] bytes, so it can watch a text go by that is far too
/// long to be kept.
#[derive(Debug, Default)]
pub(super) struct Scan {
    depth: usize,
    string: Str,
    position: Position,
    token: Vec<u8>,
    key: Vec<u8>,
    keys: Keys,
    id: Option<RequestId>,
}

/// To whom the answer to an unreadable message goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recipient {
    /// To the request of this id, or to no particular one.
    Request(Option<RequestId>),
    /// To nobody: notifications and responses are not answered.
    Nobody,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Str {
    #[default]
    Outside,
    Inside,
    Escape,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Position {
    #[default]
    Start,
    Key,
    Value,
    End,
    /// Not one object: nothing can be said about it.
    Astray,
}

#[derive(Debug, Default)]
struct Keys {
    n_ids: usize,
    has_method: bool,
    has_reply: bool,
}

impl Scan {
    /// The longest key or id that is kept.
    const TOKEN_BYTES_MAX: usize = 256;

    /// Looks at the next piece of the text.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        for byte in piece {
            self.step(*byte);
        }
    }

    /// Says who must be told, once the whole text has gone by.
    pub(super) fn finish(self) -> Recipient {
        let Keys { n_ids, has_method, has_reply } = self.keys;
        let is_whole = self.position == Position::End;
        if has_reply && !has_method || is_whole && has_method && n_ids == 0 {
            return Recipient::Nobody;
        }
        Recipient::Request(self.id.filter(|_| n_ids == 1 && self.position != Position::Astray))
    }

    fn step(&mut self, byte: u8) {
        match (self.depth, &self.string) {
            (0, _) => self.step_outside(byte),
            (_, Str::Outside) => self.step_between(byte),
            (_, Str::Inside | Str::Escape) => self.step_in_string(byte),
        }
    }

    fn step_outside(&mut self, byte: u8) {
        match byte {
            b'{' if self.position == Position::Start => {
                self.depth = 1;
                self.position = Position::Key;
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => self.position = Position::Astray,
        }
    }

    fn step_in_string(&mut self, byte: u8) {
        self.keep(byte);
        self.string = match (&self.string, byte) {
            (Str::Inside, b'\\') => Str::Escape,
            (Str::Inside, b'"') => Str::Outside,
            _ => Str::Inside,
        };
    }

    fn step_between(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.keep(byte);
                self.string = Str::Inside;
            }
            b'{' | b'[' => {
                self.keep(byte);
                self.depth += 1;
            }
            b'}' | b']' => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.end_field();
                    self.position = Position::End;
                }
            }
            b':' if self.depth == 1 => {
                self.key = std::mem::take(&mut self.token);
                self.position = Position::Value;
            }
            b',' if self.depth == 1 => {
                self.end_field();
                self.position = Position::Key;
            }
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.token.len() < Self::TOKEN_BYTES_MAX {
            self.token.push(byte);
        }
    }

    fn end_field(&mut self) {
        if self.position == Position::Value {
            match self.key.trim_ascii() {
                b"\"id\"" => {
                    self.keys.n_ids += 1;
                    self.id = serde_json::from_slice(&self.token).ok();
                }
                b"\"method\"" => self.keys.has_method = true,
                b"\"result\"" | b"\"error\"" => self.keys.has_reply = true,
                _ => {}
            }
        }
        self.token.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &Recipient) {
        for size in [1, 7, text.len().max(1)] {
            let mut scan = Scan::default();
            text.as_bytes().chunks(size).for_each(|piece| scan.feed(piece));
            assert_eq!(&scan.finish(), expected, "{text} in pieces of {size}");
        }
    }

    fn request(id: impl Into<Option<i64>>) -> Recipient {
        Recipient::Request(id.into().map(RequestId::Number))
    }

    #[test]
    fn an_id_is_found_wherever_it_stands() {
        check(r#"{"id": 7, "method": "x", "params": {"a": NaN}}"#, &request(7));
        check(r#"{"method": "x", "params": {"id": 1, "a": [NaN]}, "id": 7}"#, &request(7));
        check(r#"{"method": "x", "id": 7, "params": {"a": "#, &request(7));
        check(r#"{"params": {"t": "\\\"}, id: 3"}, "id": -7 , "method": "x"}"#, &request(-7));
        check(
            r#"{"id": "q\"1", "method": nonsense}"#,
            &Recipient::Request(Some(RequestId::String("q\"1".into()))),
        );
    }

    #[test]
    fn an_id_that_means_nothing_or_two_things_is_none() {
        check(r#"{"id": 7, "id": 8, "method": "x"}"#, &request(None));
        check(r#"{"id": {"id": 7}, "method": "x"}"#, &request(None));
        check(r#"{"id": 1.5, "method": "x"}"#, &request(None));
        check(r#"{"id": 1 2, "method": "x"}"#, &request(None));
        check(r#"[{"id": 7, "method": "x"}]"#, &request(None));
        check(r#"{"id": 7, "method": "x"} {}"#, &request(None));
        check("hello", &request(None));
        check("", &request(None));
        check("}}}", &request(None));
        check("{]]]", &request(None));
        check(&format!(r#"{{"id": "{}", "method": "x"}}"#, "x".repeat(300)), &request(None));
    }

    #[test]
    fn notifications_and_responses_are_not_answered() {
        check(r#"{"method": "x", "params": {"a": 1, "a": 2}}"#, &Recipient::Nobody);
        check(r#"{"id": 7, "result": {"a": 1, "a": 2}}"#, &Recipient::Nobody);
        check(r#"{"id": 7, "error": NaN}"#, &Recipient::Nobody);
    }

    #[test]
    fn half_a_message_may_have_been_a_request() {
        check(r#"{"method": "x", "params": {"#, &request(None));
    }
}

//! Spans as OTLP's protocol buffers, by the numbers of `opentelemetry/proto/trace/v1/trace.proto`.
//!
//! The few messages that are written need no crate; nothing is read.

use super::{
    attributes::{Said, Value, flags},
    batch::{SCOPE, SCOPE_VERSION, nanos},
};
use crate::ports::Span;

/// `ExportTraceServiceRequest`.
pub(super) fn request(resource: &[(String, String)], spans: &[(&Span, Said)]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |it| {
            for (name, value) in resource {
                it.attribute(1, name, |it| it.bytes(1, value.as_bytes()));
            }
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.bytes(1, SCOPE.as_bytes());
                scope.bytes(2, SCOPE_VERSION.as_bytes());
            });
            for (span, said) in spans {
                scope_spans.message(2, |it| one(it, span, said));
            }
        });
    });
    request.0
}

/// `Span`.
fn one(message: &mut Message, span: &Span, said: &Said) {
    message.bytes(1, span.trace.as_bytes());
    message.bytes(2, span.id.as_bytes());
    if let Some(state) = &span.state {
        message.bytes(3, state.as_bytes());
    }
    if let Some(parent) = span.parent {
        message.bytes(4, parent.as_bytes());
    }
    message.bytes(5, said.name.as_bytes());
    message.number(6, said.kind as u64);
    message.fixed64(7, nanos(span.started_at));
    message.fixed64(8, nanos(span.ended_at));
    for (name, value) in &said.attributes {
        message.attribute(9, name, |it| match value {
            Value::Text(text) => it.bytes(1, text.as_bytes()),
            Value::Flag(flag) => it.number(2, (*flag).into()),
            Value::Whole(number) => it.number(3, number.cast_unsigned()),
        });
    }
    if said.has_failed {
        message.message(15, |status| status.number(3, 2));
    }
    message.fixed32(16, flags(said, span.parent));
}

/// The bytes of one message.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    /// A field that is a number of variable length.
    fn number(&mut self, field: u32, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn fixed64(&mut self, field: u32, value: u64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn fixed32(&mut self, field: u32, value: u32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    /// A field that is a text, bytes, or a message.
    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// `KeyValue`.
    fn attribute(&mut self, field: u32, name: &str, write: impl FnOnce(&mut Self)) {
        self.message(field, |it| {
            it.bytes(1, name.as_bytes());
            it.message(2, write);
        });
    }

    fn key(&mut self, field: u32, kind: u32) {
        self.varint(u64::from(field << 3 | kind));
    }

    /// Seven bits a byte, the lowest first; all but the last have the high bit set.
    fn varint(&mut self, mut value: u64) {
        while let rest @ 1.. = value >> 7 {
            self.0.push(0x80 | value.to_le_bytes()[0]);
            value = rest;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_must_be() {
        let written = |value| {
            let mut message = Message::default();
            message.varint(value);
            message.0
        };
        assert_eq!(written(0), [0]);
        assert_eq!(written(127), [127]);
        assert_eq!(written(300), [0xac, 0x02]);
        assert_eq!(written(u64::MAX), [[0xff; 9].as_slice(), &[1]].concat());
    }

    #[test]
    fn fields_stand_under_their_numbers_and_kinds() {
        let mut message = Message::default();
        message.fixed32(16, 1);
        message.message(15, |it| it.number(3, 2));
        message.attribute(9, "a", |it| it.bytes(1, b"b"));
        let expected = [
            &[0x85, 0x01, 1, 0, 0, 0][..],
            &[0x7a, 2, 0x18, 2],
            &[0x4a, 8, 0x0a, 1, b'a', 0x12, 3, 0x0a, 1, b'b'],
        ];
        assert_eq!(message.0, expected.concat());
    }
}

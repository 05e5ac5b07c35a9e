//! Spans as OTLP's JSON: identifiers in hexadecimal digits, long numbers as texts.

use serde_json::{Value as Json, json};

use super::{
    attributes::{Said, Value, flags},
    batch::{SCOPE, SCOPE_VERSION, nanos},
};
use crate::ports::Span;

pub(super) fn request(resource: &[(String, String)], spans: &[(&Span, Said)]) -> Vec<u8> {
    let resource: Vec<_> = resource
        .iter()
        .map(|(name, value)| json!({ "key": name, "value": { "stringValue": value } }))
        .collect();
    let spans: Vec<_> = spans.iter().map(|(span, said)| one(span, said)).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": SCOPE, "version": SCOPE_VERSION }, "spans": spans }],
    }] })
    .to_string()
    .into_bytes()
}

fn one(span: &Span, said: &Said) -> Json {
    let attribute = |(name, value): &(&str, Value)| {
        let value = match value {
            Value::Text(it) => json!({ "stringValue": it }),
            Value::Whole(it) => json!({ "intValue": it.to_string() }),
            Value::Flag(it) => json!({ "boolValue": it }),
        };
        json!({ "key": name, "value": value })
    };
    let mut one = json!({
        "traceId": span.trace.to_string(),
        "spanId": span.id.to_string(),
        "flags": flags(said, span.parent),
        "name": said.name,
        "kind": said.kind as u32,
        "startTimeUnixNano": nanos(span.started_at).to_string(),
        "endTimeUnixNano": nanos(span.ended_at).to_string(),
        "attributes": said.attributes.iter().map(attribute).collect::<Vec<_>>(),
    });
    if let Some(parent) = span.parent {
        one["parentSpanId"] = parent.to_string().into();
    }
    if let Some(state) = &span.state {
        one["traceState"] = (**state).into();
    }
    if said.has_failed {
        one["status"] = json!({ "code": 2 });
    }
    one
}

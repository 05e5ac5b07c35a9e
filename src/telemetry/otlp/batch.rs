//! One request to a collector: spans, and who tells them, in one of the two encodings.

use super::{
    attributes::{Said, Servers, say},
    json, protobuf,
};
use crate::{config::OtlpProtocol, ports::Span};

/// Who tells the spans.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    /// What is said of the program.
    pub(super) resource: Vec<(String, String)>,
    /// Where upstreams are.
    pub(super) servers: Servers,
    pub(super) protocol: OtlpProtocol,
}

impl Teller {
    /// The body of the request.
    pub(super) fn body(&self, spans: &[Span]) -> Vec<u8> {
        let said: Vec<(&Span, Said)> =
            spans.iter().map(|it| (it, say(it, &self.servers))).collect();
        match self.protocol {
            OtlpProtocol::Protobuf => protobuf::request(&self.resource, &said),
            OtlpProtocol::Json => json::request(&self.resource, &said),
        }
    }

    pub(super) fn content_type(&self) -> &'static str {
        match self.protocol {
            OtlpProtocol::Protobuf => "application/x-protobuf",
            OtlpProtocol::Json => "application/json",
        }
    }
}

/// The name under which the program tells its spans.
pub(super) const SCOPE: &str = env!("CARGO_PKG_NAME");
/// Its version.
pub(super) const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Nanoseconds since 1970.
pub(super) fn nanos(at: crate::model::Millis) -> u64 {
    at.0.saturating_mul(1_000_000)
}

//! What is told to tracing systems, and the variables by which OpenTelemetry says it everywhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    environment::Environment,
    error::{ConfigError, Source},
    keys::canonical,
    layer::Entry,
    supply::SecretText,
};
use crate::model::text;

/// What is told to others of what the program does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Where traces go.
    pub otlp: Otlp,
}

/// Where traces go, as OTLP over HTTP; nowhere unless there is an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// Whether traces go anywhere at all; default true.
    pub enabled: bool,
    /// The collector's address, http or https, without a password in it; `/v1/traces` is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The address for traces as it is, before `endpoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traces_endpoint: Option<String>,
    /// `http/protobuf` (default) or `http/json`.
    pub protocol: OtlpProtocol,
    /// Headers of every request; values may refer to secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, SecretText>,
    /// The name under which the program's spans stand; default `parallel-dispatch`.
    pub service_name: String,
    /// What else is said of the program with its spans, each `name=value`; at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_attributes: Vec<String>,
    /// The share of traces that begin here and are told: 0 to 1, default 1. Of a trace that a
    /// caller began, the caller decides.
    pub sample_ratio: f64,
}

/// How spans are written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OtlpProtocol {
    /// As protocol buffers.
    #[default]
    #[serde(rename = "http/protobuf")]
    Protobuf,
    /// As JSON.
    #[serde(rename = "http/json")]
    Json,
}

impl Otlp {
    /// Where spans are posted to; nothing if they are not.
    pub fn url(&self) -> Option<String> {
        let base = || Some(format!("{}/v1/traces", self.endpoint.as_ref()?.trim_end_matches('/')));
        self.traces_endpoint.clone().or_else(base).filter(|_| self.enabled)
    }
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            enabled: true,
            endpoint: None,
            traces_endpoint: None,
            protocol: OtlpProtocol::default(),
            headers: BTreeMap::new(),
            service_name: env!("CARGO_PKG_NAME").to_owned(),
            resource_attributes: Vec::new(),
            sample_ratio: 1.0,
        }
    }
}

/// The variables that set one key each. Of two, the later goes before.
const KEYED: [(&str, &str); 3] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp.endpoint"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "telemetry.otlp.traces_endpoint"),
    ("OTEL_SERVICE_NAME", "telemetry.otlp.service_name"),
];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"];
const ENABLED: &str = "telemetry.otlp.enabled";

/// The layer of OpenTelemetry's variables. They are said to every program of a session, so what
/// is wrong with them is a warning and no reason not to start.
pub(super) fn entries(environment: &Environment, warnings: &mut Vec<String>) -> Vec<Entry> {
    let mut reading = Reading { environment, faults: Vec::new(), entries: Vec::new() };
    for (name, key) in KEYED {
        reading.keyed(name, key);
    }
    reading.protocol();
    for name in HEADERS {
        reading.headers(name);
    }
    reading.attributes();
    reading.off("OTEL_SDK_DISABLED", "true");
    reading.off("OTEL_TRACES_EXPORTER", "none");
    let ignored = |it: ConfigError| format!("{it}; it counts as not said");
    warnings.extend(reading.faults.into_iter().map(ignored));
    reading.entries
}

struct Reading<'a> {
    environment: &'a Environment,
    faults: Vec<ConfigError>,
    entries: Vec<Entry>,
}

impl Reading<'_> {
    fn keyed(&mut self, name: &'static str, key: &str) {
        let Some(text) = self.environment.get(name) else { return };
        let source = Source::Environment(name);
        self.entries.extend(self.environment.entry(source, key, text, &mut self.faults));
    }

    fn protocol(&mut self) {
        let said = PROTOCOLS.iter().find_map(|it| Some((*it, self.environment.get(it)?)));
        let Some((name, text)) = said else { return };
        if text != "grpc" {
            return self.keyed(name, "telemetry.otlp.protocol");
        }
        if self.entries.iter().any(|it| it.key.ends_with("endpoint")) {
            let message = "is grpc, which is not spoken here: say http/protobuf, and its port; no \
                           traces are told";
            self.fault(name, "telemetry.otlp.protocol", message);
            self.set(name, ENABLED, false.into());
        }
    }

    /// Reads `name=value,name=value`, with `%2C` and the like in values.
    fn headers(&mut self, name: &'static str) {
        let pairs = pairs(self.environment.get(name).unwrap_or_default());
        for pair in pairs {
            let is_name = |it: &str| {
                let is_inner = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-');
                (1..=64).contains(&it.len()) && it.bytes().all(is_inner)
            };
            match pair {
                Some((header, value)) if is_name(&header) && !value.contains("${") => {
                    let key = canonical(&["telemetry", "otlp", "headers", &header]);
                    self.set(name, &key, value.into());
                }
                // Whatever stands there may be a secret.
                _ => self.fault(name, "telemetry.otlp.headers", "must be name=value,name=value"),
            }
        }
    }

    fn attributes(&mut self) {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let pairs = pairs(self.environment.get(name).unwrap_or_default());
        let (known, wrong): (Vec<_>, Vec<_>) = pairs.into_iter().partition(Option::is_some);
        if !wrong.is_empty() {
            let message = "must be name=value,name=value";
            self.fault(name, "telemetry.otlp.resource_attributes", message);
        }
        let known = known.into_iter().flatten().filter(|it| !it.0.is_empty());
        let list: Vec<String> = known.take(256).map(|it| format!("{}={}", it.0, it.1)).collect();
        if !list.is_empty() {
            self.set(name, "telemetry.otlp.resource_attributes", list.into());
        }
    }

    fn off(&mut self, name: &'static str, word: &str) {
        if self.environment.get(name).is_some_and(|it| it.eq_ignore_ascii_case(word)) {
            self.set(name, ENABLED, false.into());
        }
    }

    fn set(&mut self, name: &'static str, key: &str, value: serde_json::Value) {
        let (key, source) = (key.to_owned(), Source::Environment(name));
        self.entries.push(Entry { written: key.clone(), key, value, source });
    }

    fn fault(&mut self, name: &'static str, key: &str, message: &str) {
        self.faults.push(ConfigError::new(Source::Environment(name), key, message));
    }
}

/// The pairs of a list; nothing for one that is no pair.
fn pairs(list: &str) -> Vec<Option<(String, String)>> {
    let items = list.split(',').map(str::trim).filter(|it| !it.is_empty());
    let pair = |it: &str| {
        let (name, value) = it.split_once('=')?;
        let value = decode(value.trim())?;
        let is_shown = !value.chars().any(char::is_control) && text::escape(name) == name;
        is_shown.then(|| (name.trim().to_owned(), value))
    };
    items.map(pair).collect()
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2).filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

/// One `name=value` of the settings.
pub(super) fn attribute(text: &str) -> Result<(), String> {
    let pair = text.split_once('=').filter(|it| !it.0.trim().is_empty());
    if pair.is_none() || text.len() > 1_024 || text.chars().any(char::is_control) {
        return Err("must hold texts of the form name=value of at most 1024 bytes".to_owned());
    }
    Ok(())
}

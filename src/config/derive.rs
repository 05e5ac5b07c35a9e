//! What follows from the values that stand: the rest of each upstream's settings.

use serde_json::Value;

use super::{
    error::{ConfigError, Source},
    layer::Merged,
};
use crate::model::{ARCHON, EMBEDDED};

/// Headers that belong to the protocol.
const RESERVED: [&str; 8] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "mcp-protocol-version",
    "mcp-session-id",
    "transfer-encoding",
];
/// Fields that only a child process has, and those that only a server at an address has.
const CHILD_ONLY: [&str; 4] = ["command", "args", "env", "env_pass"];
const ADDRESS_ONLY: [&str; 3] = ["url", "headers", "bearer"];

/// What every upstream has that says nothing else, by field.
#[rustfmt::skip]
const BUILT_IN: [(&str, u64); 4] = [
    ("breaker_failures", 5),
    ("breaker_open_seconds", 1),
    ("response_bytes_max", 16 << 20),
    ("retry_backoff_ms", 100),
];
/// What is taken from elsewhere in the settings.
const TAKEN: [(&str, &str); 3] = [
    ("max_concurrent", "limits.max_workers"),
    ("retry_attempts", "mcp.retry_attempts"),
    ("timeout_seconds", "mcp.timeout_seconds"),
];

/// Fills in what the upstreams leave out, and refuses those that cannot be reached.
pub(super) fn upstreams(merged: &mut Merged, faults: &mut Vec<ConfigError>) {
    for name in merged.names("upstreams") {
        let mut deriving = Deriving { merged, faults, section: format!("upstreams.{name}") };
        if name == EMBEDDED {
            deriving.refuse_section("is the Archon in this process; choose another name");
            continue;
        }
        deriving.transport();
        deriving.defaults(&name);
        deriving.headers();
    }
}

struct Deriving<'a> {
    merged: &'a mut Merged,
    faults: &'a mut Vec<ConfigError>,
    section: String,
}

impl Deriving<'_> {
    fn defaults(&mut self, name: &str) {
        // The older transport ended before the newest handshake began.
        let is_old = name == ARCHON || self.text("transport") == Some("sse");
        self.fill("protocol", if is_old { "legacy" } else { "auto" }.into());
        for (field, from) in TAKEN {
            let value = self.merged.get(from).map(|it| it.0.clone()).unwrap_or_default();
            self.fill(field, value);
        }
        for (field, value) in BUILT_IN {
            self.fill(field, value.into());
        }
    }

    fn transport(&mut self) {
        let has_command = self.said("command").is_some();
        let is_stdio = match self.text("transport") {
            Some(said) => said == "stdio",
            None => has_command,
        };
        if is_stdio {
            self.drop_built_in_url();
            self.fill("transport", "stdio".into());
            self.refuse(&ADDRESS_ONLY, "is not for a child process (`command`)");
        } else {
            self.fill("transport", "http".into());
            self.refuse(&CHILD_ONLY, "is only for a child process (`transport: stdio`)");
        }
        match (is_stdio, has_command, self.said("url").is_some()) {
            (true, false, _) => self.fault("command", "is missing: a child process needs one"),
            (false, _, false) => {
                self.fault("url", "is missing: an upstream needs an address or a command");
            }
            _ => {}
        }
        if self.text("transport") == Some("sse") {
            self.mend_sse_url();
        }
    }

    /// Archon's usual address is no address of the child process that somebody chose.
    fn drop_built_in_url(&mut self) {
        let key = self.key("url");
        if self.merged.get(&key).is_some_and(|it| *it.1 == Source::BuiltIn) {
            self.merged.remove(&key);
        }
    }

    /// A bare host was given the path of the other transport.
    fn mend_sse_url(&mut self) {
        let Some(base) = self.text("url").and_then(|it| it.strip_suffix("/mcp")) else { return };
        let is_bare = base.split_once("://").is_some_and(|it| !it.1.contains('/'));
        if is_bare {
            let url = format!("{base}/sse");
            self.merged.adjust(&self.key("url"), url.into());
        }
    }

    fn headers(&mut self) {
        let section = self.key("headers.");
        let names = self.merged.iter().filter_map(|it| it.0.strip_prefix(&section));
        let names: Vec<String> = names.map(str::to_owned).collect();
        for name in names {
            let lower = name.to_ascii_lowercase();
            if RESERVED.contains(&lower.as_str()) {
                self.fault(&format!("headers.{name}"), "belongs to the protocol; leave it out");
            }
            if lower == "authorization" && self.said("bearer").is_some() {
                self.fault(&format!("headers.{name}"), "is what `bearer` makes; keep one of them");
            }
        }
    }

    fn refuse(&mut self, fields: &[&str], message: &str) {
        for field in fields {
            if self.said(field).is_some() {
                self.fault(field, message);
            }
        }
    }

    fn key(&self, field: &str) -> String {
        format!("{}.{field}", self.section)
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.merged.get(&self.key(field))?.0.as_str()
    }

    /// The place of a field, or of the first field below it.
    fn said(&self, field: &str) -> Option<Source> {
        let (key, section) = (self.key(field), self.key(&format!("{field}.")));
        let mut said = self.merged.iter().filter(|it| it.0 == key || it.0.starts_with(&section));
        said.next().map(|it| it.2.clone())
    }

    fn fill(&mut self, field: &str, value: Value) {
        self.merged.fill(&self.key(field), || (value, Source::BuiltIn));
    }

    fn fault(&mut self, field: &str, message: &str) {
        let place = self.said(field).unwrap_or_else(|| self.said_first());
        self.faults.push(ConfigError::new(place, &self.key(field), message));
    }

    fn refuse_section(&mut self, message: &str) {
        self.faults.push(ConfigError::new(self.said_first(), &self.section, message));
    }

    /// The place of the first value that a layer set in the section.
    fn said_first(&self) -> Source {
        let inner = self.key("");
        let is_inside = |key: &str| key == self.section || key.starts_with(&inner);
        let mut said = self.merged.iter().filter(|it| is_inside(it.0) && *it.2 != Source::BuiltIn);
        said.next().map_or(Source::BuiltIn, |it| it.2.clone())
    }
}

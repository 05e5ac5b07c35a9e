//! What a span says of itself, in the words of OpenTelemetry's conventions for `GenAI` and MCP.
//!
//! Names and numbers only: no text of a task, no output, no message.

use std::collections::BTreeMap;

use crate::{
    model::{AgentName, DispatchStatus, FailureCode, SpanId, TaskStatus, Usage, text},
    ports::{Span, Spanned},
};

/// The longest name of a stranger's that is told, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// What stands for an upstream where an agent runs a program.
const COMMAND: &str = "command";
/// What stands for one where workers pull. Their names are their own business.
const WORKERS: &str = "workers";

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Whole(i64),
    Flag(bool),
}

/// What kind of work a span is, by its number in OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Internal = 1,
    Client = 3,
}

/// A span in the words of OTLP.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) has_failed: bool,
    /// Whether the span above it is in another process.
    pub(super) has_remote_parent: bool,
}

/// Where upstreams are: host and port, by name in the settings.
pub(super) type Servers = BTreeMap<String, (String, Option<u16>)>;

pub(super) fn say(span: &Span, servers: &Servers) -> Said {
    let mut said = Said {
        name: "dispatch".to_owned(),
        kind: Kind::Internal,
        attributes: Vec::new(),
        has_failed: false,
        has_remote_parent: false,
    };
    said.text("parallel_dispatch.dispatch.id", &span.dispatch.to_string());
    match &span.what {
        Spanned::Dispatch { status, n_tasks, retry_of } => {
            said.text("parallel_dispatch.status", status.as_str());
            said.whole("parallel_dispatch.task.count", *n_tasks as u64);
            if let Some(earlier) = retry_of {
                said.text("parallel_dispatch.dispatch.retry_of", &earlier.to_string());
            }
            said.has_failed = *status != DispatchStatus::Success;
            said.has_remote_parent = span.parent.is_some();
            if said.has_failed {
                said.text("error.type", status.as_str());
            }
        }
        Spanned::Task { task_id, agent, status, failure, n_attempts, is_reused } => {
            said.name = format!("task {}", short(agent.as_str()));
            said.text("parallel_dispatch.task.id", task_id.as_str());
            said.text("parallel_dispatch.status", status.as_str());
            said.text("gen_ai.agent.name", agent.as_str());
            said.whole("parallel_dispatch.task.attempts", (*n_attempts).into());
            if *is_reused {
                said.attributes.push(("parallel_dispatch.task.reused", Value::Flag(true)));
            }
            // What is not needed is no failure.
            if !matches!(status, TaskStatus::Success | TaskStatus::Skipped) {
                said.fail(*failure);
            }
        }
        Spanned::Attempt { task_id, agent, attempt, failure, usage, tool } => {
            said.text("parallel_dispatch.task.id", task_id.as_str());
            said.whole("parallel_dispatch.attempt", attempt.0.into());
            said.agent(agent, tool.as_deref(), span);
            said.usage(*usage);
            said.fail(*failure);
        }
        Spanned::Call { upstream, tool, failure } => {
            said.call(upstream, tool, servers);
            said.fail(*failure);
        }
    }
    said
}

impl Said {
    fn agent(&mut self, agent: &AgentName, tool: Option<&str>, span: &Span) {
        let (operation, what) = match tool {
            Some(tool) => ("execute_tool", tool),
            None => ("invoke_agent", agent.as_str()),
        };
        self.name = format!("{operation} {}", short(what));
        self.text("gen_ai.operation.name", operation);
        self.text("gen_ai.agent.name", agent.as_str());
        if let Some(tool) = tool {
            self.text("gen_ai.tool.name", tool);
        }
        self.text("gen_ai.conversation.id", &span.dispatch.to_string());
    }

    fn usage(&mut self, usage: Option<Usage>) {
        let Some(usage) = usage else { return };
        for (name, tokens) in [
            ("gen_ai.usage.input_tokens", usage.input_tokens),
            ("gen_ai.usage.output_tokens", usage.output_tokens),
        ] {
            if let Some(tokens) = tokens {
                self.whole(name, tokens);
            }
        }
    }

    fn call(&mut self, upstream: &str, tool: &str, servers: &Servers) {
        match upstream {
            COMMAND => {
                self.name = format!("run {}", short(tool));
                self.text("process.executable.name", tool);
            }
            WORKERS => "work of a worker".clone_into(&mut self.name),
            _ => {
                self.name = format!("tools/call {}", short(tool));
                self.kind = Kind::Client;
                self.text("mcp.method.name", "tools/call");
                self.text("gen_ai.operation.name", "execute_tool");
                self.text("gen_ai.tool.name", tool);
                self.text("parallel_dispatch.upstream", upstream);
                if let Some((host, port)) = servers.get(upstream) {
                    self.text("server.address", host);
                    if let Some(port) = port {
                        self.whole("server.port", (*port).into());
                    }
                }
            }
        }
    }

    fn fail(&mut self, failure: Option<FailureCode>) {
        if let Some(code) = failure {
            self.has_failed = true;
            self.text("error.type", code.as_str());
        }
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.attributes.push((name, Value::Text(short(value))));
    }

    fn whole(&mut self, name: &'static str, value: u64) {
        self.attributes.push((name, Value::Whole(i64::try_from(value).unwrap_or(i64::MAX))));
    }
}

/// A name that can be shown: not long, and nothing in it that does something.
fn short(name: &str) -> String {
    text::escape(&text::cut(name, NAME_BYTES_MAX))
}

/// The bits of a span's flags: recorded, and whether the one above is elsewhere.
pub(super) fn flags(said: &Said, parent: Option<SpanId>) -> u32 {
    let of_parent = match (parent, said.has_remote_parent) {
        (None, _) => 0,
        (Some(_), false) => 0x100,
        (Some(_), true) => 0x300,
    };
    1 | of_parent
}

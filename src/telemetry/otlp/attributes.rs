//! What a span says of itself, in the words of OpenTelemetry's conventions for `GenAI` and MCP.
//!
//! Names and numbers only: no text of a task, no output, no message.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::known::{Known, Model};
use crate::{
    model::{AgentName, DispatchStatus, FailureCode, Millis, TaskStatus, Usage, text},
    ports::{Span, Spanned},
};

/// The longest name of a stranger's that is told, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// What stands for an upstream where an agent runs a program.
const COMMAND: &str = "command";
/// What stands for one where workers pull. Their names are their own business.
const WORKERS: &str = "workers";

/// What is said of a span beside its place and its time.
#[derive(Debug)]
struct Said {
    name: String,
    kind: SpanKind,
    attributes: Vec<KeyValue>,
    has_failed: bool,
    /// Whether the span above it is in another process.
    has_remote_parent: bool,
}

/// A span in the words of OpenTelemetry.
pub(super) fn say(span: Span, scope: &InstrumentationScope, known: &Known) -> SpanData {
    let Said { name, kind, attributes, has_failed, has_remote_parent } = words(&span, known);
    let trace = TraceId::from_bytes(*span.trace.as_bytes());
    let id = |it: crate::model::SpanId| SpanId::from_bytes(*it.as_bytes());
    let state = span.state.and_then(|it| it.parse().ok()).unwrap_or_default();
    SpanData {
        span_context: SpanContext::new(trace, id(span.id), TraceFlags::SAMPLED, false, state),
        parent_span_id: span.parent.map_or(SpanId::INVALID, id),
        parent_span_is_remote: has_remote_parent,
        span_kind: kind,
        name: name.into(),
        start_time: time(span.started_at),
        end_time: time(span.ended_at),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if has_failed { Status::error("") } else { Status::Unset },
        instrumentation_scope: scope.clone(),
    }
}

fn time(at: Millis) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(at.0)
}

fn words(span: &Span, known: &Known) -> Said {
    let mut said = Said {
        name: "dispatch".to_owned(),
        kind: SpanKind::Internal,
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
                said.put("parallel_dispatch.task.reused", true);
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
            said.model(known.model(agent.as_str()));
            said.usage(*usage);
            said.fail(*failure);
        }
        Spanned::Call { upstream, tool, failure } => {
            said.call(upstream, tool, known);
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

    fn model(&mut self, model: Option<&Model>) {
        let Some(Model { provider, name }) = model else { return };
        self.text("gen_ai.provider.name", provider);
        if let Some(name) = name {
            self.text("gen_ai.request.model", name);
        }
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

    fn call(&mut self, upstream: &str, tool: &str, known: &Known) {
        match upstream {
            COMMAND => {
                self.name = format!("run {}", short(tool));
                self.text("process.executable.name", tool);
            }
            WORKERS => {
                "work of a worker".clone_into(&mut self.name);
                self.kind = SpanKind::Client;
            }
            _ => {
                self.name = format!("tools/call {}", short(tool));
                self.kind = SpanKind::Client;
                self.text("mcp.method.name", "tools/call");
                self.text("gen_ai.operation.name", "execute_tool");
                self.text("gen_ai.tool.name", tool);
                self.text("parallel_dispatch.upstream", upstream);
                if let Some((host, port)) = known.server(upstream) {
                    self.text("server.address", host);
                    if let Some(port) = port {
                        self.whole("server.port", port.into());
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
        self.put(name, short(value));
    }

    fn whole(&mut self, name: &'static str, value: u64) {
        self.put(name, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn put(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push(KeyValue::new(name, value));
    }
}

/// A name that can be shown: not long, and nothing in it that does something.
fn short(name: &str) -> String {
    text::escape(&text::cut(name, NAME_BYTES_MAX))
}

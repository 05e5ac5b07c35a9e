//! What single steps do: calls, new text, files.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use minijinja::Value as Dynamic;
use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    super::call::{call_tool, cancelled},
    agent::Links,
    plan::{Act, Place, Program, Recipe, Step, ToolCall},
    scope::with_result,
    template::{Expr, Template, TemplateError, to_dynamic},
};
use crate::{
    confine::{ConfineError, Workspaces},
    model::{Failure, FailureCode},
    ports::AttemptCall,
    upstream::{UpstreamError, decode},
};

/// How many files one step reads at most, and how long each may be.
const FILES_MAX: usize = 64;
const FILE_BYTES_MAX: u64 = 256 << 10;

/// What a step works with.
#[derive(Debug)]
pub(super) struct Tools<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) links: &'a Links,
    pub(super) call: &'a AttemptCall,
    /// When the attempt's time is over.
    pub(super) until: Instant,
    /// The optional steps whose tools are not there.
    pub(super) missing: Arc<[String]>,
}

/// Why a step did not do what it should.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) failure: Failure,
    /// Nothing may go on after it, whatever the recipe says.
    pub(super) is_final: bool,
}

/// What a step made.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) value: Dynamic,
    pub(super) warnings: Vec<String>,
}

impl Tools<'_> {
    /// Does what the step does, once.
    pub(super) fn act<'a>(
        &'a self,
        step: &'a Step,
        scope: &'a Dynamic,
        is_lenient: bool,
    ) -> BoxFuture<'a, Result<Made, Fault>> {
        Box::pin(async move {
            if self.call.cancelled.is_cancelled() {
                return Err(cancelled().into());
            }
            match &step.act {
                Act::Call(call) => self.call_tool(step, call, scope).await.map(|it| Made::of(&it)),
                Act::Generate(template) => {
                    let made = template.fill_kept(scope).map(Made::kept);
                    made.map_err(|error| Fault::template("generate", &error))
                }
                Act::Run(program) => self.run_program(program, scope).await.map(Made::kept),
                Act::ReadFiles(paths) => {
                    let paths = paths_of(&filled("read_files", paths, scope)?)?;
                    self.on_disk(move |it| read_files(it, &paths, is_lenient)).await
                }
                Act::WriteFile { path, content } => {
                    let path = text_of("write_file.path", path, scope)?;
                    let content = text_of("write_file.content", content, scope)?;
                    self.on_disk(move |it| write_file(it, &path, &content)).await
                }
            }
        })
    }

    async fn call_tool(
        &self,
        step: &Step,
        call: &ToolCall,
        scope: &Dynamic,
    ) -> Result<Value, Fault> {
        let args = arguments(&call.args, scope)?;
        let upstream = self.links.find(&call.place).ok_or_else(|| {
            let message = "its upstream is not among the settings";
            Fault::of(FailureCode::UpstreamUnavailable, message)
        })?;
        if self.missing.contains(&step.id) {
            let message = format!("upstream \"{}\" has no tool {}", upstream.name(), call.tool);
            return Err(Fault::of(FailureCode::AgentError, &message));
        }
        let gateway = self.recipe.gateway.as_ref().filter(|_| call.place == Place::Own);
        let (tool, args) = match gateway {
            None => (call.tool.as_str(), args),
            Some(gateway) => {
                let args = Dynamic::from_pairs([
                    ("tool", Dynamic::from(call.tool.as_str())),
                    ("args", to_dynamic(&Value::Object(args))),
                ]);
                (gateway.tool.as_str(), arguments(&gateway.args, &args)?)
            }
        };
        let answer = call_tool(upstream, tool, args, self.call, self.time_left()?).await;
        self.call.heartbeat.beat();
        let mut value = answer?;
        if let Some(gateway) = gateway {
            let answer = Dynamic::from_pairs([("r", to_dynamic(&value))]);
            value = settle(filled("gateway.unwrap", &gateway.unwrap, &answer)?)?;
        }
        refuse_failure(call.fail_when.as_deref(), scope, value)
    }

    async fn run_program(&self, program: &Program, scope: &Dynamic) -> Result<Dynamic, Fault> {
        let input = match filled("generate.text", &program.text, scope)? {
            Value::Null => String::new(),
            Value::String(text) => text,
            data @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                data.to_string()
            }
        };
        self.time_left()?;
        let runner = &self.links.runner;
        let made = runner.run(&program.command, input, self.call, self.until).await;
        made.map(Dynamic::from).map_err(Fault::from)
    }

    /// How long a call may still take.
    fn time_left(&self) -> Result<Duration, Fault> {
        let left = self.until.saturating_duration_since(Instant::now());
        let is_over = left.is_zero();
        let over = || Fault::last(FailureCode::Timeout, "the attempt's time is over");
        if is_over { Err(over()) } else { Ok(left) }
    }

    /// Does what blocks on another thread.
    async fn on_disk(
        &self,
        work: impl FnOnce(&Workspaces) -> Result<Made, Fault> + Send + 'static,
    ) -> Result<Made, Fault> {
        let workspaces = self.links.workspaces.clone();
        let done = tokio::task::spawn_blocking(move || work(&workspaces)).await;
        done.map_err(|error| Fault::of(FailureCode::AgentError, &error.to_string()))?
    }
}

impl Made {
    fn kept(value: Dynamic) -> Self {
        Self { value, warnings: Vec::new() }
    }

    fn of(value: &Value) -> Self {
        Self::kept(to_dynamic(value))
    }
}

impl Fault {
    /// A fault of the step alone; `message` may quote strangers.
    pub(super) fn of(code: FailureCode, message: &str) -> Self {
        UpstreamError::new(code, message).into()
    }

    fn last(code: FailureCode, message: &str) -> Self {
        Self { is_final: true, ..Self::of(code, message) }
    }

    /// A template that could not be filled in.
    pub(super) fn template(field: &str, error: &TemplateError) -> Self {
        Self::of(FailureCode::AgentError, &format!("{field}: {error}"))
    }
}

impl From<UpstreamError> for Fault {
    fn from(error: UpstreamError) -> Self {
        Failure::from(error).into()
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let is_final = failure.code == FailureCode::Cancelled;
        Self { failure, is_final }
    }
}

impl From<ConfineError> for Fault {
    /// A path that leads out is no misfortune that a recipe may shrug off.
    fn from(error: ConfineError) -> Self {
        let leads_out =
            matches!(error, ConfineError::NotAllowed { .. } | ConfineError::NotAbsolute { .. });
        Self { is_final: leads_out, ..Self::of(FailureCode::AgentError, &error.to_string()) }
    }
}

/// Fills arguments in; those that are null are left out.
pub(super) fn arguments(
    args: &[(String, Template)],
    scope: &Dynamic,
) -> Result<Map<String, Value>, Fault> {
    let mut filled_in = Map::new();
    for (name, template) in args {
        let value = filled(name, template, scope)?;
        if !value.is_null() {
            filled_in.insert(name.clone(), value);
        }
    }
    Ok(filled_in)
}

fn filled(field: &str, template: &Template, scope: &Dynamic) -> Result<Value, Fault> {
    template.fill(scope).map_err(|error| Fault::template(field, &error))
}

fn text_of(field: &str, template: &Template, scope: &Dynamic) -> Result<String, Fault> {
    let Value::String(text) = filled(field, template, scope)? else {
        return Err(Fault::of(FailureCode::AgentError, &format!("{field} is no text")));
    };
    Ok(text)
}

/// Reads what stood inside a gateway's answer as if a tool had answered it.
fn settle(inner: Value) -> Result<Value, Fault> {
    let result = if let Value::String(text) = inner {
        CallToolResult::success(vec![ContentBlock::text(text)])
    } else {
        CallToolResult::structured(inner)
    };
    decode(result).0.map_err(Fault::from)
}

/// Tells an answer that the recipe calls a failure from one that is none.
fn refuse_failure(fail_when: Option<&Expr>, scope: &Dynamic, value: Value) -> Result<Value, Fault> {
    let Some(fail_when) = fail_when else { return Ok(value) };
    let scope = with_result(scope, to_dynamic(&value));
    let failed = fail_when.is_true(&scope).map_err(|it| Fault::template("fail_when", &it))?;
    if !failed {
        return Ok(value);
    }
    let failed = CallToolResult::structured_error(value);
    let why = decode(failed).0.err();
    Err(why.map_or_else(|| Fault::of(FailureCode::AgentError, "fail_when holds"), Fault::from))
}

fn paths_of(value: &Value) -> Result<Vec<String>, Fault> {
    let wrong = || Fault::of(FailureCode::AgentError, "read_files is no list of paths");
    let paths = match value {
        Value::Null => Vec::new(),
        Value::String(path) => vec![path.clone()],
        Value::Array(paths) => paths
            .iter()
            .map(|it| it.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()?,
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Err(wrong()),
    };
    if paths.len() > FILES_MAX {
        let message = format!("read_files names {} files; {FILES_MAX} is the most", paths.len());
        return Err(Fault::of(FailureCode::UpstreamLimit, &message));
    }
    Ok(paths)
}

fn read_files(workspaces: &Workspaces, paths: &[String], is_lenient: bool) -> Result<Made, Fault> {
    let (mut files, mut warnings) = (Vec::new(), Vec::new());
    for path in paths {
        match workspaces.read_text(path, FILE_BYTES_MAX).map_err(Fault::from) {
            Ok(text) => files.push(json!({ "path": path, "text": text })),
            Err(fault) if is_lenient && !fault.is_final => {
                warnings.push(format!("a file was not read: {}", fault.failure.message));
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(Made { value: to_dynamic(&files.into()), warnings })
}

fn write_file(workspaces: &Workspaces, path: &str, content: &str) -> Result<Made, Fault> {
    workspaces.write_atomically(path, content.as_bytes())?;
    Ok(Made::of(&json!({ "path": path, "bytes": content.len() })))
}

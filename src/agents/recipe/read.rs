//! Reads a recipe: everything that is wrong with it at once, each fault with its place.

use std::{sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{
    super::command::StepCommand,
    plan::{Act, Check, Each, Gateway, Levels, OnUnmet, Place, Program, Recipe, Step, ToolCall},
    spec::{CommandSpec, GatewaySpec, GenerateSpec, LevelsSpec, RecipeSpec, StepSpec},
    template::{Expr, Template, TemplateError, names_of, to_dynamic},
};
use crate::model::text;

/// What is wrong with a recipe, and where. Shows as `recipes.NAME.steps[1].call: message`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct RecipeFault {
    /// The place, its names joined by dots.
    pub path: String,
    /// What is wrong there, and what would be right.
    pub message: String,
}

/// How many steps a recipe may have.
const STEPS_MAX: usize = 64;
/// How many items a step may go through unless it says, and at most.
const ITEMS_DEFAULT: usize = 100;
const ITEMS_MAX: usize = 1_000;
/// How many items are worked on at once unless the step says, and at most.
const CONCURRENCY_DEFAULT: usize = 4;
const CONCURRENCY_MAX: usize = 64;
/// How long a program may be given at most.
const TIMEOUT_SECONDS_MAX: f64 = 86_400.0;

/// The names that every template of a recipe may use.
const NAMES: [&str; 7] = ["task", "input", "level", "context", "findings", "steps", "deps"];

/// Reads the recipe `name`.
pub(super) fn read(name: &str, value: &Value) -> Result<Recipe, Vec<RecipeFault>> {
    let mut reading = Reading::at(&format!("recipes.{name}"));
    match reading.recipe(name, value) {
        Some(recipe) => reading.end(recipe),
        None => Err(reading.faults),
    }
}

/// Where the reading is, and what was found wrong.
pub(super) struct Reading {
    path: String,
    faults: Vec<RecipeFault>,
    /// Whether a template so far looks at the tasks that a task depends on.
    sees_deps: bool,
}

/// What a template may use besides [`NAMES`], and which steps come before it.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    names: &'a [&'a str],
    steps: &'a [String],
    is_bare: bool,
}

impl Reading {
    /// Begins to read what stands at `path`.
    pub(super) fn at(path: &str) -> Self {
        Self { path: path.to_owned(), faults: Vec::new(), sees_deps: false }
    }

    /// What was read, unless something was wrong with it.
    pub(super) fn end<T>(self, read: T) -> Result<T, Vec<RecipeFault>> {
        if self.faults.is_empty() { Ok(read) } else { Err(self.faults) }
    }

    fn recipe(&mut self, name: &str, value: &Value) -> Option<Recipe> {
        let spec: RecipeSpec = self.parse(value)?;
        if spec.steps.is_empty() || spec.steps.len() > STEPS_MAX {
            self.fault(
                "steps",
                &format!("must be 1 to {STEPS_MAX} steps, are {}", spec.steps.len()),
            );
        }
        let fail_when = self.expr("fail_when", spec.fail_when.as_deref(), Sight::of(&["r"]));
        let fail_when = fail_when.map(Arc::new);
        let mut ids: Vec<String> = Vec::new();
        let mut steps = Vec::new();
        for (at, it) in spec.steps.iter().enumerate() {
            let step = self.inside(&format!("steps[{at}]"), |it_| it_.step(it, &ids));
            if let Some(mut step) = step {
                if let (Act::Call(call), Some(fail_when)) = (&mut step.act, &fail_when) {
                    call.fail_when.get_or_insert_with(|| Arc::clone(fail_when));
                }
                ids.push(step.id.clone());
                steps.push(step);
            }
        }
        let sight = Sight { names: &["warnings"], steps: &ids, is_bare: false };
        let output = self.template("output", &spec.output, sight)?;
        let gateway = spec.gateway.and_then(|it| self.inside("gateway", |me| me.gateway(&it)));
        Some(Recipe {
            name: name.to_owned(),
            digest: digest(value),
            upstream: spec.upstream,
            gateway,
            levels: spec.levels.map(|it| self.levels(it)),
            input: spec.input,
            other_input: spec.other_input,
            steps,
            output,
            sees_deps: self.sees_deps,
        })
    }

    fn levels(&mut self, spec: LevelsSpec) -> Levels {
        if spec.values.is_empty() {
            self.fault("levels.values", "must name at least one level");
        }
        let values = spec.values.iter().map(|(word, it)| (word.clone(), to_dynamic(it)));
        Levels { values: values.collect(), by: spec.by }
    }

    fn gateway(&mut self, spec: &GatewaySpec) -> Option<Gateway> {
        let args = self.inside("args", |it| it.args(&spec.args, Sight::bare(&["tool", "args"])));
        let unwrap = self.template("unwrap", &spec.unwrap, Sight::bare(&["r"]))?;
        Some(Gateway { tool: spec.tool.clone(), args, unwrap })
    }

    /// Reads a step; `before` are those that come earlier, of which only templates may know.
    fn step(&mut self, value: &Value, before: &[String]) -> Option<Step> {
        let spec: StepSpec = self.parse(value)?;
        self.check_id(&spec.id, before);
        let sight = Sight { names: &[], steps: before, is_bare: false };
        let local: &[&str] = if spec.for_each.is_some() { &["item"] } else { &[] };
        let inner = Sight { names: local, steps: before, is_bare: false };
        let with_result: Vec<&str> = local.iter().copied().chain(["r"]).collect();
        let after = Sight { names: &with_result, steps: before, is_bare: false };
        let on_error = spec.on_error.as_deref().unwrap_or("fail");
        let step = Step {
            when: self.expr("when", spec.when.as_deref(), sight),
            each: self.each(&spec, sight),
            pick: spec.pick.as_ref().and_then(|it| self.template("pick", it, after)),
            check: self.check(&spec, sight, after),
            on_error: self.template("on_error", &on_error.into(), sight)?,
            act: self.act(&spec, inner, after)?,
            id: spec.id,
            group: spec.group,
        };
        if let Some(word) = step.on_error.as_fixed().and_then(Value::as_str)
            && !["fail", "continue"].contains(&word)
        {
            self.fault("on_error", &format!("must be fail or continue, is {word:?}"));
        }
        Some(step)
    }

    fn check_id(&mut self, id: &str, before: &[String]) {
        let is_word = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
        let is_name =
            id.bytes().all(is_word) && id.bytes().next().is_some_and(|it| !it.is_ascii_digit());
        if !is_name {
            let rule = "must be letters, digits and `_`, and begin with no digit";
            self.fault("id", rule);
        } else if before.iter().any(|it| it == id) {
            self.fault("id", &format!("is {id:?}, as that of an earlier step"));
        }
    }

    fn each(&mut self, spec: &StepSpec, sight: Sight<'_>) -> Option<Each> {
        let concurrency = spec.concurrency.unwrap_or(CONCURRENCY_DEFAULT);
        let items_max = spec.items_max.unwrap_or(ITEMS_DEFAULT);
        for (name, value, max) in
            [("concurrency", concurrency, CONCURRENCY_MAX), ("items_max", items_max, ITEMS_MAX)]
        {
            if !(1..=max).contains(&value) {
                self.fault(name, &format!("must be 1 to {max}, is {value}"));
            }
        }
        let items = self.template("for_each", spec.for_each.as_ref()?, sight)?;
        Some(Each { items, concurrency, items_max })
    }

    fn check(&mut self, spec: &StepSpec, sight: Sight<'_>, after: Sight<'_>) -> Option<Check> {
        if spec.expect.is_none() && (spec.on_unmet.is_some() || spec.findings.is_some()) {
            self.fault("expect", "is missing: on_unmet and findings belong to it");
        }
        let expect = self.expr("expect", spec.expect.as_deref(), after)?;
        let on_unmet = spec.on_unmet.clone().unwrap_or_default();
        if let Value::Object(_) | Value::Null = on_unmet
            && let Ok(OnUnmet::Repair { step, .. }) = self.on_unmet(&on_unmet)
            && !sight.steps.contains(&step)
        {
            self.fault("on_unmet.repair", &format!("there is no earlier step {step:?}"));
        }
        let on_unmet = self.template("on_unmet", &on_unmet, sight)?;
        if let Some(word @ Value::String(_)) = on_unmet.as_fixed() {
            let _told = self.on_unmet(word);
        }
        let findings = spec.findings.as_ref().and_then(|it| self.template("findings", it, after));
        Some(Check { expect, on_unmet, findings })
    }

    fn on_unmet(&mut self, value: &Value) -> Result<OnUnmet, ()> {
        OnUnmet::read(value).map_err(|message| self.fault("on_unmet", &message))
    }

    fn act(&mut self, spec: &StepSpec, inner: Sight<'_>, after: Sight<'_>) -> Option<Act> {
        let acts = [
            spec.call.is_some(),
            spec.generate.is_some(),
            spec.read_files.is_some(),
            spec.write_file.is_some(),
        ];
        if acts.iter().filter(|it| **it).count() != 1 {
            let rule = "needs one of call, generate, read_files and write_file";
            self.fault("", rule);
            return None;
        }
        if spec.call.is_none() && (spec.upstream.is_some() || !spec.args.is_empty()) {
            self.fault("", "upstream and args belong to call");
        }
        let fail_when = self.expr("fail_when", spec.fail_when.as_deref(), after).map(Arc::new);
        let call = |place: &Option<String>, tool: &String, args| ToolCall {
            place: place.clone().map_or(Place::Own, Place::Other),
            tool: tool.clone(),
            args,
            is_optional: spec.optional,
            fail_when,
        };
        if let Some(tool) = &spec.call {
            let args = self.inside("args", |it| it.args(&spec.args, inner));
            return Some(Act::Call(call(&spec.upstream, tool, args)));
        }
        match (&spec.generate, &spec.read_files, &spec.write_file) {
            (Some(GenerateSpec::Template { text }), ..) => {
                self.template("generate.text", &text.as_str().into(), inner).map(Act::Generate)
            }
            (Some(GenerateSpec::Command(command)), ..) => {
                let program = self.inside("generate", |it| it.program(command, inner))?;
                Some(Act::Run(Box::new(Program { is_optional: spec.optional, ..program })))
            }
            (Some(GenerateSpec::Call { call: tool, upstream, args }), ..) => {
                let args = self.inside("generate.args", |it| it.args(args, inner));
                Some(Act::Call(call(upstream, tool, args)))
            }
            (_, Some(paths), _) => self.template("read_files", paths, inner).map(Act::ReadFiles),
            (.., Some(write)) => Some(Act::WriteFile {
                path: self.template("write_file.path", &write.path.as_str().into(), inner)?,
                content: self.template(
                    "write_file.content",
                    &write.content.as_str().into(),
                    inner,
                )?,
            }),
            (None, None, None) => None,
        }
    }

    fn program(&mut self, spec: &CommandSpec, sight: Sight<'_>) -> Option<Program> {
        if spec.argv.first().is_none_or(String::is_empty) {
            self.fault("argv", "must name a program");
        }
        let dir = spec.working_directory.clone();
        if dir.as_ref().is_some_and(|it| it.is_relative()) {
            self.fault("working_directory", "must be an absolute path");
        }
        let seconds = spec.timeout_seconds;
        if seconds.is_some_and(|it| !(it > 0.0 && it <= TIMEOUT_SECONDS_MAX)) {
            let rule = format!("must be above 0 and at most {TIMEOUT_SECONDS_MAX}");
            self.fault("timeout_seconds", &rule);
        }
        let timeout = seconds.and_then(|it| Duration::try_from_secs_f64(it).ok());
        let (argv, env) = (spec.argv.clone(), spec.env.clone());
        Some(Program {
            command: StepCommand { argv, env, dir, timeout },
            text: self.template("text", &spec.text, sight)?,
            is_optional: false,
        })
    }

    pub(super) fn args(
        &mut self,
        args: &Map<String, Value>,
        sight: Sight<'_>,
    ) -> Vec<(String, Template)> {
        let read = |(name, value): (&String, &Value)| {
            self.template(name, value, sight).map(|it| (name.clone(), it))
        };
        args.iter().filter_map(read).collect()
    }

    fn template(&mut self, field: &str, value: &Value, sight: Sight<'_>) -> Option<Template> {
        let template = self.told(field, Template::read(value))?;
        self.check_names(field, &template.names(), sight);
        Some(template)
    }

    pub(super) fn expr(
        &mut self,
        field: &str,
        text: Option<&str>,
        sight: Sight<'_>,
    ) -> Option<Expr> {
        let expr = self.told(field, Expr::read(text?))?;
        self.check_names(field, &names_of(&expr), sight);
        Some(expr)
    }

    /// A name that nothing will ever have is a slip of the pen.
    fn check_names(&mut self, field: &str, names: &[String], sight: Sight<'_>) {
        for name in names {
            let mut parts = name.split('.');
            let first = parts.next().unwrap_or_default();
            self.sees_deps |= first == "deps" && !sight.is_bare;
            let common = if sight.is_bare { &[] } else { NAMES.as_slice() };
            let known: Vec<_> = common.iter().chain(sight.names).copied().collect();
            let step = parts.next().filter(|_| first == "steps");
            if !known.contains(&first) {
                self.fault(
                    field,
                    &format!(
                        "unknown name `{first}`{}",
                        text::did_you_mean_key(first, known.iter().copied())
                    ),
                );
            } else if let Some(step) = step
                && !sight.steps.iter().any(|it| it == step)
            {
                let steps: Vec<_> = sight.steps.iter().map(String::as_str).collect();
                let meant = text::did_you_mean_key(step, steps.iter().copied());
                self.fault(field, &format!("there is no earlier step `{step}`{meant}"));
            }
        }
    }

    pub(super) fn parse<T: DeserializeOwned>(&mut self, value: &Value) -> Option<T> {
        match T::deserialize(value) {
            Ok(it) => Some(it),
            Err(error) => {
                self.fault("", &text::cut(&error.to_string(), 400));
                None
            }
        }
    }

    fn told<T>(&mut self, field: &str, read: Result<T, TemplateError>) -> Option<T> {
        match read {
            Ok(it) => Some(it),
            Err(error) => {
                self.fault(field, &error.to_string());
                None
            }
        }
    }

    pub(super) fn inside<T>(&mut self, field: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.path.len();
        self.path.push('.');
        self.path.push_str(field);
        let it = read(self);
        self.path.truncate(outer);
        it
    }

    fn fault(&mut self, field: &str, message: &str) {
        let dot = if field.is_empty() { "" } else { "." };
        let path = text::escape(&format!("{}{dot}{field}", self.path));
        self.faults.push(RecipeFault { path, message: text::escape(message) });
    }
}

impl<'a> Sight<'a> {
    /// Of what runs apart from the steps, and knows nothing of the task.
    pub(super) fn bare(names: &'a [&'a str]) -> Self {
        Self { is_bare: true, ..Self::of(names) }
    }

    /// Of what stands outside of all steps.
    fn of(names: &'a [&'a str]) -> Self {
        Self { names, steps: &[], is_bare: false }
    }
}

fn digest(value: &Value) -> String {
    text::hex(&Sha256::digest(value.to_string().as_bytes())[..16])
}

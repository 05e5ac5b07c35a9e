//! What the templates of a running recipe can see.

use minijinja::Value as Dynamic;
use serde_json::{Map, Value, json};

use super::{hooks::task_of, plan::Recipe, template::to_dynamic};
use crate::ports::{AttemptCall, UpstreamOutput};

/// The names of a running recipe; steps are added as they end.
#[derive(Debug)]
pub(super) struct Scope {
    task: Dynamic,
    input: Dynamic,
    level: Dynamic,
    context: Dynamic,
    /// What the tasks answered that this one depends on.
    deps: Dynamic,
    steps: Vec<(String, Dynamic)>,
    findings: Dynamic,
    warnings: Vec<String>,
}

impl Scope {
    /// The scope before the first step.
    ///
    /// An error is one clause for the user.
    pub(super) fn new(
        recipe: &Recipe,
        call: &AttemptCall,
        input: Map<String, Value>,
    ) -> Result<Self, String> {
        let level = level(recipe, &input)?;
        let context = input.get("pre_gathered_context").filter(|it| it.is_object());
        Ok(Self {
            task: to_dynamic(&task_of(call)),
            level,
            deps: deps(call),
            context: to_dynamic(context.unwrap_or(&json!({}))),
            input: to_dynamic(&Value::Object(input)),
            steps: Vec::new(),
            findings: to_dynamic(&json!([])),
            warnings: Vec::new(),
        })
    }

    /// All names, and `locals`.
    pub(super) fn with(&self, locals: &[(&'static str, Dynamic)]) -> Dynamic {
        let steps = self.steps.iter().map(|(id, it)| (id.as_str(), it.clone()));
        let names = [
            ("task", self.task.clone()),
            ("input", self.input.clone()),
            ("level", self.level.clone()),
            ("context", self.context.clone()),
            ("deps", self.deps.clone()),
            ("findings", self.findings.clone()),
            ("steps", Dynamic::from_pairs(steps)),
        ];
        Dynamic::from_pairs(names.into_iter().chain(locals.iter().cloned()))
    }

    /// All names, and the warnings.
    pub(super) fn at_end(&self) -> Dynamic {
        self.with(&[("warnings", Dynamic::from(self.warnings.clone()))])
    }

    /// Adds how a step ended; when it runs again, the newer end counts.
    pub(super) fn add(&mut self, step: &str, end: Dynamic, warnings: Vec<String>) {
        match self.steps.iter_mut().find(|it| it.0 == step) {
            Some(known) => known.1 = end,
            None => self.steps.push((step.to_owned(), end)),
        }
        self.warnings.extend(warnings);
    }

    /// Says what was found wrong, for the steps that run again.
    pub(super) fn set_findings(&mut self, findings: &Value) {
        self.findings = to_dynamic(findings);
    }
}

/// The names of `scope`, and `r` for what a step has made.
pub(super) fn with_result(scope: &Dynamic, r: Dynamic) -> Dynamic {
    let names = scope.try_iter().into_iter().flatten();
    let names = names.map(|name| (name.clone(), scope.get_item(&name).unwrap_or_default()));
    Dynamic::from_pairs(names.chain([(Dynamic::from("r"), r)]))
}

fn deps(call: &AttemptCall) -> Dynamic {
    let dep = |it: &UpstreamOutput| {
        let fields = [("output", to_dynamic(&it.output)), ("direct", Dynamic::from(it.is_direct))];
        (it.task_id.as_str().to_owned(), Dynamic::from_pairs(fields))
    };
    Dynamic::from_pairs(call.upstream.iter().map(dep))
}

fn level(recipe: &Recipe, input: &Map<String, Value>) -> Result<Dynamic, String> {
    let Some(levels) = &recipe.levels else { return Ok(to_dynamic(&json!({}))) };
    let word = input.get(&levels.by).and_then(Value::as_str).unwrap_or_default();
    levels.values.get(word).cloned().ok_or_else(|| {
        let known: Vec<_> = levels.values.keys().map(String::as_str).collect();
        format!("input.{} must be one of {}", levels.by, known.join(", "))
    })
}

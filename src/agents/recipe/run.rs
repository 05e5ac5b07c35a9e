//! One run of a recipe: its steps in order, groups at once, checks and repairs.

use futures::future::try_join_all;
use minijinja::Value as Dynamic;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    act::{Fault, Tools},
    input,
    plan::{OnUnmet, Step},
    scope::Scope,
    template::to_dynamic,
    work::{Work, work},
};
use crate::{
    model::{Failure, FailureCode, text},
    upstream::UpstreamError,
};

/// How much of what a check found is told in an error, in characters.
const FINDINGS_CHARS_MAX: usize = 600;

/// Runs the recipe of `tools` and answers its output.
pub(super) async fn run(tools: &Tools<'_>) -> Result<Value, Failure> {
    let refuse =
        |message: String| Failure::from(UpstreamError::new(FailureCode::AgentError, &message));
    let input = input::complete(tools.recipe, tools.call.input.clone()).map_err(refuse)?;
    let scope = Scope::new(tools.recipe, tools.call, input).map_err(refuse)?;
    let steps = &tools.recipe.steps;
    let mut run = Run { tools, scope, repairs: vec![0; steps.len()] };
    let mut at = 0;
    while at < steps.len() {
        let end = group_end(steps, at);
        at = run.group(at, end).await?.unwrap_or(end);
    }
    let output = tools.recipe.output.fill(&run.scope.at_end());
    output.map_err(|error| Fault::template("output", &error).failure)
}

struct Run<'a> {
    tools: &'a Tools<'a>,
    scope: Scope,
    /// How often each step has sent back.
    repairs: Vec<u64>,
}

/// How a step ended that did not end the task.
struct StepEnd {
    /// What templates see as `steps.<id>`.
    record: Dynamic,
    warnings: Vec<String>,
    /// What to do about a check that failed, with its findings.
    unmet: Option<(OnUnmet, Value)>,
}

/// Where the neighbours of the step at `start` that are in its group end.
fn group_end(steps: &[Step], start: usize) -> usize {
    let group = &steps[start].group;
    let is_neighbour = |it: &&Step| group.is_some() && it.group == *group;
    start + 1 + steps[start + 1..].iter().take_while(is_neighbour).count()
}

impl Run<'_> {
    /// Runs neighbours at the same time; answers the step to go back to, if a check says so.
    async fn group(&mut self, start: usize, end: usize) -> Result<Option<usize>, Failure> {
        let steps = &self.tools.recipe.steps[start..end];
        let scope = self.scope.with(&[]);
        let ends = steps.iter().map(|it| Box::pin(run_to_end(self.tools, it, &scope)));
        let ends = try_join_all(ends).await?.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (mut back, mut findings) = (None, Vec::new());
        for (at, end) in (start..).zip(ends) {
            let step = &self.tools.recipe.steps[at];
            let mut warnings = end.warnings;
            if let Some((on_unmet, found)) = end.unmet
                && let Some(target) = self.settle(at, on_unmet, &found, &mut warnings)?
            {
                back = Some(back.map_or(target, |it: usize| it.min(target)));
                findings.extend(into_list(found));
            }
            self.scope.add(&step.id, end.record, warnings);
        }
        if back.is_some() {
            self.scope.set_findings(&findings.into());
        }
        Ok(back)
    }

    /// Does what a failed check asks for.
    fn settle(
        &mut self,
        at: usize,
        on_unmet: OnUnmet,
        found: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<Option<usize>, Failure> {
        let step = &self.tools.recipe.steps[at];
        let told = || format!("the check {} is not met: {found}", step.id);
        match on_unmet {
            OnUnmet::Ignore => Ok(None),
            OnUnmet::Warn => {
                warnings.push(text::cut(&told(), FINDINGS_CHARS_MAX));
                Ok(None)
            }
            OnUnmet::Fail => {
                let told = text::cut(&told(), FINDINGS_CHARS_MAX);
                Err(UpstreamError::new(FailureCode::CheckFailed, &told).into())
            }
            OnUnmet::Repair { max, then, .. } if self.repairs[at] >= max => {
                self.settle(at, *then, found, warnings)
            }
            OnUnmet::Repair { step: target, .. } => {
                self.repairs[at] += 1;
                let earlier = self.tools.recipe.steps[..at].iter().position(|it| it.id == target);
                let nowhere = || {
                    let told = format!("the check {} repairs {target}, no earlier step", step.id);
                    Failure::from(UpstreamError::new(FailureCode::AgentError, &told))
                };
                earlier.map(Some).ok_or_else(nowhere)
            }
        }
    }
}

fn into_list(value: Value) -> Vec<Value> {
    if let Value::Array(items) = value { items } else { vec![value] }
}

/// An error is that of the step alone, for which nobody waits any more; one within is that all
/// were told to end, which they do by themselves.
async fn run_to_end(
    tools: &Tools<'_>,
    step: &Step,
    scope: &Dynamic,
) -> Result<Result<StepEnd, Failure>, Failure> {
    match run_step(tools, step, scope).await {
        Err(failure) if failure.code != FailureCode::Cancelled => Err(failure),
        end => Ok(end),
    }
}

async fn run_step(tools: &Tools<'_>, step: &Step, scope: &Dynamic) -> Result<StepEnd, Failure> {
    let blame = |fault: Fault| prefixed(step, fault.failure);
    let template =
        |field: &'static str| move |error| prefixed(step, Fault::template(field, &error).failure);
    if let Some(when) = &step.when
        && !when.is_true(scope).map_err(template("when"))?
    {
        let record = Dynamic::from_pairs([("ok", false), ("skipped", true)]);
        return Ok(StepEnd { record, warnings: Vec::new(), unmet: None });
    }
    let is_lenient = match step.on_error.fill(scope).map_err(template("on_error"))?.as_str() {
        Some("continue") => true,
        Some("fail") => false,
        _ => {
            let told = "on_error is neither fail nor continue";
            return Err(blame(Fault::of(FailureCode::AgentError, told)));
        }
    };
    let started = Instant::now();
    let done = work(tools, step, scope, is_lenient).await;
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    match done {
        Ok(work) => ended(step, scope, work, ms),
        Err(fault) if is_lenient && !fault.is_final => Ok(failed(step, &fault, ms)),
        Err(fault) => Err(blame(fault)),
    }
}

/// A step that failed while the recipe goes on.
fn failed(step: &Step, fault: &Fault, ms: u64) -> StepEnd {
    let error = &fault.failure.message;
    let warning = match step.check {
        Some(_) => format!("the check {} could not run: {error}", step.id),
        None => format!("step {} failed: {error}", step.id),
    };
    let record = to_dynamic(&json!({ "ok": false, "error": error, "ms": ms }));
    StepEnd { record, warnings: vec![warning], unmet: None }
}

fn ended(step: &Step, scope: &Dynamic, work: Work, ms: u64) -> Result<StepEnd, Failure> {
    let Work { value, mut warnings, findings, is_unmet, errors } = work;
    if let Some(error) = errors.first() {
        let n = errors.len();
        warnings.push(format!("step {} failed for {n} of its items: {error}", step.id));
    }
    let mut record =
        vec![("ok", Dynamic::from(errors.is_empty())), ("value", value), ("ms", Dynamic::from(ms))];
    if let Some(error) = errors.first() {
        record.push(("error", Dynamic::from(error.as_str())));
    }
    let mut unmet = None;
    if let Some(check) = step.check.as_ref() {
        record.push(("met", Dynamic::from(!is_unmet)));
        if is_unmet {
            let wrong =
                |message: &str| prefixed(step, Fault::of(FailureCode::AgentError, message).failure);
            let said =
                check.on_unmet.fill(scope).map_err(|it| wrong(&format!("on_unmet: {it}")))?;
            let on_unmet = OnUnmet::read(&said).map_err(|it| wrong(&it))?;
            unmet = Some((on_unmet, findings.into()));
        }
    }
    Ok(StepEnd { record: Dynamic::from_pairs(record), warnings, unmet })
}

/// Says which step a failure is of. A check that could not run is a check that failed, unless it
/// may run another time.
fn prefixed(step: &Step, failure: Failure) -> Failure {
    let Failure { code, message, retry_after_ms } = failure;
    let (code, said) = match (&step.check, code) {
        (_, FailureCode::Cancelled) => (code, String::from(message)),
        (Some(_), FailureCode::AgentError) => {
            (FailureCode::CheckFailed, format!("the check {} could not run: {message}", step.id))
        }
        (Some(_), _) => (code, format!("the check {} could not run: {message}", step.id)),
        (None, _) => (code, format!("step {}: {message}", step.id)),
    };
    Failure::new(code, said).retry_after(retry_after_ms)
}

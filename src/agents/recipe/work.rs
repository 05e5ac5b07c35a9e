//! A step's work: once, or once for each item of a list, with its result picked and checked.

use futures::{StreamExt as _, stream};
use minijinja::Value as Dynamic;
use serde_json::Value;

use super::{
    act::{Fault, Tools},
    plan::{Each, Step},
    scope::with_result,
    template::{to_dynamic, to_json},
};
use crate::model::FailureCode;

/// What a step came to.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// What it made; of many items, the list of what was made.
    pub(super) value: Dynamic,
    pub(super) warnings: Vec<String>,
    /// What its check found, where it is not met.
    pub(super) findings: Vec<Value>,
    pub(super) is_unmet: bool,
    /// Why single items failed.
    pub(super) errors: Vec<String>,
}

/// Does a step's work; `is_lenient` is whether items may fail.
pub(super) async fn work(
    tools: &Tools<'_>,
    step: &Step,
    scope: &Dynamic,
    is_lenient: bool,
) -> Result<Work, Fault> {
    match &step.each {
        None => once(tools, step, scope, is_lenient).await,
        Some(each) => for_each(tools, step, (scope, each), is_lenient).await,
    }
}

async fn for_each(
    tools: &Tools<'_>,
    step: &Step,
    (scope, each): (&Dynamic, &Each),
    is_lenient: bool,
) -> Result<Work, Fault> {
    let items = each.items.fill(scope).map_err(|error| Fault::template("for_each", &error))?;
    let items = match items {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Err(Fault::of(FailureCode::AgentError, "for_each makes no list"));
        }
    };
    if items.len() > each.items_max {
        let message =
            format!("for_each makes {} items; {} is the most", items.len(), each.items_max);
        return Err(Fault::of(FailureCode::UpstreamLimit, &message));
    }
    let scopes: Vec<Dynamic> = items.iter().map(|it| with_item(scope, to_dynamic(it))).collect();
    let works: Vec<_> =
        scopes.iter().map(|it| Box::pin(once(tools, step, it, is_lenient))).collect();
    let mut works = stream::iter(works).buffered(each.concurrency);
    let (mut all, mut values, mut given_up) = (Work::default(), Vec::new(), None);
    while let Some(done) = works.next().await {
        match done {
            Ok(one) => {
                values.push(one.value);
                all.warnings.extend(one.warnings);
                all.findings.extend(one.findings);
                all.is_unmet |= one.is_unmet;
            }
            Err(fault) if is_lenient && !fault.is_final => {
                all.errors.push(fault.failure.message.into());
            }
            // The others were told to end, too.
            Err(fault) if fault.failure.code == FailureCode::Cancelled => given_up = Some(fault),
            Err(fault) => return Err(fault),
        }
    }
    all.value = Dynamic::from(values);
    given_up.map_or(Ok(all), Err)
}

/// The names of `scope`, and `item`.
fn with_item(scope: &Dynamic, item: Dynamic) -> Dynamic {
    let names = scope.try_iter().into_iter().flatten();
    let names = names.map(|name| (name.clone(), scope.get_item(&name).unwrap_or_default()));
    Dynamic::from_pairs(names.chain([(Dynamic::from("item"), item)]))
}

async fn once(
    tools: &Tools<'_>,
    step: &Step,
    scope: &Dynamic,
    is_lenient: bool,
) -> Result<Work, Fault> {
    let made = tools.act(step, scope, is_lenient).await?;
    let value = made.value;
    if step.pick.is_none() && step.check.is_none() {
        return Ok(Work { value, warnings: made.warnings, ..Work::default() });
    }
    let scope = with_result(scope, value.clone());
    let fault = |field: &'static str| move |error| Fault::template(field, &error);
    let picked = match &step.pick {
        Some(pick) => to_dynamic(&pick.fill(&scope).map_err(fault("pick"))?),
        None => value,
    };
    let work = Work { value: picked, warnings: made.warnings, ..Work::default() };
    let Some(check) = &step.check else { return Ok(work) };
    if check.expect.is_true(&scope).map_err(fault("expect"))? {
        return Ok(work);
    }
    let found = match &check.findings {
        Some(findings) => findings.fill(&scope).map_err(fault("findings"))?,
        None => to_json(&scope.get_attr("r").unwrap_or_default()).map_err(fault("findings"))?,
    };
    let findings = if let Value::Array(items) = found { items } else { vec![found] };
    Ok(Work { findings, is_unmet: true, ..work })
}

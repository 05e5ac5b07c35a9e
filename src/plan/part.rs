//! Makes one of the tasks that a task stands for, by filling its pattern in.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::model::{ExpectSpec, Failure, FailureCode, InputData, TaskId, TaskSpec, text};

/// The most bytes of JSON that filling in may add to one task.
const FILLED_BYTES_MAX: usize = 4 << 20;

/// What a reference to a task begins with, and how its escape does.
const REFERENCE: &str = "${tasks";
const ESCAPED: &str = "$${tasks";

/// What a pattern's words stand for.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Of `for_each`.
    Item {
        /// `${item}`
        item: Value,
        /// `${index}`
        index: usize,
    },
    /// Of `loop`.
    Iteration {
        /// `${iteration}`
        number: usize,
        /// `${previous.output}`; none in the first.
        previous: Option<Value>,
    },
}

/// What a task that stands for many looks like, apart from what its parts do not share.
#[derive(Debug)]
pub struct Pattern<'p> {
    task: &'p TaskSpec,
    /// What every part has; its input is still empty.
    common: TaskSpec,
}

impl<'p> Pattern<'p> {
    /// Costs O(bytes of the task, its list apart), which each part then costs again.
    pub fn new(task: &'p TaskSpec) -> Self {
        Self { task, common: common(task) }
    }

    /// The task that stands at `number`.
    pub fn part(&self, number: usize, scope: &Scope) -> Result<TaskSpec, Failure> {
        let mut filler = Filler { scope, bytes_left: FILLED_BYTES_MAX };
        let description = show(&filler.text(&self.task.description)?).into_owned();
        Ok(TaskSpec {
            task_id: TaskId::new(&format!("{}.{number}", self.task.task_id)),
            description,
            input_data: filler.map(&self.task.input_data)?.into(),
            expect: self.task.expect.as_deref().map(|it| filler.expect(it)).transpose()?,
            ..self.common.clone()
        })
    }
}

/// A condition, an approval and a rule of what stands for many are about the whole. What is long is
/// not copied in passing: a list of 10,000 items would be, for each of them.
fn common(task: &TaskSpec) -> TaskSpec {
    TaskSpec {
        task_id: task.task_id.clone(),
        agent: task.agent.clone(),
        description: String::new(),
        input_data: InputData::default(),
        dependencies: task.dependencies.clone(),
        trigger_rule: task.trigger_rule,
        when: None,
        context_requirements: task.context_requirements.clone(),
        timeout_seconds: task.timeout_seconds,
        total_timeout_seconds: task.total_timeout_seconds,
        idle_timeout_seconds: task.idle_timeout_seconds,
        retry: task.retry.clone(),
        approval: None,
        expect: task.expect.clone(),
        output_schema: task.output_schema.clone(),
        estimate_seconds: task.estimate_seconds,
        for_each: None,
        repeat: None,
        writes: task.writes.clone(),
        resources: task.resources.clone(),
        cache: task.cache,
        estimate_tokens: task.estimate_tokens,
        estimate_cost_usd: task.estimate_cost_usd,
    }
}

/// Whether a text has words that only a part can fill in.
pub(super) fn may_fill(text: &str) -> bool {
    ["${item", "${index}", "${iteration}", "${previous"].iter().any(|it| text.contains(it))
}

struct Filler<'s> {
    scope: &'s Scope,
    bytes_left: usize,
}

impl Filler<'_> {
    fn map(&mut self, map: &Map<String, Value>) -> Result<Map<String, Value>, Failure> {
        map.iter().map(|(key, value)| Ok((key.clone(), self.value(value)?))).collect()
    }

    fn value(&mut self, value: &Value) -> Result<Value, Failure> {
        Ok(match value {
            Value::String(text) => self.text(text)?,
            Value::Array(items) => {
                Value::Array(items.iter().map(|it| self.value(it)).collect::<Result<_, _>>()?)
            }
            Value::Object(map) => Value::Object(self.map(map)?),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    /// What is expected of a part: its own files.
    fn expect(&mut self, expect: &ExpectSpec) -> Result<Box<ExpectSpec>, Failure> {
        let mut filled = expect.clone();
        for path in filled.files.iter_mut().chain(&mut filled.changed) {
            *path = show(&self.text(path)?).into_owned();
        }
        Ok(Box::new(filled))
    }

    /// A text that is one word and nothing else takes the type of what it stands for; elsewhere a
    /// string is put in as it is, and anything else as compact JSON.
    fn text(&mut self, text: &str) -> Result<Value, Failure> {
        if !may_fill(text) {
            return Ok(Value::String(text.to_owned()));
        }
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let Some(end) = rest[at..].find('}').map(|it| at + it) else { break };
            let whole = &rest[at..=end];
            let Some(found) = look_up(self.scope, &rest[at + 2..end], whole)? else {
                filled.push_str(&rest[..at + 2]);
                rest = &rest[at + 2..];
                continue;
            };
            if rest[..at].ends_with('$') {
                // The escape of a word: it stands for itself.
                filled.push_str(&rest[..at - 1]);
                filled.push_str(whole);
            } else if whole == text {
                self.spend(&found)?;
                return Ok(guard(found.into_owned()));
            } else {
                self.spend(&found)?;
                filled.push_str(&rest[..at]);
                push(&mut filled, &show(&found));
            }
            rest = &rest[end + 1..];
        }
        if filled.ends_with('$') && rest.starts_with(&REFERENCE[1..]) {
            filled.push('$');
        }
        filled.push_str(rest);
        Ok(Value::String(filled))
    }

    fn spend(&mut self, value: &Value) -> Result<(), Failure> {
        let left = self.bytes_left.checked_sub(show(value).len());
        self.bytes_left = left.ok_or_else(|| {
            let message = format!("filling a task in takes more than {FILLED_BYTES_MAX} bytes");
            Failure::new(FailureCode::OutputInvalid, message)
        })?;
        Ok(())
    }
}

/// What a word stands for; nothing if it is none of this scope.
fn look_up<'s>(
    scope: &'s Scope,
    body: &str,
    whole: &str,
) -> Result<Option<Cow<'s, Value>>, Failure> {
    let (word, default) = match body.split_once("??") {
        Some((word, default)) => (word.trim(), Some(default.trim())),
        None => (body, None),
    };
    let (root, path) = word.split_once('.').unwrap_or((word, ""));
    let found = match (scope, root) {
        (Scope::Item { item, .. }, "item") => find(item, path),
        (Scope::Item { index, .. }, "index") if path.is_empty() => {
            Some(Cow::Owned((*index).into()))
        }
        (Scope::Iteration { number, .. }, "iteration") if path.is_empty() => {
            Some(Cow::Owned((*number).into()))
        }
        (Scope::Iteration { previous, .. }, "previous") => {
            let path = path.strip_prefix("output").ok_or_else(|| malformed(whole))?;
            match previous {
                Some(it) => find(it, path.trim_start_matches('.')),
                None if default.is_none() => Some(Cow::Owned(Value::Null)),
                None => None,
            }
        }
        _ => return Ok(None),
    };
    if found.is_some() {
        return Ok(found);
    }
    let default = default.ok_or_else(|| missing(whole))?;
    let default = serde_json::from_str(default).map_err(|_| malformed(whole))?;
    Ok(Some(Cow::Owned(default)))
}

/// A value inside a text: a string as it is, anything else as compact JSON.
fn show(value: &Value) -> Cow<'_, str> {
    value.as_str().map_or_else(|| Cow::Owned(value.to_string()), Cow::Borrowed)
}

/// Adds what a stranger may have written: no reference comes about that the pattern does not have.
fn push(filled: &mut String, text: &str) {
    if filled.ends_with('$') && text.starts_with(&REFERENCE[1..]) {
        filled.push('$');
    }
    filled.push_str(&text.replace(REFERENCE, ESCAPED));
}

/// The same value, whose texts stand for themselves when references are resolved.
fn guard(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains(REFERENCE) => text.replace(REFERENCE, ESCAPED).into(),
        Value::Array(items) => items.into_iter().map(guard).collect(),
        Value::Object(map) => map.into_iter().map(|(key, it)| (key, guard(it))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// The value at a path of names and of places in lists.
fn find<'v>(value: &'v Value, path: &str) -> Option<Cow<'v, Value>> {
    let mut steps = path.split('.').filter(|it| !it.is_empty());
    let step = |at: &'v Value, step: &str| match at {
        Value::Object(map) => map.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    steps.try_fold(value, step).map(Cow::Borrowed)
}

fn missing(whole: &str) -> Failure {
    let shown = text::escape(&text::cut(whole, 200));
    let message = format!("{shown} stands for nothing; declare a default: ${{… ?? JSON}}");
    Failure::new(FailureCode::OutputInvalid, message)
}

fn malformed(whole: &str) -> Failure {
    let shown = text::escape(&text::cut(whole, 200));
    Failure::new(FailureCode::OutputInvalid, format!("{shown} cannot be read"))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(input: &Value, scope: &Scope, expected: &Expect) {
        let pattern: TaskSpec = serde_json::from_value(json!({
            "task_id": "t", "agent": "free", "description": "of ${item.name ?? \"none\"}${iteration}",
            "input_data": input, "dependencies": ["a"],
        }))
        .unwrap();
        let shown = match Pattern::new(&pattern).part(3, scope) {
            Ok(it) => format!("{} {:?} {}", it.task_id, it.description, json!(it.input_data)),
            Err(failure) => format!("{}: {}", failure.code.as_str(), failure.message),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn words_stand_for_the_item_and_keep_its_type() {
        let item = json!({ "name": "a b", "n": [1, { "x": null }], "bad": "${index}" });
        let scope = Scope::Item { item, index: 7 };
        check(
            &json!({ "whole": "${item.n}", "in": "<${item.n.0}> ${item.name}, ${index}",
                "deep": [{ "x": "${item.n.1}" }], "number": "${index}", "once": "${item.bad}" }),
            &scope,
            &expect![[r#"
                t.3 "of a b${iteration}" {"whole":[1,{"x":null}],"in":"<1> a b, 7","deep":[{"x":{"x":null}}],"number":7,"once":"${index}"}"#]],
        );
        check(
            &json!({ "kept": "${tasks.a.output} $${item} ${other} ${iteration} ${unclosed",
                "default": "${item.none ?? [1]}" }),
            &scope,
            &expect![[
                r#"t.3 "of a b${iteration}" {"kept":"${tasks.a.output} ${item} ${other} ${iteration} ${unclosed","default":[1]}"#
            ]],
        );
        check(
            &json!({ "x": "${item.none}" }),
            &scope,
            &expect![
                "output_invalid: ${item.none} stands for nothing; declare a default: ${… ?? JSON}"
            ],
        );
        check(
            &json!({ "x": "${item.none ?? no json}" }),
            &scope,
            &expect!["output_invalid: ${item.none ?? no json} cannot be read"],
        );
    }

    #[test]
    fn what_is_filled_in_brings_no_references_along() {
        let item = json!({ "a": "$", "b": "{tasks.x.output}", "c": ["${tasks.x.output}"] });
        let scope = Scope::Item { item, index: 0 };
        check(
            &json!({ "ab": "${item.a}${item.b}", "c": "${item.c}", "in": "see ${item.c.0}",
                "own": "${item.a}{tasks.x.output}", "kept": "${index} ${tasks.x.output}" }),
            &scope,
            &expect![[
                r#"t.3 "of none${iteration}" {"ab":"$${tasks.x.output}","c":["$${tasks.x.output}"],"in":"see $${tasks.x.output}","own":"$${tasks.x.output}","kept":"0 ${tasks.x.output}"}"#
            ]],
        );
        let input = json!({ "x": "${item}" });
        let item = json!("${tasks.x.output}");
        let pattern: TaskSpec = serde_json::from_value(json!({
            "task_id": "t", "agent": "free", "description": "d", "input_data": input,
        }))
        .unwrap();
        let scope = Scope::Item { item: item.clone(), index: 0 };
        let made = Pattern::new(&pattern).part(0, &scope).unwrap();
        let resolved = crate::plan::resolve(&made.input_data, &|_| None).unwrap();
        assert_eq!(resolved["x"], item);
    }

    #[test]
    fn an_iteration_sees_the_one_before() {
        let input =
            json!({ "before": "${previous.output.score ?? 0}", "all": "${previous.output}" });
        let first = Scope::Iteration { number: 1, previous: None };
        check(
            &input,
            &first,
            &expect![[r#"
            t.3 "of ${item.name ?? \"none\"}1" {"before":0,"all":null}"#]],
        );
        let second = Scope::Iteration { number: 2, previous: Some(json!({ "score": 0.5 })) };
        check(
            &input,
            &second,
            &expect![[r#"t.3 "of ${item.name ?? \"none\"}2" {"before":0.5,"all":{"score":0.5}}"#]],
        );
        check(
            &json!({ "x": "${previous.status}" }),
            &second,
            &expect!["output_invalid: ${previous.status} cannot be read"],
        );
    }

    #[test]
    fn what_is_filled_in_has_a_limit() {
        let scope = Scope::Item { item: json!("x".repeat(1 << 20)), index: 0 };
        check(
            &json!({ "x": "${item} ${item} ${item} ${item} ${item}" }),
            &scope,
            &expect![[r"
            output_invalid: filling a task in takes more than 4194304 bytes"]],
        );
    }
}

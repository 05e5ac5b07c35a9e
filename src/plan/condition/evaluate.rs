//! Evaluates an expression over what became of tasks.

use std::sync::{Arc, LazyLock};

use cel::{
    Context, Env, ExecutionError,
    common::types::CelBool,
    objects::{Key, Map as CelMap, Value as CelValue},
};
use serde_json::{Map, Number, Value};

use super::{
    Condition,
    cost::{self, Size},
};
use crate::model::{Failure, FailureCode, TaskStatus, text};

static FUNCTIONS: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// What an expression looks at.
#[derive(Debug)]
pub struct Facts<'f> {
    /// The tasks that it names: id, status, and output as JSON text.
    pub tasks: Vec<(String, TaskStatus, Option<String>)>,
    /// The task's own output, as JSON text, where it has one.
    pub output: Option<String>,
    /// The task's own `input_data`.
    pub input: &'f Map<String, Value>,
    /// The settings in force.
    pub config: Value,
}

impl Condition {
    /// Whether the condition is met. Takes well below a second, or refuses to begin.
    pub fn evaluate(&self, facts: Facts<'_>) -> Result<bool, Failure> {
        let outputs = facts.tasks.iter().filter_map(|it| it.2.as_ref()).chain(&facts.output);
        let n_bytes = outputs.map(String::len).sum();
        cost::check_bytes(n_bytes).map_err(|it| fail(&it))?;
        let read = |json: String| serde_json::from_str(&json).ok();
        let tasks = facts.tasks.into_iter().map(|it| (it.0, it.1, it.2.and_then(read)));
        let tasks: Vec<(String, TaskStatus, Option<Value>)> = tasks.collect();
        let own = facts.output.and_then(read);
        let mut size = Size::default();
        if let Some(own) = &own {
            size.add(own);
        }
        tasks.iter().filter_map(|it| it.2.as_ref()).for_each(|it| size.add(it));
        facts.input.values().for_each(|it| size.add(it));
        cost::check(&self.expression, size).map_err(|it| fail(&it))?;
        let mut context = Context::with_env(Arc::clone(&FUNCTIONS));
        let tasks = tasks.into_iter().map(|(id, status, output)| {
            let output = output.map_or(CelValue::Null, |it| to_cel(&it));
            let status = CelValue::String(Arc::new(status.as_str().to_owned()));
            (id, map([("output".to_owned(), output), ("status".to_owned(), status)]))
        });
        context.add_variable_from_value("tasks", map(tasks));
        if let Some(own) = own {
            context.add_variable_from_value("output", to_cel(&own));
        }
        let input = facts.input.iter().map(|(key, it)| (key.clone(), to_cel(it)));
        context.add_variable_from_value("input", map(input));
        context.add_variable_from_value("config", to_cel(&facts.config));
        let answer = CelValue::resolve_val(&self.expression, &context);
        let answer = answer.map_err(|it| fail(&describe(&it)))?;
        match answer.downcast_ref::<CelBool>() {
            Some(it) => Ok(*it.inner()),
            None => Err(fail(&format!("it is a {}, not true or false", answer.get_type().name()))),
        }
    }
}

fn fail(reason: &str) -> Failure {
    let message = format!("the condition cannot be evaluated: {}", text::cut(reason, 400));
    Failure::new(FailureCode::ConditionError, text::escape(&message))
}

/// The cause in words, with a way out where there is a usual one.
fn describe(error: &ExecutionError) -> String {
    if let ExecutionError::NoSuchKey(key) = error {
        return format!("there is no {:?}; guard it with has(…)", text::cut(key, 80));
    }
    if let ExecutionError::NoSuchOverload(it) = error
        && it.argument_types().first().is_some_and(|it| it == "null_type")
    {
        return "what it asks for a field is null, as is the output of a task without one; compare \
                it with null first"
            .to_owned();
    }
    text::cut(&error.to_string(), 300)
}

fn to_cel(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(it) => CelValue::Bool(*it),
        Value::Number(it) => number(it),
        Value::String(it) => CelValue::String(Arc::new(it.clone())),
        Value::Array(items) => CelValue::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(fields) => map(fields.iter().map(|(key, it)| (key.clone(), to_cel(it)))),
    }
}

/// Numbers without a fraction are `int`, so that they can be compared and added to literals.
fn number(number: &Number) -> CelValue {
    match (number.as_i64(), number.as_u64()) {
        (Some(it), _) => CelValue::Int(it),
        (None, Some(it)) => CelValue::UInt(it),
        (None, None) => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
    }
}

fn map(entries: impl IntoIterator<Item = (String, CelValue)>) -> CelValue {
    let keyed = entries.into_iter().map(|(key, it)| (Key::String(Arc::new(key)), it));
    CelValue::Map(CelMap { map: Arc::new(keyed.collect()) })
}

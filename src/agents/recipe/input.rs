//! The input of a recipe: aliases resolved, defaults filled in, the rest checked.

use serde_json::{Map, Value};

use super::{
    plan::Recipe,
    spec::{FieldKind, FieldSpec, OtherInput},
};
use crate::model::text;

/// Brings an input into the form that the recipe's templates rely on.
///
/// An error is one clause for the user.
pub(super) fn complete(
    recipe: &Recipe,
    mut input: Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    for (name, field) in &recipe.input {
        for alias in &field.aliases {
            if let Some(value) = input.remove(alias)
                && input.insert(name.clone(), value).is_some()
            {
                return Err(format!("input has both {name} and {alias}, which mean the same"));
            }
        }
        match (input.get(name).filter(|it| !it.is_null()), &field.default) {
            (Some(value), _) => check(name, field, value)?,
            (None, Some(default)) => {
                input.insert(name.clone(), default.clone());
            }
            (None, None) if field.required => return Err(format!("input needs {name}")),
            (None, None) => {}
        }
    }
    if recipe.other_input == OtherInput::Refuse
        && let Some(other) = input.keys().find(|it| !recipe.input.contains_key(*it))
    {
        let known: Vec<_> = recipe.input.keys().map(String::as_str).collect();
        let other = text::escape(&text::cut(other, 80));
        return Err(format!("input has no field {other}; it has {}", known.join(", ")));
    }
    Ok(input)
}

fn check(name: &str, field: &FieldSpec, value: &Value) -> Result<(), String> {
    if let Some(kind) = field.kind
        && !kind.fits(value)
    {
        return Err(format!("input.{name} must be of the type {}", kind.as_str()));
    }
    match &field.one_of {
        Some(values) if !values.contains(value) => {
            let values: Vec<_> = values.iter().map(Value::to_string).collect();
            Err(format!("input.{name} must be one of {}", values.join(", ")))
        }
        Some(_) | None => Ok(()),
    }
}

impl FieldKind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

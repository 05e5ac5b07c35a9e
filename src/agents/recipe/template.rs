//! Templates and expressions of recipes: compiled once, with fuel, their results bounded.
//!
//! A text that is exactly one `{{ expression }}` gives the expression's value with its type; any
//! other text gives text. Whoever loops for ever runs out of fuel, and whoever writes for ever is
//! stopped at [`BYTES_MAX`].

use std::{io, sync::LazyLock};

use minijinja::{
    Environment, Expression, UndefinedBehavior, Value as Dynamic,
    value::{Serde, ValueKind},
};
use serde_json::{Map, Number, Value};

use crate::model::text;

/// The longest text or value that a template may make, in bytes.
pub(super) const BYTES_MAX: usize = 8 << 20;
/// How deep a value that a template makes may be.
const DEPTH_MAX: usize = 64;
/// How many instructions one evaluation may take: some ten milliseconds.
const FUEL: u64 = 200_000;
/// The name of the only template of an environment.
const ONLY: &str = "template";

/// Why a template could not be read or evaluated; one clause for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct TemplateError(String);

/// An expression, such as stands in `when` and `expect`.
#[derive(Debug)]
pub(super) struct Expr(Expression<'static, 'static>);

/// Any JSON value whose texts are templates.
#[derive(Debug)]
pub(super) enum Template {
    /// Nothing to fill in.
    Fixed(Value),
    /// One expression: its value counts, with its type.
    Typed(Expr),
    /// Text with something to fill in.
    Text(Box<Environment<'static>>),
    List(Vec<Self>),
    Fields(Vec<(String, Self)>),
}

/// Where expressions are at home. Nothing is ever looked up in it but filters and tests.
static HOME: LazyLock<Environment<'static>> = LazyLock::new(environment);

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(64);
    // A namespace lets a loop grow a text by itself, and `debug` shows more than the scope.
    environment.remove_global("namespace");
    environment.remove_global("debug");
    environment
}

impl Expr {
    /// Reads an expression.
    pub(super) fn read(source: &str) -> Result<Self, TemplateError> {
        let expression = HOME.compile_expression_owned(source.to_owned());
        expression.map(Self).map_err(|error| TemplateError::of(&error))
    }

    /// The names that it looks up, such as `input.query`.
    fn names(&self) -> impl Iterator<Item = String> {
        self.0.undeclared_variables(true).into_iter()
    }

    pub(super) fn value(&self, scope: &Dynamic) -> Result<Dynamic, TemplateError> {
        self.0.eval(scope.clone()).map_err(|error| TemplateError::of(&error))
    }

    pub(super) fn is_true(&self, scope: &Dynamic) -> Result<bool, TemplateError> {
        self.value(scope).map(|it| it.is_true())
    }
}

impl Template {
    /// Reads a template; names of fields are taken as they are.
    pub(super) fn read(source: &Value) -> Result<Self, TemplateError> {
        match source {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(Self::Fixed(source.clone())),
            Value::String(text) => Self::read_text(text),
            Value::Array(items) => {
                items.iter().map(Self::read).collect::<Result<_, _>>().map(Self::List)
            }
            Value::Object(fields) => {
                let field = |(name, it): (&String, &Value)| {
                    Self::read(it)
                        .map(|it| (name.clone(), it))
                        .map_err(|error| TemplateError(format!("{name}: {error}")))
                };
                fields.iter().map(field).collect::<Result<_, _>>().map(Self::Fields)
            }
        }
    }

    fn read_text(text: &str) -> Result<Self, TemplateError> {
        if !text.contains("{{") && !text.contains("{%") && !text.contains("{#") {
            return Ok(Self::Fixed(text.into()));
        }
        let inner = text.trim().strip_prefix("{{").and_then(|it| it.strip_suffix("}}"));
        // The inside of `{{ a }} and {{ b }}` is no expression, so the text is a text then.
        if let Some(Ok(expr)) = inner.map(Expr::read) {
            return Ok(Self::Typed(expr));
        }
        let mut environment = HOME.clone();
        let added = environment.add_template_owned(ONLY, text.to_owned());
        added.map_err(|error| TemplateError::of(&error))?;
        Ok(Self::Text(Box::new(environment)))
    }

    /// The value, if it is the same whatever the scope.
    pub(super) fn as_fixed(&self) -> Option<&Value> {
        if let Self::Fixed(value) = self { Some(value) } else { None }
    }

    /// Fills the template in.
    pub(super) fn fill(&self, scope: &Dynamic) -> Result<Value, TemplateError> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::Typed(expr) => to_json(&expr.value(scope)?),
            Self::Text(environment) => render(environment, scope).map(Value::String),
            Self::List(items) => items.iter().map(|it| it.fill(scope)).collect(),
            Self::Fields(fields) => {
                let filled = fields.iter().map(|(name, it)| Ok((name.clone(), it.fill(scope)?)));
                filled.collect::<Result<Map<_, _>, _>>().map(Value::Object)
            }
        }
    }

    /// Fills the template in for other templates: a text is not copied on the way.
    pub(super) fn fill_kept(&self, scope: &Dynamic) -> Result<Dynamic, TemplateError> {
        match self {
            Self::Typed(expr) => {
                let value = expr.value(scope)?;
                let is_short_text = value.as_str().is_some_and(|it| it.len() < BYTES_MAX);
                if is_short_text { Ok(value) } else { to_json(&value).map(|it| to_dynamic(&it)) }
            }
            Self::Text(environment) => render(environment, scope).map(Dynamic::from),
            Self::Fixed(_) | Self::List(_) | Self::Fields(_) => {
                self.fill(scope).map(|it| to_dynamic(&it))
            }
        }
    }

    /// Every name that it looks up.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::Typed(expr) => names_of(expr),
            Self::Text(environment) => {
                let template = environment.get_template(ONLY);
                let names = template.map(|it| it.undeclared_variables(true));
                without_globals(names.into_iter().flatten())
            }
            Self::List(items) => items.iter().flat_map(Self::names).collect(),
            Self::Fields(fields) => fields.iter().flat_map(|it| it.1.names()).collect(),
        }
    }
}

/// Every name that an expression looks up.
pub(super) fn names_of(expr: &Expr) -> Vec<String> {
    without_globals(expr.names())
}

fn without_globals(names: impl Iterator<Item = String>) -> Vec<String> {
    let is_global = |name: &str| HOME.globals().any(|(it, _)| it == name);
    let mut names: Vec<_> = names.filter(|it| !is_global(it)).collect();
    names.sort_unstable();
    names
}

/// A value as templates see it.
pub(super) fn to_dynamic(value: &Value) -> Dynamic {
    Dynamic::from(Serde(value))
}

/// A value as JSON; what is undefined is null.
pub(super) fn to_json(value: &Dynamic) -> Result<Value, TemplateError> {
    Bounded { bytes_left: BYTES_MAX }.read(value, 0)
}

/// Reads a value that may be larger than it looks.
struct Bounded {
    bytes_left: usize,
}

impl Bounded {
    fn read(&mut self, value: &Dynamic, depth: usize) -> Result<Value, TemplateError> {
        if depth > DEPTH_MAX {
            return Err(TemplateError("the value is nested too deep".to_owned()));
        }
        self.take(8)?;
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => Ok(Value::Null),
            ValueKind::Bool => Ok(value.is_true().into()),
            ValueKind::Number => Ok(number(value)),
            ValueKind::String => {
                let text = value.as_str().unwrap_or_default();
                self.take(text.len())?;
                Ok(text.into())
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter().map_err(|error| TemplateError::of(&error))?;
                items.map(|it| self.read(&it, depth + 1)).collect()
            }
            ValueKind::Map => self.read_fields(value, depth),
            ValueKind::Bytes | ValueKind::Plain | ValueKind::Invalid | _ => {
                let message = format!("a value of the kind {} is not data", value.kind());
                Err(TemplateError(message))
            }
        }
    }

    fn read_fields(&mut self, value: &Dynamic, depth: usize) -> Result<Value, TemplateError> {
        let keys = value.try_iter().map_err(|error| TemplateError::of(&error))?;
        let mut fields = Map::new();
        for key in keys {
            let inner = value.get_item(&key).map_err(|error| TemplateError::of(&error))?;
            let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            self.take(name.len())?;
            fields.insert(name, self.read(&inner, depth + 1)?);
        }
        Ok(Value::Object(fields))
    }

    fn take(&mut self, n_bytes: usize) -> Result<(), TemplateError> {
        let left = self.bytes_left.checked_sub(n_bytes);
        self.bytes_left = left.ok_or_else(TemplateError::too_large)?;
        Ok(())
    }
}

fn number(value: &Dynamic) -> Value {
    let whole = value.is_integer().then(|| value.as_i64()).flatten();
    match (whole, f64::try_from(value.clone())) {
        (Some(whole), _) => whole.into(),
        (None, Ok(it)) => Number::from_f64(it).map_or(Value::Null, Value::Number),
        (None, Err(_)) => Value::Null,
    }
}

fn render(environment: &Environment<'static>, scope: &Dynamic) -> Result<String, TemplateError> {
    let mut sink = Sink { bytes: Vec::new(), is_full: false };
    let rendered = environment
        .get_template(ONLY)
        .and_then(|it| it.render_captured_to(scope.clone(), &mut sink).map(|_| ()));
    match rendered {
        Ok(()) => String::from_utf8(sink.bytes).map_err(|error| TemplateError(error.to_string())),
        Err(_) if sink.is_full => Err(TemplateError::too_large()),
        Err(error) => Err(TemplateError::of(&error)),
    }
}

/// Takes so much and no more.
struct Sink {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > BYTES_MAX {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TemplateError {
    fn of(error: &minijinja::Error) -> Self {
        let said = match (error.kind(), error.detail()) {
            (minijinja::ErrorKind::OutOfFuel, _) => {
                format!("it takes more than {FUEL} steps; does it loop?")
            }
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        Self(text::escape(&text::cut(&said, 300)))
    }

    fn too_large() -> Self {
        Self(format!("it makes more than {} MiB", BYTES_MAX >> 20))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(template: &Value, expected: &Expect) {
        let scope =
            json!({ "n": 3, "f": 0.5, "list": [1, "b"], "text": "it's", "o": { "k": null } });
        let filled = Template::read(template).and_then(|it| it.fill(&to_dynamic(&scope)));
        expected.assert_eq(&match filled {
            Ok(value) => text::cut(&value.to_string(), 200),
            Err(error) => format!("error: {error}"),
        });
    }

    #[test]
    fn one_expression_keeps_its_type_and_any_other_text_is_text() {
        check(&json!("{{ n }}"), &expect!["3"]);
        check(&json!(" {{ list }} "), &expect![[r#"[1,"b"]"#]]);
        check(&json!("{{ {'a': {'b': f}} }}"), &expect![[r#"{"a":{"b":0.5}}"#]]);
        check(&json!("{{ n }}{{ n }}"), &expect![[r#""33""#]]);
        check(&json!("n is {{ n }}"), &expect![[r#""n is 3""#]]);
        check(&json!("plain {text}"), &expect![[r#""plain {text}""#]]);
        check(&json!({ "{{ n }}": ["{{ o.k }}", true] }), &expect![[r#"{"{{ n }}":[null,true]}"#]]);
        check(&json!("{{ nothing }}"), &expect!["null"]);
        check(&json!("<{{ text }}>"), &expect![[r#""<it's>""#]]);
    }

    #[test]
    fn what_cannot_be_filled_in_says_why() {
        check(
            &json!("{{ n + }}"),
            &expect!["error: syntax error: unexpected end of variable block"],
        );
        check(&json!("a {{ nothing }}"), &expect!["error: undefined value"]);
        check(&json!("{{ nothing.deeper }}"), &expect!["error: undefined value"]);
        check(
            &json!("{{ n | unheard_of }}"),
            &expect!["error: unknown filter: filter unheard_of is unknown"],
        );
        check(
            &json!("{% include 'etc' %}"),
            &expect!["error: syntax error: unknown statement include"],
        );
        check(
            &json!("{{ namespace(a=1) }}"),
            &expect!["error: unknown function: namespace is unknown"],
        );
    }

    #[test]
    fn a_template_that_loops_or_grows_is_stopped() {
        let nested =
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        check(&json!(nested), &expect!["error: it takes more than 200000 steps; does it loop?"]);
        check(
            &json!("{% for a in range(99) %}{{ 'x' * 100000 }}{% endfor %}"),
            &expect!["error: it makes more than 8 MiB"],
        );
        check(&json!("{{ 'x' * 9000000 }}"), &expect!["error: it makes more than 8 MiB"]);
        check(
            &json!("{{ [['x' * 1000] * 1000] * 1000 }}"),
            &expect!["error: it makes more than 8 MiB"],
        );
        check(
            &json!("{{ 'x' * 100000000000 }}"),
            &expect!["error: invalid operation: repeated string is too large"],
        );
    }

    #[test]
    fn names_are_those_that_are_looked_up() {
        let template = json!({ "a": "{{ input.q }} {{ steps.x.value }}", "b": ["{{ range(n) }}"] });
        let names = Template::read(&template).unwrap().names();
        assert_eq!(names, ["input.q", "steps.x.value", "n"]);
    }
}

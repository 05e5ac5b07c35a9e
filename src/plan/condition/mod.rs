//! Conditions of tasks (`when`): expressions of the Common Expression Language, read, checked
//! against what they may name, and evaluated.
//!
//! Everything that an expression costs is bounded before it is done: its text, its nesting, and,
//! from the sizes of what it looks at, the work of its loops.

mod check;
mod cost;
mod evaluate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cel::{IdedExpr, parser::PrattParser};

pub use self::evaluate::Facts;
use crate::model::{ErrorCode, text};

/// The longest expression, in characters.
pub const WHEN_CHARS_MAX: usize = 4_096;
/// The most operators, brackets and other signs: each may make the tree deeper, and some make the
/// reading of the rest slower.
const SIGNS_MAX: usize = 500;
/// The most opening parentheses: the time that calls in a row take to be read grows by the square.
const PARENTHESES_MAX: usize = 32;
/// How deep the parser goes.
const NESTING_MAX: u16 = 32;
/// The most faults that are told of one expression.
const FAULTS_MAX: usize = 5;

/// An expression without faults, but for what the tasks' names mean.
#[derive(Debug)]
pub struct Condition {
    expression: IdedExpr,
    /// The tasks that it names, and whether it looks at their outputs.
    tasks: BTreeMap<String, bool>,
}

/// What an expression is about, besides `input` and `config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// `tasks`.
    Tasks,
    /// `output`.
    Output,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionFault {
    /// What to branch on.
    pub code: ErrorCode,
    /// What is wrong, to stand after the name of the field.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

const SYNTAX_HINT: &str =
    "write an expression as tasks.ID.output.score >= 0.8 && tasks.ID.status == \"success\"";

impl Condition {
    /// Reads and checks an expression. Costs about 2 µs for a line, and 1 ms at worst.
    pub fn read(source: &str) -> Result<Self, Vec<ConditionFault>> {
        Self::read_about(source, About::Tasks)
    }

    /// The same of an expression about a task's own `output`, which may also look at `input` and
    /// `config`, but at no other tasks.
    pub fn read_of_output(source: &str) -> Result<Self, Vec<ConditionFault>> {
        Self::read_about(source, About::Output)
    }

    fn read_about(source: &str, about: About) -> Result<Self, Vec<ConditionFault>> {
        check_size(source).map_err(|it| vec![it])?;
        let parser = PrattParser::new().max_recursion_depth(NESTING_MAX);
        let expression = parser.parse(source).map_err(|it| describe_syntax(source, &it))?;
        let tasks = check::check(&expression, about)?;
        Ok(Self { expression, tasks })
    }

    /// The tasks that it names, and whether it looks at their outputs.
    pub fn tasks(&self) -> impl Iterator<Item = (&str, bool)> {
        self.tasks.iter().map(|(id, has_output)| (id.as_str(), *has_output))
    }
}

impl ConditionFault {
    fn new(code: ErrorCode, what: String, hint: impl Into<String>) -> Self {
        Self { code, what, hint: hint.into() }
    }
}

/// Refuses what would take long to be read, before it is.
fn check_size(source: &str) -> Result<(), ConditionFault> {
    let refuse = |what: String| {
        let hint = "let a task decide, and look at its output here";
        Err(ConditionFault::new(ErrorCode::LimitExceeded, what, hint))
    };
    let n_signs = source.bytes().filter(|it| it.is_ascii_punctuation() && *it != b'_').count();
    if n_signs > SIGNS_MAX {
        return refuse(format!("has {n_signs} signs; at most {SIGNS_MAX} are allowed"));
    }
    let n_open = source.bytes().filter(|it| *it == b'(').count();
    if n_open > PARENTHESES_MAX {
        return refuse(format!(
            "has {n_open} opening parentheses; at most {PARENTHESES_MAX} are allowed"
        ));
    }
    Ok(())
}

/// The first thing that the parser stumbled over; what follows is often only its echo.
fn describe_syntax(source: &str, errors: &cel::ParseErrors) -> Vec<ConditionFault> {
    let first = errors.errors.first();
    let reason = first.map_or_else(|| "it cannot be read".to_owned(), |it| it.msg.clone());
    let reason = reason.strip_prefix("Syntax error: ").unwrap_or(&reason);
    // Positions are lines and columns from 1; without one they are below.
    let place = first.map(|it| it.pos).filter(|it| it.0 > 0 && it.1 > 0 && !source.is_empty());
    let place = place.map_or_else(String::new, |it| match it.0 {
        1 => format!(" at column {}", it.1),
        line => format!(" at line {line}, column {}", it.1),
    });
    let what = format!("does not parse{place}: {}", text::cut(reason, 160));
    let is_deep = reason.contains("recursion limit");
    let code = if is_deep { ErrorCode::TooDeep } else { ErrorCode::InvalidExpression };
    vec![ConditionFault::new(code, what, SYNTAX_HINT)]
}

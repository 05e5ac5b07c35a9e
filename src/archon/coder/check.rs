//! Whether a Python file is an ONEX node, and how well it is written: for any file, not only ours.

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        error::ArchonError,
        python::{Class, Field, Function, Outline, Smell, Source},
    },
    name,
};
use crate::model::{NodeType, ValidationLevel, text};

/// The longest line that strict code has, in characters.
const LINE_CHARS_MAX: usize = 100;
/// How many findings of one check are named.
const FINDINGS_MAX: usize = 5;

/// What all checks said.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Validation {
    pub(super) level: ValidationLevel,
    /// Whether the code is good enough for the level.
    pub(super) passed: bool,
    pub(super) checks: Vec<Check>,
}

/// What one check said.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) passed: bool,
    /// Whether a finding fails the code at this level.
    pub(super) required: bool,
    pub(super) detail: String,
}

/// From which level on a check's findings fail the code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// At every level: it is no Python.
    Parse,
    /// From moderate on: it is no node.
    Contract,
    /// At strict only: it could be better.
    Style,
}

/// Checks a file.
pub(super) fn run(
    code: &str,
    node_type: NodeType,
    level: ValidationLevel,
    stop: &CancellationToken,
) -> Result<Validation, ArchonError> {
    let source = Source::parse(code.to_owned(), stop)?;
    let outline = Outline::of(&source);
    let file = File { source: &source, outline: &outline, node_type };
    let checks: Vec<_> = CHECKS.iter().map(|it| it.run(&file, level)).collect();
    let passed = checks.iter().all(|it| it.passed || !it.required);
    Ok(Validation { level, passed, checks })
}

/// The method and the contract model of a node type, as the ONEX table says.
pub(super) fn method_name(node_type: NodeType) -> &'static str {
    match node_type {
        NodeType::Effect => "execute_effect",
        NodeType::Compute => "execute_compute",
        NodeType::Reducer => "execute_reduction",
        NodeType::Orchestrator => "execute_orchestration",
    }
}

struct Rule {
    name: &'static str,
    weight: Weight,
    /// What is there when there are no findings.
    good: &'static str,
    find: fn(&File<'_>) -> Vec<String>,
}

const CHECKS: [Rule; 12] = [
    Rule::new("parses", Weight::Parse, "no syntax errors", parses),
    Rule::new("node_class", Weight::Contract, "the node class is there", node_class),
    Rule::new("method", Weight::Contract, "the node type's method is there", method),
    Rule::new(
        "contract_docstring",
        Weight::Contract,
        "the node class says its inputs, outputs and errors",
        contract_docstring,
    ),
    Rule::new("contract_model", Weight::Contract, "the contract model is there", contract_model),
    Rule::new("typed_models", Weight::Contract, "every field of a model has a type", typed_models),
    Rule::new("no_bare_except", Weight::Style, "every except names its errors", no_bare_except),
    Rule::new("annotations", Weight::Style, "every function is annotated", annotations),
    Rule::new("docstrings", Weight::Style, "everything public has a docstring", docstrings),
    Rule::new("no_any", Weight::Style, "the type Any is not used", no_any),
    Rule::new("line_length", Weight::Style, "no line is longer than 100 characters", line_length),
    Rule::new("naming", Weight::Style, "models, enums and nodes are named as such", naming),
];

impl Rule {
    const fn new(
        name: &'static str,
        weight: Weight,
        good: &'static str,
        find: fn(&File<'_>) -> Vec<String>,
    ) -> Self {
        Self { name, weight, good, find }
    }

    fn run(&self, file: &File<'_>, level: ValidationLevel) -> Check {
        let failing = match level {
            ValidationLevel::Lenient => Weight::Parse,
            ValidationLevel::Moderate => Weight::Contract,
            ValidationLevel::Strict => Weight::Style,
        };
        let findings = (self.find)(file);
        let mut detail = findings.iter().take(FINDINGS_MAX).cloned().collect::<Vec<_>>().join("; ");
        if findings.is_empty() {
            self.good.clone_into(&mut detail);
        } else if findings.len() > FINDINGS_MAX {
            detail = format!("{detail}; and {} more", findings.len() - FINDINGS_MAX);
        }
        let detail = text::escape(&text::cut(&detail, 600));
        let required = self.weight <= failing;
        Check { name: self.name, passed: findings.is_empty(), required, detail }
    }
}

/// What is checked.
struct File<'f> {
    source: &'f Source,
    outline: &'f Outline,
    node_type: NodeType,
}

impl File<'_> {
    /// The node's class: by its name, at the top of the file.
    fn node(&self) -> Option<&Class> {
        let word = name::type_word(self.node_type);
        let is_node =
            |it: &&Class| !it.is_local && it.name.starts_with("Node") && it.name.ends_with(word);
        self.outline.classes.iter().find(is_node)
    }

    fn models(&self) -> impl Iterator<Item = &Class> {
        let models = Models { classes: &self.outline.classes };
        self.outline.classes.iter().filter(move |it| models.has(it))
    }
}

/// The classes of a file that are pydantic models, also by way of each other.
struct Models<'f> {
    classes: &'f [Class],
}

impl Models<'_> {
    fn has(&self, class: &Class) -> bool {
        let is_base_model = |base: &str| {
            matches!(base.rsplit('.').next(), Some("BaseModel"))
                || self.classes.iter().any(|it| it.name == base && it.has_base("BaseModel"))
        };
        class.bases.iter().any(|it| is_base_model(it))
    }
}

fn parses(file: &File<'_>) -> Vec<String> {
    let errors = file.source.syntax_errors();
    errors.iter().map(|it| format!("line {}:{}: {}", it.line, it.column, it.message)).collect()
}

fn node_class(file: &File<'_>) -> Vec<String> {
    let missing = || format!("no class Node…{}", name::type_word(file.node_type));
    file.node().is_none().then(missing).into_iter().collect()
}

fn method(file: &File<'_>) -> Vec<String> {
    let (name, word) = (method_name(file.node_type), name::type_word(file.node_type));
    let class = file.node().map(|it| it.name.as_str());
    let is_it = |it: &&Function| it.name == name && it.class.as_deref() == class;
    let Some(method) = file.outline.functions.iter().filter(|_| class.is_some()).find(is_it) else {
        return vec![format!("no method {name}")];
    };
    let mut findings = Vec::new();
    if !method.is_async {
        findings.push(format!("line {}: {name} is not async", method.line));
    }
    let contract = method.params.iter().find(|it| it.name == "contract");
    let annotation = contract.and_then(|it| it.annotation.as_deref()).unwrap_or("nothing");
    if annotation.trim_matches(['"', '\'']) != format!("ModelContract{word}") {
        let line = method.line;
        findings.push(format!(
            "line {line}: {name} takes no contract: ModelContract{word} (found {annotation})"
        ));
    }
    findings
}

fn contract_docstring(file: &File<'_>) -> Vec<String> {
    let Some(node) = file.node() else { return vec!["no node class".to_owned()] };
    let docstring = node.docstring.as_deref().unwrap_or_default().to_lowercase();
    let parts = [
        ("inputs", ["input", "args", "param"]),
        ("outputs", ["output", "return", "result"]),
        ("errors", ["error", "raise", "exception"]),
    ];
    let is_missing = |words: &[&str; 3]| !words.iter().any(|it| docstring.contains(it));
    let missing = parts.iter().filter(|(_, words)| is_missing(words));
    let say =
        |part: &str| format!("line {}: the docstring of {} says no {part}", node.line, node.name);
    missing.map(|(part, _)| say(part)).collect()
}

fn contract_model(file: &File<'_>) -> Vec<String> {
    let name = format!("ModelContract{}", name::type_word(file.node_type));
    let is_missing = !file.models().any(|it| it.name == name);
    is_missing.then(|| format!("no class {name} of BaseModel")).into_iter().collect()
}

fn typed_models(file: &File<'_>) -> Vec<String> {
    if file.models().next().is_none() {
        return vec!["no class of BaseModel".to_owned()];
    }
    let untyped = file.models().flat_map(|model| {
        let is_untyped = |it: &&Field| {
            it.annotation.is_none() && it.name != "model_config" && !it.name.starts_with('_')
        };
        model.fields.iter().filter(is_untyped).map(move |it| (model, it))
    });
    let say = |(model, it): (&Class, &Field)| {
        format!("line {}: {}.{} has no type", it.line, model.name, it.name)
    };
    untyped.map(say).collect()
}

fn no_bare_except(file: &File<'_>) -> Vec<String> {
    let bare = file.outline.smells.iter().filter_map(|it| match it {
        Smell::BareExcept(line) => Some(format!("line {line}: except without a type")),
        Smell::SwallowedException(_) | Smell::MutableDefault(_) => None,
    });
    bare.collect()
}

fn annotations(file: &File<'_>) -> Vec<String> {
    let mut findings = Vec::new();
    for it in &file.outline.functions {
        let n_implicit = usize::from(it.class.is_some() && is_self(it));
        let untyped = it.params.iter().skip(n_implicit).filter(|it| it.annotation.is_none());
        let names: Vec<_> = untyped.map(|it| it.name.as_str()).collect();
        if !names.is_empty() {
            let (line, name) = (it.line, it.full_name());
            findings.push(format!("line {line}: {name}: no type for {}", names.join(", ")));
        }
        if it.returns.is_none() {
            findings.push(format!("line {}: {}: no return type", it.line, it.full_name()));
        }
    }
    findings
}

fn is_self(function: &Function) -> bool {
    function.params.first().is_some_and(|it| matches!(it.name.as_str(), "self" | "cls" | "mcs"))
}

fn docstrings(file: &File<'_>) -> Vec<String> {
    let is_public = |name: &str| !name.starts_with('_');
    let classes = file.outline.classes.iter();
    let classes =
        classes.filter(|it| !it.is_local && is_public(&it.name) && it.docstring.is_none());
    let classes = classes.map(|it| (it.line, it.name.clone()));
    let functions = file.outline.functions.iter().filter(|it| {
        let in_public_class = it.class.as_deref().is_none_or(is_public);
        !it.is_local && is_public(&it.name) && in_public_class && it.docstring.is_none()
    });
    let functions = functions.map(|it| (it.line, it.full_name()));
    let mut missing: Vec<_> = classes.chain(functions).collect();
    missing.sort();
    missing.iter().map(|(line, name)| format!("line {line}: {name} has no docstring")).collect()
}

fn no_any(file: &File<'_>) -> Vec<String> {
    file.outline.any_lines.iter().map(|line| format!("line {line}: Any")).collect()
}

fn line_length(file: &File<'_>) -> Vec<String> {
    let lines = file.source.text.lines().map(|it| it.chars().count()).enumerate();
    let long = lines.filter(|(_, n_chars)| *n_chars > LINE_CHARS_MAX);
    long.map(|(at, n_chars)| format!("line {}: {n_chars} characters", at + 1)).collect()
}

fn naming(file: &File<'_>) -> Vec<String> {
    const ENUM_BASES: [&str; 5] = ["Enum", "IntEnum", "StrEnum", "Flag", "IntFlag"];
    let models = Models { classes: &file.outline.classes };
    let mut findings = Vec::new();
    for it in &file.outline.classes {
        let is_enum = ENUM_BASES.iter().any(|base| it.has_base(base));
        let is_node = |function: &Function| {
            function.class.as_deref() == Some(&it.name)
                && function.name == method_name(file.node_type)
        };
        let prefix = if models.has(it) {
            "Model"
        } else if is_enum {
            "Enum"
        } else if file.outline.functions.iter().any(is_node) {
            "Node"
        } else {
            continue;
        };
        if !it.name.starts_with(prefix) {
            findings.push(format!("line {}: {} should begin with {prefix}", it.line, it.name));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(code: &str, level: ValidationLevel, expected: &Expect) {
        let validation = run(code, NodeType::Compute, level, &CancellationToken::new()).unwrap();
        let line = |it: &Check| {
            let verdict = match (it.passed, it.required) {
                (true, _) => "ok",
                (false, true) => "FAILS",
                (false, false) => "warns",
            };
            format!("{verdict} {}: {}\n", it.name, it.detail)
        };
        let lines: String = validation.checks.iter().map(line).collect();
        expected.assert_eq(&format!("{lines}passed: {}\n", validation.passed));
    }

    const GOOD: &str = r#"
import pydantic

class ModelContractCompute(pydantic.BaseModel):
    """A contract."""
    model_config = pydantic.ConfigDict()
    x: int

class NodeDoubleCompute:
    """Doubles.

    Inputs: x. Outputs: int. Errors: none.
    """

    async def execute_compute(self, contract: ModelContractCompute) -> int:
        """Doubles x."""
        return contract.x * 2
"#;

    const SLOPPY: &str = r#"
from enum import Enum
from typing import Any
from pydantic import BaseModel

class Color(Enum):
    RED = 1

class ModelContractCompute(BaseModel):
    x: Any = None
    y = 2

class Sub(ModelContractCompute):
    z: int

class NodeDoubleCompute:
    "Doubles its input, raises nothing."
    def execute_compute(self, contract):
        try:
            return contract.x
        except:
            return None

    def _private(self, a, *b: int) -> None: ...
# a very long line: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
"#;

    #[test]
    fn a_good_node_passes_the_strict_level() {
        check(
            GOOD,
            ValidationLevel::Strict,
            &expect![[r"
            ok parses: no syntax errors
            ok node_class: the node class is there
            ok method: the node type's method is there
            ok contract_docstring: the node class says its inputs, outputs and errors
            ok contract_model: the contract model is there
            ok typed_models: every field of a model has a type
            ok no_bare_except: every except names its errors
            ok annotations: every function is annotated
            ok docstrings: everything public has a docstring
            ok no_any: the type Any is not used
            ok line_length: no line is longer than 100 characters
            ok naming: models, enums and nodes are named as such
            passed: true
        "]],
        );
    }

    #[test]
    fn everything_that_is_wrong_is_found() {
        check(
            SLOPPY,
            ValidationLevel::Strict,
            &expect![[r"
            ok parses: no syntax errors
            ok node_class: the node class is there
            FAILS method: line 18: execute_compute is not async; line 18: execute_compute takes no contract: ModelContractCompute (found nothing)
            FAILS contract_docstring: line 16: the docstring of NodeDoubleCompute says no outputs
            ok contract_model: the contract model is there
            FAILS typed_models: line 11: ModelContractCompute.y has no type
            FAILS no_bare_except: line 21: except without a type
            FAILS annotations: line 18: NodeDoubleCompute.execute_compute: no type for contract; line 18: NodeDoubleCompute.execute_compute: no return type; line 24: NodeDoubleCompute._private: no type for a
            FAILS docstrings: line 6: Color has no docstring; line 9: ModelContractCompute has no docstring; line 13: Sub has no docstring; line 18: NodeDoubleCompute.execute_compute has no docstring
            FAILS no_any: line 3: Any; line 10: Any
            FAILS line_length: line 25: 104 characters
            FAILS naming: line 6: Color should begin with Enum; line 13: Sub should begin with Model
            passed: false
        "]],
        );
    }

    #[test]
    fn a_lenient_level_fails_only_what_does_not_parse() {
        let passes = |code: &str, level| {
            run(code, NodeType::Compute, level, &CancellationToken::new()).unwrap().passed
        };
        assert!(passes(SLOPPY, ValidationLevel::Lenient));
        assert!(!passes(SLOPPY, ValidationLevel::Moderate));
        assert!(!passes("def f(:\n", ValidationLevel::Lenient));
        assert!(!passes("x = 1\n", ValidationLevel::Moderate));
    }

    #[test]
    fn style_alone_does_not_fail_the_moderate_level() {
        let plain = GOOD.replace("        \"\"\"Doubles x.\"\"\"\n", "").replace("-> int", "");
        let validation =
            run(&plain, NodeType::Compute, ValidationLevel::Moderate, &CancellationToken::new())
                .unwrap();
        let failed = validation.checks.iter().filter(|it| !it.passed).map(|it| it.name);
        assert_eq!(failed.collect::<Vec<_>>(), ["annotations", "docstrings"]);
        assert!(validation.passed);
    }
}

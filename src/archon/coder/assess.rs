//! How good a file is, in one number and in the words of `OmniNode`'s own check.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    super::error::ArchonError,
    check::{self, Check},
    name,
};
use crate::model::{NodeType, ValidationLevel, text};

/// What is assessed.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct AssessInput {
    /// The code.
    pub(super) content: String,
    /// Where it stands or will stand; its name may tell the kind of the node.
    #[serde(default)]
    pub(super) source_path: String,
    /// The language: python is the only one.
    #[serde(default = "python")]
    pub(super) language: String,
}

/// How long the code may be, in bytes.
const BYTES_MAX: usize = 1 << 20;
/// How much of the score the contract makes; style makes the rest.
const CONTRACT_SHARE: f64 = 0.6;

const NODE_TYPES: [NodeType; 4] =
    [NodeType::Effect, NodeType::Compute, NodeType::Reducer, NodeType::Orchestrator];

/// Assesses a file without looking at the disk. Blocks.
pub(in super::super) fn assess(
    input: &AssessInput,
    stop: &CancellationToken,
) -> Result<Value, ArchonError> {
    if !["python", "py"].contains(&input.language.to_ascii_lowercase().as_str()) {
        let language = text::cut(&input.language, 40);
        return Err(ArchonError::Arguments(format!("only python is assessed, not {language}")));
    }
    if input.content.len() > BYTES_MAX {
        return Err(ArchonError::Arguments(format!("content is longer than {BYTES_MAX} bytes")));
    }
    let node_type = node_type_of(input);
    let kind = node_type.unwrap_or(NodeType::Compute);
    // At this level, what is required is what makes a node.
    let checks = check::run(&input.content, kind, ValidationLevel::Moderate, stop)?.checks;
    Ok(answer(node_type, &checks))
}

fn answer(node_type: Option<NodeType>, checks: &[Check]) -> Value {
    let parses = checks.iter().all(|it| it.passed || it.name != "parses");
    let (contract, style) = (share(checks, true, parses), share(checks, false, parses));
    let score = CONTRACT_SHARE.mul_add(contract, (1.0 - CONTRACT_SHARE) * style);
    let failed = |is_required: bool| {
        let failed = checks.iter().filter(move |it| it.required == is_required && !it.passed);
        failed.map(|it| format!("{}: {}", it.name, it.detail)).collect::<Vec<_>>()
    };
    let reasoning = match node_type {
        Some(it) => format!("checked as a node of the type {}, by rules", name::type_word(it)),
        None => "it is no ONEX node; checked by rules".to_owned(),
    };
    json!({
        "success": true,
        "quality_score": round(score),
        "architectural_compliance": { "score": round(contract), "reasoning": reasoning },
        "onex_compliance": {
            "score": round(contract),
            "violations": failed(true),
            "recommendations": failed(false),
        },
        "checks": checks.iter().map(|it| json!({ "name": it.name, "passed": it.passed }))
            .collect::<Vec<_>>(),
        "assessed_by": "embedded-archon",
    })
}

/// The share that passed of the checks that are required, or of the others.
fn share(checks: &[Check], is_required: bool, parses: bool) -> f64 {
    let (mut n_passed, mut n) = (0_u32, 0_u32);
    for it in checks.iter().filter(|it| it.required == is_required) {
        n_passed += u32::from(it.passed);
        n += 1;
    }
    if parses { f64::from(n_passed) / f64::from(n.max(1)) } else { 0.0 }
}

fn round(score: f64) -> f64 {
    (score * 1_000.0).round() / 1_000.0
}

/// The kind of node that the file is, by its name, else by the names of its classes.
fn node_type_of(input: &AssessInput) -> Option<NodeType> {
    let stem = Path::new(&input.source_path).file_stem().and_then(|it| it.to_str());
    let stem = stem.unwrap_or_default().to_ascii_lowercase();
    let by_path = |it: &&NodeType| {
        stem.starts_with("node_")
            && stem.ends_with(&format!("_{}", name::type_word(**it).to_ascii_lowercase()))
    };
    let by_class = |it: &&NodeType| {
        let mut classes = input.content.lines().filter_map(|it| it.strip_prefix("class Node"));
        let name = |rest: &str| {
            let end = rest.find(|it: char| !it.is_alphanumeric() && it != '_');
            rest[..end.unwrap_or(rest.len())].to_owned()
        };
        classes.any(|rest| name(rest).ends_with(name::type_word(**it)))
    };
    let found = NODE_TYPES.iter().find(by_path).or_else(|| NODE_TYPES.iter().find(by_class));
    found.copied()
}

fn python() -> String {
    "python".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assessed(content: &str, source_path: &str) -> Value {
        let input = AssessInput {
            content: content.to_owned(),
            source_path: source_path.to_owned(),
            language: python(),
        };
        assess(&input, &CancellationToken::new()).unwrap()
    }

    #[test]
    fn what_does_not_parse_is_worth_nothing() {
        let answer = assessed("def f(:\n", "a.py");
        assert_eq!(answer["quality_score"], 0.0);
        assert_eq!(answer["success"], true);
        let violations = answer["onex_compliance"]["violations"].as_array().unwrap();
        assert!(violations[0].as_str().unwrap().starts_with("parses: "));
    }

    #[test]
    fn a_plain_file_is_worth_less_than_a_node_and_says_why() {
        let answer = assessed("def f(x):\n    return x\n", "a.py");
        let score = answer["quality_score"].as_f64().unwrap();
        assert!(score > 0.0 && score < 0.7, "{answer:#}");
        assert_eq!(
            answer["architectural_compliance"]["reasoning"],
            "it is no ONEX node; checked by rules"
        );
    }

    #[test]
    fn the_kind_of_a_node_is_known_by_its_path_or_its_class() {
        for (path, content) in
            [("/w/node_mail_effect.py", ""), ("a.py", "class NodeMailEffect(Base):\n    pass\n")]
        {
            let answer = assessed(content, path);
            let reasoning = answer["architectural_compliance"]["reasoning"].as_str().unwrap();
            assert!(reasoning.contains("Effect"), "{reasoning}");
        }
    }

    #[test]
    fn other_languages_are_not_assessed() {
        let input = AssessInput {
            content: "fn main() {}".to_owned(),
            source_path: String::new(),
            language: "rust".to_owned(),
        };
        let error = assess(&input, &CancellationToken::new()).unwrap_err();
        assert_eq!(error.to_string(), "arguments: only python is assessed, not rust");
    }
}

//! Chooses an agent by the words of a description, as the first planner did.

use crate::model::{AgentName, NodeType};

/// Words that speak for the agent that writes code.
const CODER_WORDS: [&str; 11] = [
    "generate",
    "create",
    "implement",
    "build",
    "code",
    "write",
    "develop",
    "onex",
    "node",
    "effect",
    "compute",
];

/// Words that speak for the agent that investigates.
const DEBUG_WORDS: [&str; 15] = [
    "debug",
    "investigate",
    "analyze",
    "analyse",
    "fix",
    "performance",
    "issue",
    "error",
    "bug",
    "trace",
    "root cause",
    "diagnose",
    "find out",
    "why",
    "fail",
];

/// Words that hint at a node type, the type's own name first.
const NODE_WORDS: [(NodeType, &[&str]); 4] = [
    (NodeType::Orchestrator, &["orchestrator", "orchestrate", "coordinate", "workflow", "saga"]),
    (
        NodeType::Reducer,
        &["reducer", "reduce", "aggregate", "cache", "caching", "state", "session"],
    ),
    (
        NodeType::Compute,
        &[
            "compute",
            "transform",
            "transformer",
            "calculate",
            "calculator",
            "parse",
            "parser",
            "convert",
            "converter",
            "validate",
            "validator",
            "pure",
        ],
    ),
    (NodeType::Effect, &["effect"]),
];

/// What the words of a description speak for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Routed {
    /// Writing code.
    Coder,
    /// Investigating.
    Debug,
    /// Both alike, or neither.
    Tie,
}

/// The agent that a description speaks for; `coder` where its words speak for both alike.
pub fn route(description: &str) -> AgentName {
    AgentName::new(match weigh(description) {
        Routed::Coder | Routed::Tie => AgentName::CODER,
        Routed::Debug => AgentName::DEBUG,
    })
}

/// Counts which words stand in a description, each once, as whole words or inflected.
pub(super) fn weigh(description: &str) -> Routed {
    let words = split_words(description);
    let score = |of: &[&str]| of.iter().filter(|it| has_word(&words, it)).count();
    match score(&CODER_WORDS).cmp(&score(&DEBUG_WORDS)) {
        std::cmp::Ordering::Greater => Routed::Coder,
        std::cmp::Ordering::Less => Routed::Debug,
        std::cmp::Ordering::Equal => Routed::Tie,
    }
}

/// The node type that a description speaks for; a type's own name wins, then Effect.
pub(super) fn guess_node_type(description: &str) -> NodeType {
    let words = split_words(description);
    let named = NODE_WORDS.iter().find(|it| has_word(&words, it.1[0]));
    let hinted = || NODE_WORDS.iter().find(|it| it.1.iter().any(|word| has_word(&words, word)));
    named.or_else(hinted).map_or(NodeType::Effect, |it| it.0)
}

/// The words of a text in lower case.
pub(super) fn split_words(text: &str) -> Vec<String> {
    let words = text.split(|it: char| !it.is_alphanumeric()).filter(|it| !it.is_empty());
    words.map(str::to_lowercase).collect()
}

fn has_word(words: &[String], wanted: &str) -> bool {
    match wanted.split_once(' ') {
        Some((first, second)) => {
            words.windows(2).any(|it| it[0] == first && is_form_of(&it[1], second))
        }
        None => words.iter().any(|it| is_form_of(it, wanted)),
    }
}

/// Whether a word is `stem` itself or a plain inflection of it; "decode" is no form of "code".
fn is_form_of(word: &str, stem: &str) -> bool {
    let is_ending = |it: &str| matches!(it, "" | "s" | "es" | "d" | "ed" | "ing");
    let inflected = |stem: &str| word.strip_prefix(stem).is_some_and(is_ending);
    inflected(stem) || stem.strip_suffix('e').is_some_and(|it| word.strip_prefix(it) == Some("ing"))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(descriptions: &str, expected: &Expect) {
        let lines = descriptions.lines().map(|it| format!("{:?} {}", weigh(it), route(it)));
        expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn descriptions_go_to_the_agent_whose_words_are_more() {
        check(
            "Generate user writer Effect node\n\
             Investigate authentication failure root cause\n\
             Analyze API endpoint performance issues\n\
             Generating ONEX nodes\n\
             Generate fixed authentication Effect node",
            &expect![[r"
                Coder coder
                Debug debug
                Debug debug
                Coder coder
                Coder coder"]],
        );
    }

    #[test]
    fn a_question_is_investigated() {
        check(
            "Find out why the login fails\nWhy is it slow?\n",
            &expect![[r"
            Debug debug
            Debug debug"]],
        );
    }

    #[test]
    fn a_tie_goes_to_the_coder() {
        check("Fix the code\nTidy up\n", &expect!["Tie coder\nTie coder"]);
    }

    #[test]
    fn only_whole_words_count() {
        check(
            "Decode the prefix of a codec\nsuffix and terrorism\nroot, cause",
            &expect![[r"
                Tie coder
                Tie coder
                Debug debug"]],
        );
    }

    #[test]
    fn node_types_are_guessed_by_words() {
        assert_eq!(guess_node_type("a caching Effect"), NodeType::Effect);
        assert_eq!(guess_node_type("cache layer"), NodeType::Reducer);
        assert_eq!(guess_node_type("data transformer"), NodeType::Compute);
        assert_eq!(guess_node_type("user writer"), NodeType::Effect);
    }
}

//! The name of a node: from its file, or else from its description.

use crate::model::NodeType;

/// How long a name may become, in characters; the templates' lines are made for it.
const NAME_CHARS_MAX: usize = 30;
/// How many words of a description make a name.
const NAME_WORDS_MAX: usize = 3;

/// Words that say nothing of what a node is for.
const EMPTY_WORDS: [&str; 32] = [
    "a",
    "an",
    "and",
    "the",
    "to",
    "of",
    "for",
    "from",
    "in",
    "on",
    "at",
    "by",
    "with",
    "that",
    "which",
    "this",
    "it",
    "its",
    "is",
    "are",
    "be",
    "create",
    "write",
    "implement",
    "generate",
    "build",
    "make",
    "onex",
    "node",
    "new",
    "please",
    "add",
];

/// Names a node: `UserWriter` for `/ws/node_user_writer_effect.py`.
pub(super) fn of(output_path: &str, node_type: NodeType, description: &str) -> String {
    from_path(output_path, node_type)
        .or_else(|| from_description(description, node_type))
        .unwrap_or_else(|| "Generated".to_owned())
}

/// The word that a node type adds to names: `Effect`.
pub(super) fn type_word(node_type: NodeType) -> &'static str {
    match node_type {
        NodeType::Effect => "Effect",
        NodeType::Compute => "Compute",
        NodeType::Reducer => "Reducer",
        NodeType::Orchestrator => "Orchestrator",
    }
}

fn from_path(path: &str, node_type: NodeType) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let mut words: Vec<_> = words(stem).collect();
    if words.first().is_some_and(|it| it.eq_ignore_ascii_case("node")) {
        words.remove(0);
    }
    let type_word = type_word(node_type);
    let at = words.iter().rposition(|it| it.eq_ignore_ascii_case(type_word));
    // Only a version may come after the type: `node_user_writer_effect_v2.py`.
    if let Some(at) = at.filter(|at| words[at + 1..].iter().all(|it| is_version(it))) {
        words.remove(at);
    }
    to_name(&words)
}

fn from_description(description: &str, node_type: NodeType) -> Option<String> {
    let type_word = type_word(node_type);
    let is_telling = |it: &&str| {
        !EMPTY_WORDS.iter().any(|word| it.eq_ignore_ascii_case(word))
            && !it.eq_ignore_ascii_case(type_word)
            && it.starts_with(|it: char| it.is_ascii_alphabetic())
    };
    let words: Vec<_> = words(description).filter(is_telling).take(NAME_WORDS_MAX).collect();
    to_name(&words)
}

/// The runs of ASCII letters and digits.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|it: char| !it.is_ascii_alphanumeric()).filter(|it| !it.is_empty())
}

fn is_version(word: &str) -> bool {
    let digits = word.strip_prefix(['v', 'V']).unwrap_or(word);
    !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit())
}

/// Joins words in Pascal case; a word that does not fit, and what follows, is left out.
fn to_name(words: &[&str]) -> Option<String> {
    let mut name = String::new();
    for word in words {
        let (head, tail) = word.split_at(1);
        if name.len() + word.len() > NAME_CHARS_MAX && !name.is_empty() {
            break;
        }
        name.push_str(&head.to_ascii_uppercase());
        name.push_str(tail);
    }
    name.truncate(NAME_CHARS_MAX);
    name.starts_with(|it: char| it.is_ascii_alphabetic()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, description: &str, expected: &str) {
        assert_eq!(of(path, NodeType::Effect, description), expected);
    }

    #[test]
    fn a_file_names_its_node() {
        check("/ws/node_user_writer_effect.py", "", "UserWriter");
        check("/ws/node_authenticator_effect_v2.py", "", "AuthenticatorV2");
        check("/ws/test_output.py", "", "TestOutput");
        check("/ws/node_effect_log_effect.py", "", "EffectLog");
        check("/ws/HTTPClient.py", "", "HTTPClient");
    }

    #[test]
    fn a_description_names_what_its_file_does_not() {
        check("/ws/node_effect.py", "Write the user's records to a table", "UserSRecords");
        check("/ws/42.py", "Create an Effect node for sending mail", "SendingMail");
        check("/ws/größe.py", "", "GrE");
        check("/ws/节点.py", "节点", "Generated");
    }

    #[test]
    fn a_name_is_an_identifier_of_bounded_length() {
        let long = "word_".repeat(50);
        let name = of(&format!("/ws/{long}.py"), NodeType::Compute, "");
        assert_eq!(name, "WordWordWordWordWordWordWord");
        assert_eq!(of(&"x".repeat(500), NodeType::Compute, "").len(), NAME_CHARS_MAX);
    }
}

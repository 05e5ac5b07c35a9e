//! Fields of a node's models, where the description clearly names them.
//!
//! A modest reading: the nouns after a few verbs, up to the next preposition. What it does not find
//! is one plain field, and the generated file says what was found.

/// How many fields a model gets.
const FIELDS_MAX: usize = 8;
/// How many words of a phrase make a field's name: its last ones, which hold the noun.
const FIELD_WORDS_MAX: usize = 3;
/// How long a field's name may become, in characters.
const FIELD_CHARS_MAX: usize = 32;
/// How many words of a description are read.
const WORDS_MAX: usize = 2_000;

/// What stands after these is given to a node.
const INPUT_VERBS: [&str; 34] = [
    "accepts",
    "accept",
    "takes",
    "take",
    "taking",
    "receives",
    "receive",
    "consumes",
    "consume",
    "validates",
    "validate",
    "parses",
    "parse",
    "writes",
    "write",
    "stores",
    "store",
    "saves",
    "save",
    "sends",
    "send",
    "publishes",
    "publish",
    "persists",
    "persist",
    "transforms",
    "transform",
    "aggregates",
    "aggregate",
    "processes",
    "process",
    "input",
    "inputs",
    "given",
];
/// What stands after these is answered by a node.
const OUTPUT_VERBS: [&str; 24] = [
    "returns",
    "return",
    "returning",
    "produces",
    "produce",
    "emits",
    "emit",
    "outputs",
    "output",
    "generates",
    "computes",
    "compute",
    "calculates",
    "calculate",
    "reads",
    "read",
    "fetches",
    "fetch",
    "loads",
    "load",
    "retrieves",
    "retrieve",
    "yields",
    "creates",
];
/// Where a phrase ends.
const STOP_WORDS: [&str; 36] = [
    "to", "into", "onto", "from", "in", "on", "at", "for", "with", "without", "by", "of", "that",
    "which", "who", "when", "where", "if", "then", "as", "via", "per", "is", "are", "must",
    "should", "can", "using", "after", "before", "while", "through", "but", "so", "until",
    "against",
];
/// Words of a phrase that add nothing to its name.
const FILLER_WORDS: [&str; 20] = [
    "a",
    "an",
    "the",
    "its",
    "all",
    "each",
    "every",
    "any",
    "new",
    "some",
    "their",
    "his",
    "her",
    "one",
    "two",
    "this",
    "these",
    "valid",
    "given",
    "following",
];
/// Names that Python or pydantic use themselves.
const RESERVED: [&str; 58] = [
    "and",
    "as",
    "assert",
    "async",
    "await",
    "break",
    "case",
    "class",
    "continue",
    "def",
    "del",
    "elif",
    "else",
    "except",
    "false",
    "finally",
    "for",
    "from",
    "global",
    "if",
    "import",
    "in",
    "is",
    "lambda",
    "match",
    "none",
    "nonlocal",
    "not",
    "or",
    "pass",
    "raise",
    "return",
    "true",
    "try",
    "type",
    "while",
    "with",
    "yield",
    "print",
    "exec",
    "construct",
    "copy",
    "dict",
    "json",
    "schema",
    "schema_json",
    "validate",
    "fields",
    "parse_obj",
    "parse_raw",
    "parse_file",
    "from_orm",
    "update_forward_refs",
    "int",
    "float",
    "bool",
    "str",
    "list",
];

/// A field of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// A Python identifier.
    pub(super) name: String,
    /// A Python type.
    pub(super) python_type: &'static str,
}

/// The fields of both models; neither is ever empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) inputs: Vec<Field>,
    pub(super) outputs: Vec<Field>,
}

/// Which model a verb speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Input,
    Output,
}

/// Reads the fields from a description.
pub(super) fn of(description: &str) -> Fields {
    let mut fields = Fields { inputs: Vec::new(), outputs: Vec::new() };
    let mut phrase: Vec<String> = Vec::new();
    let mut side = None;
    for token in tokens(description) {
        let new_side = match &token {
            Token::Word(word) => side_of(word),
            Token::Joint | Token::End => None,
        };
        match token {
            _ if new_side.is_some() => {
                fields.add(side, &mut phrase);
                side = new_side;
            }
            Token::Word(word) if STOP_WORDS.contains(&word.as_str()) => {
                fields.add(side, &mut phrase);
                side = None;
            }
            Token::Word(word) if side.is_some() => phrase.push(word),
            Token::Joint => fields.add(side, &mut phrase),
            Token::End => {
                fields.add(side, &mut phrase);
                side = None;
            }
            Token::Word(_) => {}
        }
    }
    fields.add(side, &mut phrase);
    fields.or_plain()
}

impl Fields {
    fn add(&mut self, side: Option<Side>, phrase: &mut Vec<String>) {
        let field = Field::of(phrase);
        phrase.clear();
        let fields = match side {
            Some(Side::Input) => &mut self.inputs,
            Some(Side::Output) => &mut self.outputs,
            None => return,
        };
        if let Some(field) = field
            && fields.len() < FIELDS_MAX
            && fields.iter().all(|it| it.name != field.name)
        {
            fields.push(field);
        }
    }

    fn or_plain(mut self) -> Self {
        let plain = |name: &str| Field { name: name.to_owned(), python_type: "str" };
        if self.inputs.is_empty() {
            self.inputs.push(plain("payload"));
        }
        if self.outputs.is_empty() {
            self.outputs.push(plain("result"));
        }
        self
    }
}

impl Field {
    fn of(phrase: &[String]) -> Option<Self> {
        let is_telling = |it: &&String| !FILLER_WORDS.contains(&it.as_str());
        let words: Vec<_> = phrase.iter().filter(is_telling).map(String::as_str).collect();
        let words = &words[words.len().saturating_sub(FIELD_WORDS_MAX)..];
        let mut name = words.join("_");
        if !name.starts_with(|it: char| it.is_ascii_alphabetic()) {
            return None;
        }
        if RESERVED.contains(&name.as_str()) || name.starts_with("model_") {
            name.insert_str(0, "value_");
        }
        name.truncate(FIELD_CHARS_MAX);
        let name = name.trim_end_matches('_').to_owned();
        let python_type = python_type(&name);
        Some(Self { name, python_type })
    }
}

/// The type that a name suggests; text where it suggests none.
fn python_type(name: &str) -> &'static str {
    let last = name.rsplit('_').next().unwrap_or_default();
    let first = name.split('_').next().unwrap_or_default();
    match last {
        _ if matches!(first, "is" | "has") => "bool",
        "flag" | "enabled" | "success" => "bool",
        "count" | "number" | "size" | "total" | "limit" | "offset" | "age" | "quantity" => "int",
        "price" | "amount" | "score" | "rate" | "ratio" | "average" | "percentage" | "sum" => {
            "float"
        }
        "status" | "address" | "analysis" | "access" | "process" | "class" | "alias" => "str",
        _ if last.len() > 3 && last.ends_with('s') && !last.ends_with("ss") => "list[str]",
        _ => "str",
    }
}

enum Token {
    Word(String),
    /// A comma or an "and" between two things of one kind.
    Joint,
    /// The end of a sentence or clause.
    End,
}

/// The words of a text, lower case, and what stands between them.
fn tokens(text: &str) -> impl Iterator<Item = Token> {
    let is_inner = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let words = text.split_whitespace().take(WORDS_MAX);
    words.flat_map(move |raw| {
        let word = raw.trim_matches(|it| !is_inner(it)).to_ascii_lowercase();
        let end = match raw.trim_end_matches(['"', '\'', ')', ']', '`']).chars().last() {
            Some(',' | '/') => Some(Token::Joint),
            Some('.' | ';' | '!' | '?') => Some(Token::End),
            _ => None,
        };
        let word = match word.as_str() {
            "" => None,
            "and" | "or" | "plus" => Some(Token::Joint),
            _ if word.chars().all(is_inner) => Some(Token::Word(word)),
            // A word with anything else inside, such as a path, names no field.
            _ => Some(Token::End),
        };
        word.into_iter().chain(end)
    })
}

fn side_of(word: &str) -> Option<Side> {
    if INPUT_VERBS.contains(&word) {
        Some(Side::Input)
    } else if OUTPUT_VERBS.contains(&word) {
        Some(Side::Output)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(description: &str, expected: &str) {
        let fields = of(description);
        let show = |it: &[Field]| {
            let it = it.iter().map(|it| format!("{}: {}", it.name, it.python_type));
            it.collect::<Vec<_>>().join(", ")
        };
        let got = format!("{} -> {}", show(&fields.inputs), show(&fields.outputs));
        assert_eq!(got, expected, "{description}");
    }

    #[test]
    fn clear_names_become_fields() {
        check(
            "Takes a user_id, an email address and the retry count, and returns the user profile.",
            "user_id: str, email_address: str, retry_count: int -> user_profile: str",
        );
        check("Writes user records to PostgreSQL", "user_records: list[str] -> result: str");
        check("Reads product prices from the API", "payload: str -> product_prices: list[str]");
        check(
            "Accepts orders; computes total_amount and is_valid",
            "orders: list[str] -> total_amount: float, is_valid: bool",
        );
    }

    #[test]
    fn what_names_nothing_gets_plain_fields() {
        check("", "payload: str -> result: str");
        check("Do the usual.", "payload: str -> result: str");
        check("returns ../../etc/passwd, 42 and \"\"\"", "payload: str -> result: str");
    }

    #[test]
    fn names_that_python_needs_are_changed() {
        check(
            "Takes class and model_config",
            "value_class: str, value_model_config: str -> result: str",
        );
    }

    #[test]
    fn fields_are_bounded() {
        let names: Vec<_> = (0..100).map(|it| format!("thing{it}{}", "x".repeat(99))).collect();
        let fields = of(&format!("takes {}", names.join(", ")));
        assert_eq!(fields.inputs.len(), FIELDS_MAX);
        assert!(fields.inputs.iter().all(|it| it.name.len() <= FIELD_CHARS_MAX));
    }
}

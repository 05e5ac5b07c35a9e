//! Takes a request in plain words apart: clauses, what they begin with, and lists within them.

use crate::model::{AgentName, NodeType};

/// A clause of a request, and whether it waits for what stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clause {
    pub(super) text: String,
    pub(super) waits: Waits,
}

/// What a clause waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Nothing: a sentence begins.
    Nothing,
    /// The same as the clause before it, which it stands beside.
    Alike,
    /// The clauses before it, back to the last "then".
    ForPrevious,
}

/// Verbs that a task can begin with, and the agent they speak for; `None` leaves it to routing.
const VERBS: [(&str, Option<&str>); 44] = [
    ("generate", Some(AgentName::CODER)),
    ("create", Some(AgentName::CODER)),
    ("implement", Some(AgentName::CODER)),
    ("build", Some(AgentName::CODER)),
    ("code", Some(AgentName::CODER)),
    ("write", Some(AgentName::CODER)),
    ("develop", Some(AgentName::CODER)),
    ("add", Some(AgentName::CODER)),
    ("make", Some(AgentName::CODER)),
    ("design", Some(AgentName::CODER)),
    ("refactor", Some(AgentName::CODER)),
    ("extend", Some(AgentName::CODER)),
    ("port", Some(AgentName::CODER)),
    ("migrate", Some(AgentName::CODER)),
    ("rewrite", Some(AgentName::CODER)),
    ("document", Some(AgentName::CODER)),
    ("debug", Some(AgentName::DEBUG)),
    ("investigate", Some(AgentName::DEBUG)),
    ("analyze", Some(AgentName::DEBUG)),
    ("analyse", Some(AgentName::DEBUG)),
    ("diagnose", Some(AgentName::DEBUG)),
    ("fix", Some(AgentName::DEBUG)),
    ("trace", Some(AgentName::DEBUG)),
    ("find", Some(AgentName::DEBUG)),
    ("review", Some(AgentName::DEBUG)),
    ("validate", Some(AgentName::DEBUG)),
    ("verify", Some(AgentName::DEBUG)),
    ("check", Some(AgentName::DEBUG)),
    ("test", Some(AgentName::DEBUG)),
    ("inspect", Some(AgentName::DEBUG)),
    ("examine", Some(AgentName::DEBUG)),
    ("audit", Some(AgentName::DEBUG)),
    ("profile", Some(AgentName::DEBUG)),
    ("assess", Some(AgentName::DEBUG)),
    ("reproduce", Some(AgentName::DEBUG)),
    ("update", None),
    ("remove", None),
    ("change", None),
    ("rename", None),
    ("replace", None),
    ("optimize", None),
    ("optimise", None),
    ("improve", None),
    ("convert", None),
];

/// Words at the front of a clause that say it comes after the one before.
const THEN_WORDS: [&str; 7] =
    ["then ", "and then ", "after that ", "afterwards ", "finally ", "next ", "lastly "];

/// Words at the front of a clause that carry no meaning for a task.
const FRONT_WORDS: [&str; 7] =
    ["and ", "also ", "please ", "first ", "can you ", "i want you to ", "to "];

/// Words at the end of a clause that say what holds anyway.
const END_WORDS: [&str; 4] = [" in parallel", " at the same time", " concurrently", " please"];

/// Splits a request into clauses: items of a list if there is one, else lines and sentences.
pub(super) fn split_clauses(request: &str) -> Vec<Clause> {
    let mut clauses = Vec::new();
    for line in join_items(request) {
        for sentence in split_sentences(&line) {
            split_sentence(sentence, &mut clauses);
        }
    }
    split_pairs(clauses)
}

/// Whether a clause is about "both".
pub(super) fn is_about_both(clause: &str) -> bool {
    let rest = leading_verb(clause).map_or("", |it| &clause[it.0.len()..]);
    let first = rest.split(|it: char| !it.is_alphabetic()).find(|it| !it.is_empty());
    first.is_some_and(|it| it.eq_ignore_ascii_case("both"))
}

/// Takes the place off the end of a phrase: "a reader in src/models/" is "a reader" and
/// "in src/models/".
pub(super) fn split_place(phrase: &str) -> (&str, Option<&str>) {
    let phrase = phrase.trim();
    let words = || phrase.rsplit_once(' ').map(|it| (it.0.trim_end(), it.1));
    let found = words().filter(|it| is_directory(it.1)).and_then(|(front, _)| {
        let (before, preposition) = front.rsplit_once(' ')?;
        let is_place = ["in", "into", "inside", "under", "below"].contains(&preposition);
        is_place.then(|| (before.trim_end(), &phrase[before.len() + 1..]))
    });
    found.map_or((phrase, None), |it| (it.0, Some(it.1)))
}

/// The verb that a clause begins with, and the agent it speaks for.
pub(super) fn leading_verb(clause: &str) -> Option<(&'static str, Option<&'static str>)> {
    let first = clause.split(|it: char| !it.is_alphabetic()).next().unwrap_or("");
    VERBS.iter().find(|it| first.eq_ignore_ascii_case(it.0)).copied()
}

/// Splits "head: a, b, and c" into its head and its items; an item that is a clause of its own
/// comes out as such.
pub(super) fn split_list(clause: &str) -> Option<(&str, Vec<&str>)> {
    let at = clause.match_indices(':').map(|it| it.0).find(|at| {
        // A colon inside a word, as in a URL or a context key, begins no list.
        clause[at + 1..].starts_with(char::is_whitespace)
    })?;
    let (head, rest) = (clause[..at].trim(), clause[at + 1..].trim());
    leading_verb(head)?;
    let mut items = Vec::new();
    for part in split_outside_brackets(rest) {
        items.extend(split_last_and(part));
    }
    items.retain(|it| !it.is_empty());
    (!items.is_empty()).then_some((head, items))
}

/// Makes two clauses of "write a and b" where the next one is about both.
fn split_pairs(clauses: Vec<Clause>) -> Vec<Clause> {
    let mut split = Vec::with_capacity(clauses.len());
    let mut clauses = clauses.into_iter().peekable();
    while let Some(clause) = clauses.next() {
        let is_pair = clauses.peek().is_some_and(|it| is_about_both(&it.text));
        match split_pair(&clause.text).filter(|_| is_pair && clause.waits != Waits::Alike) {
            Some((first, second)) => {
                split.push(Clause { text: first, waits: clause.waits });
                split.push(Clause { text: second, waits: Waits::Alike });
            }
            None => split.push(clause),
        }
    }
    split
}

/// "Write a and b" is "Write a" and "Write b".
fn split_pair(clause: &str) -> Option<(String, String)> {
    let verb = &clause[..leading_verb(clause)?.0.len()];
    let (first, second) = clause.split_once(" and ")?;
    let is_pair = !second.contains(" and ") && !clause.contains([',', ':']);
    (is_pair && first.len() > verb.len()).then(|| (first.to_owned(), format!("{verb} {second}")))
}

/// Whether a word looks like a directory: slashes, and no ending like that of a file.
fn is_directory(word: &str) -> bool {
    let word = word.trim_matches(['"', '\'', '`', '.', ',']);
    let last = word.trim_end_matches('/').rsplit('/').next().unwrap_or(word);
    word.contains('/') && !word.contains("://") && (word.ends_with('/') || !last.contains('.'))
}

/// The node type that stands in brackets or as a word.
pub(super) fn named_node_type(text: &str) -> Option<NodeType> {
    let named = [
        ("effect", NodeType::Effect),
        ("compute", NodeType::Compute),
        ("reducer", NodeType::Reducer),
        ("orchestrator", NodeType::Orchestrator),
    ];
    let mut words = text.split(|it: char| !it.is_alphabetic());
    words.find_map(|word| named.iter().find(|it| word.eq_ignore_ascii_case(it.0)).map(|it| it.1))
}

/// Joins each list item with the lines that continue it; other lines stand alone.
fn join_items(request: &str) -> Vec<String> {
    let has_items = request.lines().filter(|it| item_text(it).is_some()).count() > 1;
    let mut lines: Vec<String> = Vec::new();
    let mut in_item = false;
    for line in request.lines().filter(|it| !it.trim().is_empty()) {
        let item = item_text(line).filter(|_| has_items);
        match (item, lines.last_mut()) {
            (Some(item), _) => {
                in_item = true;
                lines.push(item.to_owned());
            }
            (None, Some(last)) if in_item && line.starts_with(char::is_whitespace) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            // What stands before a list announces it.
            (None, _) if has_items && line.trim().ends_with(':') => in_item = false,
            (None, _) => {
                in_item = false;
                lines.push(line.trim().to_owned());
            }
        }
    }
    lines
}

/// The text of a list item: what follows "-", "*", "•", "1.", "1)" or "(1)".
fn item_text(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let after_bullet = line.strip_prefix(['-', '*', '•']);
    let numbered = line.strip_prefix('(').unwrap_or(line);
    let after_digits = numbered.trim_start_matches(|it: char| it.is_ascii_digit());
    let after_number = (after_digits.len() < numbered.len())
        .then(|| after_digits.strip_prefix(['.', ')']))
        .flatten();
    let text = after_bullet.or(after_number)?;
    let text = text.strip_prefix(char::is_whitespace)?.trim();
    let text = text.strip_prefix("[ ]").unwrap_or(text).trim();
    (!text.is_empty()).then_some(text)
}

fn split_sentences(line: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut begin = 0;
    for (at, mark) in line.match_indices(['.', ';', '!', '?']) {
        let ends = line[at + 1..].starts_with(char::is_whitespace);
        let is_abbreviation = mark == "." && line[..at].ends_with(['g', 'e']) && {
            let front = &line[begin..at];
            front.ends_with("e.g") || front.ends_with("i.e")
        };
        if ends && !is_abbreviation {
            sentences.push(&line[begin..at]);
            begin = at + 1;
        }
    }
    sentences.push(&line[begin..]);
    sentences
}

/// Splits a sentence at "then", and each part at "and" where another verb follows.
fn split_sentence(sentence: &str, clauses: &mut Vec<Clause>) {
    let (mut waits, mut rest) = (Waits::Nothing, sentence.trim());
    while let Some(after) = strip_front(rest, &THEN_WORDS) {
        waits = Waits::ForPrevious;
        rest = after;
    }
    for part in split_then(rest) {
        // A list is taken apart later, as a whole.
        let pieces = match split_list(tidy(part)) {
            Some(_) => vec![part],
            None => split_and(part),
        };
        for piece in pieces.into_iter().map(tidy).filter(|it| !it.is_empty()) {
            clauses.push(Clause { text: piece.to_owned(), waits });
            waits = Waits::Alike;
        }
        waits = Waits::ForPrevious;
    }
}

fn split_then(sentence: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut begin = 0;
    let lower = sentence.to_ascii_lowercase();
    for (at, word) in lower.match_indices(" then ") {
        let before = lower[begin..at].trim_end().trim_end_matches(',');
        let before = before.strip_suffix(" and").unwrap_or(before).trim_end_matches(',');
        parts.push(&sentence[begin..begin + before.len()]);
        begin = at + word.len() - 1;
    }
    parts.push(&sentence[begin..]);
    parts.retain(|it| !it.trim().is_empty());
    parts
}

/// Splits at " and " and ", " where a verb follows.
fn split_and(part: &str) -> Vec<&str> {
    let lower = part.to_ascii_lowercase();
    let commas = lower.match_indices(", ").map(|it| (it.0, it.0 + it.1.len()));
    let ands = lower.match_indices(" and ").map(|it| (it.0, it.0 + it.1.len()));
    let mut joints: Vec<_> = commas.chain(ands).collect();
    joints.sort_unstable();
    let mut pieces = Vec::new();
    let mut begin = 0;
    for (at, end) in joints.into_iter().filter(|it| it.0 > 0) {
        let next = if lower[end..].starts_with("and ") { end + "and ".len() } else { end };
        if at >= begin && leading_verb(&part[next..]).is_some() {
            pieces.push(&part[begin..at]);
            begin = next;
        }
    }
    pieces.push(&part[begin..]);
    pieces
}

/// Splits at commas and semicolons that stand outside brackets.
fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let mut parts = Vec::new();
    let mut begin = 0;
    for (at, it) in text.char_indices() {
        match it {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            ',' | ';' if depth == 0 => {
                parts.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[begin..].trim());
    parts
}

/// "and c" is "c", and "a and b" are two, where they stand in a list.
fn split_last_and(part: &str) -> Vec<&str> {
    let part = tidy(part);
    if leading_verb(part).is_some() {
        return vec![part];
    }
    part.split(" and ").map(tidy).collect()
}

/// Removes what carries no meaning from both ends.
pub(super) fn tidy(text: &str) -> &str {
    let mut text = text.trim().trim_end_matches(['.', ',', ';', '!', '?']).trim();
    while let Some(rest) = strip_front(text, &FRONT_WORDS) {
        text = rest;
    }
    for end in END_WORDS {
        let at = text.len().saturating_sub(end.len());
        if text.get(at..).is_some_and(|it| it.eq_ignore_ascii_case(end)) {
            text = text[..at].trim_end_matches(',').trim();
        }
    }
    text
}

fn strip_front<'t>(text: &'t str, fronts: &[&str]) -> Option<&'t str> {
    let text = text.trim_start_matches([',', ' ']);
    fronts.iter().find_map(|front| {
        let (head, rest) = text.split_at_checked(front.len())?;
        let word = front.trim_end();
        let is_word = head.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
        let ends = head.ends_with([' ', ',']);
        (is_word && ends).then(|| rest.trim_start())
    })
}

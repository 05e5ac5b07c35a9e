//! Turns a request in plain words into tasks, by rules alone: the same words, the same tasks.

use super::{
    drafts::{Draft, DraftMaker, Drafts},
    phrase::{self, Clause, Waits},
    rules::Rules,
};
use crate::model::{AgentName, NodeType, TaskSpec, text};

/// Words that stand for tasks named before.
const PRONOUNS: [&str; 9] =
    ["both", "all", "them", "each", "it", "these", "those", "everything", "result"];

/// Number words in front of a list.
const COUNTS: [&str; 20] = [
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "several",
    "multiple",
    "some",
    "the",
    "following",
    "these",
    "2",
    "3",
    "4",
    "5",
    "6",
];

/// The most characters of a text that several tasks repeat.
const HEAD_CHARS_MAX: usize = 500;

/// Makes tasks from a request.
pub(super) fn draft(request: &str, rules: &Rules<'_>) -> Drafts {
    let mut writer =
        Writer { maker: DraftMaker::new(rules), before: Vec::new(), group: Vec::new() };
    for clause in phrase::split_clauses(request) {
        if writer.maker.is_full() {
            break;
        }
        writer.clause(&clause);
    }
    if writer.before.is_empty() && writer.group.is_empty() {
        writer.single(request.trim(), None);
    }
    writer.maker.finish()
}

/// Keeps what the next "then" waits for.
struct Writer<'r> {
    maker: DraftMaker<'r>,
    /// The tasks before the last "then".
    before: Vec<usize>,
    /// The tasks since.
    group: Vec<usize>,
}

impl Writer<'_> {
    fn clause(&mut self, clause: &Clause) {
        match clause.waits {
            Waits::Nothing => self.before.clear(),
            Waits::Alike => {}
            Waits::ForPrevious if self.group.is_empty() => {}
            Waits::ForPrevious => self.before = std::mem::take(&mut self.group),
        }
        if let Some((head, items)) = phrase::split_list(&clause.text) {
            self.list(head, &items);
        } else {
            self.single(&clause.text, phrase::leading_verb(&clause.text));
        }
    }

    /// One task for each item of "head: items".
    fn list(&mut self, head: &str, items: &[&str]) {
        let verb = phrase::leading_verb(head);
        let before = self.maker.ids_of(&self.before);
        let mut listed = Vec::new();
        // A place behind the last item is where all of them belong.
        let last = items.last().filter(|it| phrase::leading_verb(it).is_none());
        let place = last.and_then(|it| phrase::split_place(it).1).unwrap_or_default();
        for item in items {
            if self.maker.is_full() {
                break;
            }
            if let Some(own_verb) = phrase::leading_verb(item) {
                self.group.append(&mut listed);
                self.single(item, Some(own_verb));
                continue;
            }
            let (item, _) = phrase::split_place(item);
            let subject = without_brackets(item);
            let node_type = phrase::named_node_type(item).or_else(|| phrase::named_node_type(head));
            let mut draft = describe_item(head, verb, &subject, node_type);
            if !place.is_empty() {
                draft.told = format!("{} {place}", draft.told);
            }
            draft.dependencies.clone_from(&before);
            self.add_paths(&format!("{item} {place}"), &mut draft);
            listed.push(self.maker.add(draft));
        }
        self.group.append(&mut listed);
    }

    /// A clause that is one task, or one for each task that it points back to.
    fn single(&mut self, clause: &str, verb: Option<(&'static str, Option<&'static str>)>) {
        let rest = verb.map_or(clause, |it| clause[it.0.len()..].trim_start());
        let agent = verb.and_then(|it| it.1);
        if agent == Some(AgentName::DEBUG) && points_back(rest) {
            let targets = self.targets(clause).into_iter().map(|it| self.maker.task(it));
            let drafts: Vec<_> = targets.map(|it| describe_check(clause, it)).collect();
            if !drafts.is_empty() {
                let added = drafts.into_iter().map(|it| self.maker.add(it)).collect();
                self.before = std::mem::take(&mut self.group);
                self.group = added;
                return;
            }
        }
        let mut draft = Draft {
            subject: phrase::split_place(rest).0.to_owned(),
            description: capitalise(clause),
            agent,
            node_type: phrase::named_node_type(clause),
            dependencies: self.maker.ids_of(&self.before),
            ..Draft::default()
        };
        self.add_paths(clause, &mut draft);
        let id = self.maker.add(draft);
        self.group.push(id);
    }

    /// The tasks that a clause points back to.
    fn targets(&self, clause: &str) -> Vec<usize> {
        let near = if self.group.is_empty() { &self.before } else { &self.group };
        match self.maker.last_two() {
            Some(two) if near.len() < 2 && phrase::is_about_both(clause) => two.to_vec(),
            _ => near.clone(),
        }
    }

    /// Takes absolute paths out of a phrase: the one behind "to" is written, others are read.
    fn add_paths(&mut self, phrase: &str, draft: &mut Draft) {
        let mut previous = "";
        for word in phrase.split_whitespace() {
            if let Some(path) = as_path(word) {
                let is_written = matches!(previous, "to" | "into" | "as");
                if !self.maker.allows(path) {
                    let path = text::cut(path, 80);
                    self.maker
                        .warn(&format!("{path:?} is outside every workspace and was left out"));
                } else if is_written && draft.output_path.is_none() {
                    draft.output_path = Some(path.to_owned());
                } else {
                    draft.files.push(path.to_owned());
                }
            }
            previous = word;
        }
        if draft.agent == Some(AgentName::DEBUG) {
            draft.files.extend(draft.output_path.take());
        }
        let named = draft.subject.split_whitespace().map(|it| as_path(it).map_or(it, file_stem));
        draft.subject = named.collect::<Vec<_>>().join(" ");
    }
}

/// The absolute path that a word is, without the marks around it.
fn as_path(word: &str) -> Option<&str> {
    let path = word.trim_matches(['"', '\'', '`', ',', '(', ')', ':', ';']).trim_end_matches('.');
    (path.len() > 1 && path.starts_with('/')).then_some(path)
}

/// `auth` for `/w/auth.py`.
fn file_stem(path: &str) -> &str {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
    name.split('.').next().unwrap_or(name)
}

/// "Generate three ONEX Effect nodes for x: user writer" is "Generate user writer Effect node".
fn describe_item(
    head: &str,
    verb: Option<(&'static str, Option<&'static str>)>,
    item: &str,
    node_type: Option<NodeType>,
) -> Draft {
    let verb_len = verb.map_or(0, |it| it.0.len());
    // Every item repeats the head, so a long one would multiply.
    let about = text::cut(&singular(head[verb_len..].trim()), HEAD_CHARS_MAX);
    let agent = verb.and_then(|it| it.1);
    let is_node =
        agent != Some(AgentName::DEBUG) && about.split_whitespace().any(|it| it == "node");
    let description = match (is_node, node_type) {
        (true, Some(it)) => format!("{} {item} {it:?} node", &head[..verb_len]),
        (true, None) => format!("{} {item} node", &head[..verb_len]),
        (false, _) => format!("{}: {item}", text::cut(head.trim(), HEAD_CHARS_MAX)),
    };
    let told = match (node_type, phrase::named_node_type(&about)) {
        (Some(it), None) if is_node => format!("{it:?} {about}: {item}"),
        _ => format!("{about}: {item}"),
    };
    Draft {
        subject: item.to_owned(),
        description: capitalise(&description),
        told: capitalise(&told),
        agent,
        node_type,
        ..Draft::default()
    }
}

/// "validate both for quality", about one of the two.
fn describe_check(clause: &str, target: &TaskSpec) -> Draft {
    let path = target.input_data.get("output_path").and_then(|it| it.as_str());
    let name = target.task_id.as_str();
    let subject = name.strip_prefix("gen-").or_else(|| name.strip_prefix("debug-"));
    Draft {
        subject: subject.unwrap_or(name).to_owned(),
        description: format!(
            "{}: {}",
            capitalise(&text::cut(clause, HEAD_CHARS_MAX)),
            text::cut(&target.description, HEAD_CHARS_MAX)
        ),
        agent: Some(AgentName::DEBUG),
        files: path.map(str::to_owned).into_iter().collect(),
        dependencies: vec![target.task_id.clone()],
        ..Draft::default()
    }
}

fn points_back(rest: &str) -> bool {
    let mut words = rest.split(|it: char| !it.is_alphabetic()).filter(|it| !it.is_empty());
    let first = words.next().unwrap_or("").to_ascii_lowercase();
    let second = words.next().unwrap_or("").to_ascii_lowercase();
    PRONOUNS.contains(&first.as_str()) || first == "the" && PRONOUNS.contains(&second.as_str())
}

/// "three ONEX Effect nodes for x" is "ONEX Effect node for x".
fn singular(about: &str) -> String {
    let is_count = |it: &&str| COUNTS.contains(&it.to_ascii_lowercase().as_str());
    let words = about.split_whitespace().skip_while(is_count);
    let words: Vec<_> = words.map(|it| if it == "nodes" { "node" } else { it }).collect();
    words.join(" ")
}

fn without_brackets(item: &str) -> String {
    let mut depth = 0_usize;
    let outside = item.chars().filter(|it| match it {
        '(' => {
            depth += 1;
            false
        }
        ')' => {
            depth = depth.saturating_sub(1);
            false
        }
        _ => depth == 0,
    });
    let outside: String = outside.collect();
    outside.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn capitalise(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

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

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use crate::{
        model::json::Json,
        plan::{
            Limits, check_plan,
            document::testing::{show_plan, with_rules},
        },
    };

    #[track_caller]
    fn check(request: &str, expected: &Expect) {
        let args = json!({ "request": request });
        let json = Json::from_value(&args).unwrap();
        expected
            .assert_eq(&show_plan(with_rules(Limits::SERVER, |rules| check_plan(&json, rules))));
    }

    #[test]
    fn a_list_behind_a_colon_is_one_task_an_item() {
        check(
            "Generate three ONEX Effect nodes for database operations: user writer, product \
             reader, and order updater",
            &expect![[r#"
                gen-user-writer coder <- []: "Generate user writer Effect node"
                  {"contract_description":"ONEX Effect node for database operations: user writer","node_type":"Effect","output_path":"/w/node_user_writer_effect.py"}
                gen-product-reader coder <- []: "Generate product reader Effect node"
                  {"contract_description":"ONEX Effect node for database operations: product reader","node_type":"Effect","output_path":"/w/node_product_reader_effect.py"}
                gen-order-updater coder <- []: "Generate order updater Effect node"
                  {"contract_description":"ONEX Effect node for database operations: order updater","node_type":"Effect","output_path":"/w/node_order_updater_effect.py"}
                warning: task "gen-user-writer": assumed output_path /w/node_user_writer_effect.py
                warning: task "gen-product-reader": assumed output_path /w/node_product_reader_effect.py
                warning: task "gen-order-updater": assumed output_path /w/node_order_updater_effect.py"#]],
        );
    }

    #[test]
    fn what_validates_both_waits_for_both() {
        check(
            "Generate three ONEX nodes: database writer (Effect), data transformer (Compute), and \
             validate both for quality",
            &expect![[r#"
                gen-database-writer coder <- []: "Generate database writer Effect node"
                  {"contract_description":"Effect ONEX node: database writer","node_type":"Effect","output_path":"/w/node_database_writer_effect.py"}
                gen-data-transformer coder <- []: "Generate data transformer Compute node"
                  {"contract_description":"Compute ONEX node: data transformer","node_type":"Compute","output_path":"/w/node_data_transformer_compute.py"}
                debug-database-writer debug <- ["gen-database-writer"]: "Validate both for quality: Generate database writer Effect node"
                  {"problem_description":"Validate both for quality: Generate database writer Effect node","affected_files":["/w/node_database_writer_effect.py"]}
                debug-data-transformer debug <- ["gen-data-transformer"]: "Validate both for quality: Generate data transformer Compute node"
                  {"problem_description":"Validate both for quality: Generate data transformer Compute node","affected_files":["/w/node_data_transformer_compute.py"]}
                warning: task "gen-database-writer": assumed output_path /w/node_database_writer_effect.py
                warning: task "gen-data-transformer": assumed output_path /w/node_data_transformer_compute.py"#]],
        );
    }

    #[test]
    fn then_makes_a_task_wait() {
        check(
            "Investigate why authentication is failing, then generate a fixed version",
            &expect![[r#"
                debug-authentication-failing debug <- []: "Investigate why authentication is failing"
                  {"problem_description":"Investigate why authentication is failing"}
                gen-fixed-version coder <- ["debug-authentication-failing"]: "Generate a fixed version"
                  {"contract_description":"Generate a fixed version","node_type":"Effect","output_path":"/w/node_fixed_version_effect.py"}
                warning: task "gen-fixed-version": assumed node_type Effect and output_path /w/node_fixed_version_effect.py"#]],
        );
        check(
            "Debug /w/auth.py and /etc/passwd and then generate a fix to /w/fixed.py. Create a log",
            &expect![[r#"
                debug-auth-passwd debug <- []: "Debug /w/auth.py and /etc/passwd"
                  {"problem_description":"Debug /w/auth.py and /etc/passwd","affected_files":["/w/auth.py"]}
                gen-fix-fixed coder <- ["debug-auth-passwd"]: "Generate a fix to /w/fixed.py"
                  {"contract_description":"Generate a fix to /w/fixed.py","node_type":"Effect","output_path":"/w/fixed.py"}
                gen-log coder <- []: "Create a log"
                  {"contract_description":"Create a log","node_type":"Effect","output_path":"/w/node_log_effect.py"}
                warning: "/etc/passwd" is outside every workspace and was left out
                warning: task "gen-fix-fixed": assumed node_type Effect
                warning: task "gen-log": assumed node_type Effect and output_path /w/node_log_effect.py"#]],
        );
    }

    #[test]
    fn and_between_verbs_makes_tasks_side_by_side() {
        check(
            "Debug the existing API endpoint AND generate a new caching layer in parallel",
            &expect![[r#"
                debug-api-endpoint debug <- []: "Debug the existing API endpoint"
                  {"problem_description":"Debug the existing API endpoint"}
                gen-caching-layer coder <- []: "Generate a new caching layer"
                  {"contract_description":"Generate a new caching layer","node_type":"Reducer","output_path":"/w/node_caching_layer_reducer.py"}
                warning: task "gen-caching-layer": assumed node_type Reducer and output_path /w/node_caching_layer_reducer.py"#]],
        );
        check(
            "Generate a reader and writer, build a cache, and test it; then write docs and update \
             the changelog",
            &expect![[r#"
                gen-reader-writer coder <- []: "Generate a reader and writer"
                  {"contract_description":"Generate a reader and writer","node_type":"Effect","output_path":"/w/node_reader_writer_effect.py"}
                gen-cache coder <- []: "Build a cache"
                  {"contract_description":"Build a cache","node_type":"Reducer","output_path":"/w/node_cache_reducer.py"}
                debug-reader-writer debug <- ["gen-reader-writer"]: "Test it: Generate a reader and writer"
                  {"problem_description":"Test it: Generate a reader and writer","affected_files":["/w/node_reader_writer_effect.py"]}
                debug-cache debug <- ["gen-cache"]: "Test it: Build a cache"
                  {"problem_description":"Test it: Build a cache","affected_files":["/w/node_cache_reducer.py"]}
                gen-docs coder <- ["debug-reader-writer", "debug-cache"]: "Write docs"
                  {"contract_description":"Write docs","node_type":"Effect","output_path":"/w/node_docs_effect.py"}
                gen-changelog coder <- ["debug-reader-writer", "debug-cache"]: "Update the changelog"
                  {"contract_description":"Update the changelog","node_type":"Effect","output_path":"/w/node_changelog_effect.py"}
                warning: task "gen-reader-writer": assumed node_type Effect and output_path /w/node_reader_writer_effect.py
                warning: task "gen-cache": assumed node_type Reducer and output_path /w/node_cache_reducer.py
                warning: task "gen-docs": assumed node_type Effect and output_path /w/node_docs_effect.py
                warning: "Update the changelog" speaks for no agent; coder was chosen
                warning: task "gen-changelog": assumed node_type Effect and output_path /w/node_changelog_effect.py"#]],
        );
    }

    #[test]
    fn lists_of_lines_are_tasks() {
        check(
            "Please do:\n1. Create a parser\n   for dates, e.g. 2026-01-01\n2) fix the login bug\n\
             - [ ] then test all\n",
            &expect![[r#"
                gen-parser-dates-e-g-2026 coder <- []: "Create a parser for dates, e.g. 2026-01-01"
                  {"contract_description":"Create a parser for dates, e.g. 2026-01-01","node_type":"Compute","output_path":"/w/node_parser_dates_e_g_2026_compute.py"}
                debug-login-bug debug <- []: "Fix the login bug"
                  {"problem_description":"Fix the login bug"}
                debug-parser-dates-e-g-2026 debug <- ["gen-parser-dates-e-g-2026"]: "Test all: Create a parser for dates, e.g. 2026-01-01"
                  {"problem_description":"Test all: Create a parser for dates, e.g. 2026-01-01","affected_files":["/w/node_parser_dates_e_g_2026_compute.py"]}
                debug-login-bug-2 debug <- ["debug-login-bug"]: "Test all: Fix the login bug"
                  {"problem_description":"Test all: Fix the login bug"}
                warning: task "gen-parser-dates-e-g-2026": assumed node_type Compute and output_path /w/node_parser_dates_e_g_2026_compute.py"#]],
        );
    }

    #[test]
    fn anything_else_is_one_task() {
        check(
            "make it so",
            &expect![[r#"
                gen-so coder <- []: "Make it so"
                  {"contract_description":"Make it so","node_type":"Effect","output_path":"/w/node_so_effect.py"}
                warning: task "gen-so": assumed node_type Effect and output_path /w/node_so_effect.py"#]],
        );
        check(
            "…",
            &expect![[r#"
            gen-task coder <- []: "…"
              {"contract_description":"…","node_type":"Effect","output_path":"/w/node_task_effect.py"}
            warning: "…" speaks for no agent; coder was chosen
            warning: task "gen-task": assumed node_type Effect and output_path /w/node_task_effect.py"#]],
        );
        check(
            "\u{202e}debug\u{7} \"x\"",
            &expect![[r#"
            debug-debug-x debug <- []: "\u{202e}debug\u{7} \"x\""
              {"problem_description":"\u{202e}debug\u0007 \"x\""}"#]],
        );
    }

    #[test]
    fn both_are_two() {
        check(
            "Write a parser and a printer, then check both",
            &expect![[r#"
            gen-parser coder <- []: "Write a parser"
              {"contract_description":"Write a parser","node_type":"Compute","output_path":"/w/node_parser_compute.py"}
            gen-printer coder <- []: "Write a printer"
              {"contract_description":"Write a printer","node_type":"Effect","output_path":"/w/node_printer_effect.py"}
            debug-parser debug <- ["gen-parser"]: "Check both: Write a parser"
              {"problem_description":"Check both: Write a parser","affected_files":["/w/node_parser_compute.py"]}
            debug-printer debug <- ["gen-printer"]: "Check both: Write a printer"
              {"problem_description":"Check both: Write a printer","affected_files":["/w/node_printer_effect.py"]}
            warning: task "gen-parser": assumed node_type Compute and output_path /w/node_parser_compute.py
            warning: task "gen-printer": assumed node_type Effect and output_path /w/node_printer_effect.py"#]],
        );
        check(
            "Create a reader, then create a writer, then check both",
            &expect![[r#"
            gen-reader coder <- []: "Create a reader"
              {"contract_description":"Create a reader","node_type":"Effect","output_path":"/w/node_reader_effect.py"}
            gen-writer coder <- ["gen-reader"]: "Create a writer"
              {"contract_description":"Create a writer","node_type":"Effect","output_path":"/w/node_writer_effect.py"}
            debug-reader debug <- ["gen-reader"]: "Check both: Create a reader"
              {"problem_description":"Check both: Create a reader","affected_files":["/w/node_reader_effect.py"]}
            debug-writer debug <- ["gen-writer"]: "Check both: Create a writer"
              {"problem_description":"Check both: Create a writer","affected_files":["/w/node_writer_effect.py"]}
            warning: task "gen-reader": assumed node_type Effect and output_path /w/node_reader_effect.py
            warning: task "gen-writer": assumed node_type Effect and output_path /w/node_writer_effect.py"#]],
        );
    }

    #[test]
    fn a_place_at_the_end_is_no_part_of_a_name() {
        check(
            "Generate nodes: user writer, order reader in src/models/",
            &expect![[r#"
            gen-user-writer coder <- []: "Generate user writer node"
              {"contract_description":"Node: user writer in src/models/","node_type":"Effect","output_path":"/w/node_user_writer_effect.py"}
            gen-order-reader coder <- []: "Generate order reader node"
              {"contract_description":"Node: order reader in src/models/","node_type":"Effect","output_path":"/w/node_order_reader_effect.py"}
            warning: task "gen-user-writer": assumed node_type Effect and output_path /w/node_user_writer_effect.py
            warning: task "gen-order-reader": assumed node_type Effect and output_path /w/node_order_reader_effect.py"#]],
        );
        check(
            "Create a parser in src/models/",
            &expect![[r#"
            gen-parser coder <- []: "Create a parser in src/models/"
              {"contract_description":"Create a parser in src/models/","node_type":"Compute","output_path":"/w/node_parser_compute.py"}
            warning: task "gen-parser": assumed node_type Compute and output_path /w/node_parser_compute.py"#]],
        );
    }

    #[test]
    fn a_request_for_too_much_is_refused_like_any_document() {
        let items: Vec<_> = (0..9_000).map(|it| format!("n{it}")).collect();
        let text =
            format!("Generate nodes: {}{}", items.join(", "), ". Validate all".repeat(1_000));
        check(
            &text,
            &expect![[r#"
            limit_exceeded at /tasks: "tasks" holds 18000 tasks; at most 10000 are allowed
              hint: split the document, or give it to `parallel-dispatch run`"#]],
        );
    }
}

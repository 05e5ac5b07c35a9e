//! Reads a Conductor `plan.md`: its yaml `dag` block, or its task list.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

use super::{
    drafts::{Draft, DraftMaker, Drafts},
    routing::{self, Routed},
    rules::Rules,
};
use crate::model::{AgentName, TaskId, text};

/// Makes tasks from a plan; says in one sentence why it cannot.
///
/// Tasks that are ticked off are left out, and so are dependencies on them.
pub(super) fn draft(markdown: &str, rules: &Rules<'_>) -> Result<Drafts, String> {
    let listed = read_task_lines(markdown);
    let nodes = match find_dag(markdown)? {
        Some(nodes) => nodes,
        None if listed.is_empty() => {
            return Err("the plan has neither a yaml dag nor a task list".to_owned());
        }
        None => listed.iter().map(|it| it.node.clone()).collect(),
    };
    let is_done = |it: &&Node| it.status.as_deref().is_some_and(means_done);
    let done_nodes = nodes.iter().filter(is_done).map(|it| it.id.as_str());
    let done_lines = listed.iter().filter(|it| it.is_done).map(|it| it.node.id.as_str());
    let done: BTreeSet<&str> = done_nodes.chain(done_lines).collect();
    let mut maker = DraftMaker::new(rules);
    for node in &nodes {
        if done.contains(node.id.as_str()) {
            maker.warn(&format!("task {:?} is done and was left out", text::cut(&node.id, 80)));
        } else if !maker.is_full() {
            let draft = describe(node, &done, &mut maker);
            maker.add(draft);
        }
    }
    let drafts = maker.finish();
    if drafts.tasks.is_empty() {
        return Err("every task of the plan is done".to_owned());
    }
    Ok(drafts)
}

/// A yaml block; what else is in it is somebody else's.
#[derive(Debug, Deserialize)]
struct PlanBlock {
    dag: Dag,
}

#[derive(Debug, Deserialize)]
struct Dag {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Node {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    files: Texts,
    #[serde(default)]
    depends_on: Texts,
    #[serde(default)]
    estimated_duration: Option<String>,
    #[serde(default)]
    acceptance: Texts,
    #[serde(default)]
    status: Option<String>,
}

/// A list of texts, which people also write as a single text or leave empty.
#[derive(Clone, Debug, Default)]
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_unit<E>(self) -> Result<Texts, E> {
                Ok(Texts::default())
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.trim().to_owned()]))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Texts, E> {
                Ok(Texts(vec![number.to_string()]))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Texts, E> {
                Ok(Texts(vec![number.to_string()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

/// A line `- [ ] Task 1.1: … <!-- deps: … -->`.
#[derive(Debug)]
struct TaskLine {
    node: Node,
    is_done: bool,
}

/// The nodes of the first fenced block that has a dag.
fn find_dag(markdown: &str) -> Result<Option<Vec<Node>>, String> {
    let has_dag = |it: &&str| it.lines().any(|line| line.trim_end() == "dag:");
    let Some(block) = fenced_blocks(markdown).into_iter().find(has_dag) else {
        return Ok(None);
    };
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_aliases: 100,
            max_anchors: 100,
            max_recorded_anchor_events: 10_000,
            max_depth: 32,
            max_documents: 1,
        },
    };
    let block =
        serde_saphyr::from_str_with_options::<PlanBlock>(block, options).map_err(|error| {
            // The first line says what and where; the others draw it.
            let error = error.to_string();
            let reason = error.lines().next().unwrap_or("").trim_start_matches("error: ");
            format!("failed to read the plan's yaml: {reason}")
        })?;
    Ok(Some(block.dag.nodes))
}

/// What stands between fences of three backticks.
fn fenced_blocks(markdown: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut begin = None;
    let mut at = 0;
    for line in markdown.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            match begin.take() {
                Some(begin) => blocks.push(&markdown[begin..at]),
                None => begin = Some(at + line.len()),
            }
        }
        at += line.len();
    }
    blocks
}

fn read_task_lines(markdown: &str) -> Vec<TaskLine> {
    markdown.lines().filter_map(read_task_line).collect()
}

fn read_task_line(line: &str) -> Option<TaskLine> {
    let line = line.trim_start().strip_prefix(['-', '*'])?.trim_start();
    let (mark, rest) = line.strip_prefix('[')?.split_once(']')?;
    let rest = rest.trim_start();
    let rest = rest.strip_prefix("**").unwrap_or(rest);
    let rest = rest.strip_prefix("Task ")?;
    let (id, rest) = rest.split_once(':')?;
    let (name, comment) = rest.split_once("<!--").unwrap_or((rest, ""));
    let name = name.trim().trim_matches('*').trim();
    let node = Node {
        id: id.trim().to_owned(),
        name: Some(name.to_owned()),
        depends_on: Texts(read_dependencies(comment)),
        ..Node::default()
    };
    Some(TaskLine { node, is_done: matches!(mark.trim(), "x" | "X") })
}

/// `deps: 1.0, 1.1, parallel: pg-1 -->`; groups are hints, what can run at once follows from deps.
fn read_dependencies(comment: &str) -> Vec<String> {
    let comment = comment.split("-->").next().unwrap_or("");
    let Some((_, list)) = comment.split_once("deps:") else { return Vec::new() };
    let list = list.split("parallel:").next().unwrap_or("");
    let separators = [',', ' ', '[', ']', '\t', ';'];
    let ids = list.split(separators).filter(|it| !it.is_empty() && !is_none(it));
    ids.map(str::to_owned).collect()
}

fn is_none(word: &str) -> bool {
    matches!(word.to_ascii_lowercase().as_str(), "none" | "-" | "n/a" | "null")
}

fn means_done(status: &str) -> bool {
    matches!(status.to_ascii_lowercase().as_str(), "done" | "complete" | "completed")
}

fn describe(node: &Node, done: &BTreeSet<&str>, maker: &mut DraftMaker<'_>) -> Draft {
    let name = node.name.as_deref().map(str::trim).filter(|it| !it.is_empty()).unwrap_or(&node.id);
    let files = &node.files.0;
    let mut description = name.to_owned();
    if !files.is_empty() {
        description.push_str("\nFiles: ");
        description.push_str(&files.join(", "));
    }
    if !node.acceptance.0.is_empty() {
        description.push_str("\nAcceptance: ");
        description.push_str(&node.acceptance.0.join("; "));
    }
    let agent = choose_agent(node, name);
    let paths: Vec<String> = files.iter().filter_map(|it| to_absolute(it, maker)).collect();
    let is_coder = agent == Some(AgentName::CODER);
    let output_path = paths.first().filter(|_| is_coder && files.len() == 1).cloned();
    let dependencies = node.depends_on.0.iter().filter(|it| !is_none(it));
    let dependencies = dependencies.filter(|it| !done.contains(it.as_str()));
    Draft {
        id: Some(node.id.clone()),
        subject: name.to_owned(),
        description,
        agent,
        files: if is_coder { Vec::new() } else { paths },
        output_path,
        dependencies: dependencies.map(|it| TaskId::new(it)).collect(),
        estimate_seconds: node.estimated_duration.as_deref().and_then(|it| read_span(it, maker)),
        ..Draft::default()
    }
}

/// Tests are written by the coder; everything else goes by its name.
fn choose_agent(node: &Node, name: &str) -> Option<&'static str> {
    match node.kind.as_deref() {
        Some("integration" | "test" | "code" | "ui" | "docs" | "config")
            if routing::weigh(name) != Routed::Debug =>
        {
            Some(AgentName::CODER)
        }
        Some("integration" | "test") => Some(AgentName::CODER),
        _ => match routing::weigh(name) {
            Routed::Coder => Some(AgentName::CODER),
            Routed::Debug => Some(AgentName::DEBUG),
            Routed::Tie => None,
        },
    }
}

/// A file of the plan below the main workspace, if agents may use it.
fn to_absolute(file: &str, maker: &mut DraftMaker<'_>) -> Option<String> {
    let file = file.trim();
    let path = match maker.root() {
        _ if file.starts_with('/') => file.to_owned(),
        Some(root) => format!("{}/{}", root.trim_end_matches('/'), file.trim_start_matches("./")),
        None => return None,
    };
    if !maker.allows(&path) {
        let file = text::cut(file, 80);
        maker.warn(&format!("the file {file:?} is outside every workspace and was left out"));
        return None;
    }
    Some(path)
}

/// Reads "30m", "1h 30m", "90 seconds", "2 hours"; a bare number is minutes.
fn read_span(span: &str, maker: &mut DraftMaker<'_>) -> Option<f64> {
    let mut seconds = 0.0;
    let mut rest = span.trim();
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|it: char| it.is_ascii_digit() || it == '.');
        let number: Option<f64> = rest[..rest.len() - digits.len()].parse().ok();
        let after = digits.trim_start();
        let next = after.trim_start_matches(char::is_alphabetic);
        let unit = match after[..after.len() - next.len()].to_ascii_lowercase().as_str() {
            "s" | "sec" | "secs" | "second" | "seconds" => Some(1.0),
            "" | "m" | "min" | "mins" | "minute" | "minutes" => Some(60.0),
            "h" | "hr" | "hrs" | "hour" | "hours" => Some(3_600.0),
            _ => None,
        };
        let (Some(number), Some(unit)) = (number, unit) else {
            let span = text::cut(span, 80);
            maker.warn(&format!("the duration {span:?} cannot be read and was left out"));
            return None;
        };
        seconds += number * unit;
        rest = next.trim_start_matches([' ', ',']);
    }
    (seconds > 0.0).then(|| seconds.min(86_400.0))
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
    fn check(markdown: &str, expected: &Expect) {
        let args = json!({ "plan_markdown": markdown });
        let json = Json::from_value(&args).unwrap();
        expected
            .assert_eq(&show_plan(with_rules(Limits::SERVER, |rules| check_plan(&json, rules))));
    }

    #[test]
    fn a_dag_block_is_read_and_what_is_done_left_out() {
        check(
            "# Plan\n```python\nx\n```\n```yaml\ndag:\n  nodes:\n    - id: 1.0\n      name: Setup\n\
             \x20   - id: \"1.1\"\n      name: Create user model\n      type: code\n\
             \x20     files: [src/user.py]\n      depends_on: [1.0]\n      estimated_duration: 30m\n\
             \x20     acceptance: it compiles\n      phase: 1\n\
             \x20   - id: 1.10\n      name: Investigate the slow error\n      files: [a.py, /etc/x]\n\
             \x20     depends_on:\n        - 1.1\n      estimated_duration: 1h 30 minutes\n\
             \x20   - id: e2e\n      name: Debug tests\n      type: integration\n\
             \x20     depends_on: none\n      estimated_duration: soon\n      acceptance: [a, b]\n\
             \x20 parallel_groups: []\n```\n\n- [x] Task 1.0: Setup\n",
            &expect![[r#"
                1.1 coder <- [] 1800 s: "Create user model\nFiles: src/user.py\nAcceptance: it compiles"
                  {"contract_description":"Create user model\nFiles: src/user.py\nAcceptance: it compiles","node_type":"Effect","output_path":"/w/src/user.py"}
                1.10 debug <- ["1.1"] 5400 s: "Investigate the slow error\nFiles: a.py, /etc/x"
                  {"problem_description":"Investigate the slow error\nFiles: a.py, /etc/x","affected_files":["/w/a.py"]}
                e2e coder <- []: "Debug tests\nAcceptance: a; b"
                  {"contract_description":"Debug tests\nAcceptance: a; b","node_type":"Effect","output_path":"/w/node_debug_tests_effect.py"}
                warning: task "1.0" is done and was left out
                warning: task "1.1": assumed node_type Effect
                warning: the file "/etc/x" is outside every workspace and was left out
                warning: the duration "soon" cannot be read and was left out
                warning: task "e2e": assumed node_type Effect and output_path /w/node_debug_tests_effect.py"#]],
        );
    }

    #[test]
    fn task_lines_are_read() {
        check(
            "- [x] Task 1.0: Setup <!-- deps: none -->\n\
             - [ ] **Task 1.1: Build the writer** <!-- deps: 1.0, parallel: pg-1 -->\n\
             * [ ] Task 1.2: Debug the reader <!-- deps: 1.0, 1.1, parallel: pg-1 -->\n\
             - [ ] not a task\n",
            &expect![[r#"
                1.1 coder <- []: "Build the writer"
                  {"contract_description":"Build the writer","node_type":"Effect","output_path":"/w/node_build_writer_effect.py"}
                1.2 debug <- ["1.1"]: "Debug the reader"
                  {"problem_description":"Debug the reader"}
                warning: task "1.0" is done and was left out
                warning: task "1.1": assumed node_type Effect and output_path /w/node_build_writer_effect.py"#]],
        );
    }

    #[test]
    fn faults_of_a_plan_are_those_of_its_tasks() {
        check(
            "- [ ] Task 1.1: Build a <!-- deps: 1.3 -->\n- [ ] Task 1.1: Build b\n\
             - [ ] Task a b: Build c <!-- deps: 1.1 -->",
            &expect![[r#"
                unknown_dependency at /tasks/0/dependencies/0: task "1.1" depends on unknown task "1.3"; did you mean "1.1"?
                  hint: name a task of this document, or add the task
                duplicate_task_id at /tasks/1/task_id: task id "1.1" is taken by task number 1
                  hint: give each task its own id
                invalid_task_id at /tasks/2/task_id: "a b" is not a valid task id
                  hint: use 1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first"#]],
        );
        check(
            "- [x] Task 1: a",
            &expect![[r"
            parse_error at /plan_markdown: every task of the plan is done
              hint: give a yaml block `dag:` with nodes, or lines `- [ ] Task 1.1: …`"]],
        );
        check(
            "```yaml\ndag:\n  nodes: 5\n```",
            &expect![[r"
                parse_error at /plan_markdown: failed to read the plan's yaml: line 2 column 10: expected sequence start
                  hint: give a yaml block `dag:` with nodes, or lines `- [ ] Task 1.1: …`"]],
        );
        check(
            "```yaml\ndag:\n  nodes: [{name: x}]\n```",
            &expect![[r"
                parse_error at /plan_markdown: failed to read the plan's yaml: line 2 column 12: missing field `id`
                  hint: give a yaml block `dag:` with nodes, or lines `- [ ] Task 1.1: …`"]],
        );
    }

    #[test]
    fn yaml_bombs_are_refused() {
        let level = |it: u32| {
            let inner = format!("*a{}, ", it - 1).repeat(8);
            format!("a{it}: &a{it} [{inner}]")
        };
        let levels: Vec<_> = (1..12).map(level).collect();
        let bomb = format!(
            "```yaml\na0: &a0 [x, x, x, x, x, x, x, x]\n{}\ndag:\n  nodes: []\n```\n",
            levels.join("\n")
        );
        let args = json!({ "plan_markdown": bomb });
        let json = Json::from_value(&args).unwrap();
        with_rules(Limits::SERVER, |rules| check_plan(&json, rules)).unwrap_err();
        let deep = format!("```yaml\ndag:\n  nodes: {}\n```", "[".repeat(100_000));
        let args = json!({ "plan_markdown": deep });
        let json = Json::from_value(&args).unwrap();
        with_rules(Limits::SERVER, |rules| check_plan(&json, rules)).unwrap_err();
    }
}

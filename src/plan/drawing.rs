//! Draws a graph as a Mermaid flowchart.

use std::fmt::Write as _;

use super::TaskGraph;
use crate::model::{TaskIdx, TaskSpec, text};

/// The most tasks that are drawn; more make no picture that anybody can read.
const TASKS_MAX: usize = 200;
/// The most arrows that are drawn.
const ARROWS_MAX: usize = 1_000;

/// A flowchart from top to bottom; of large graphs the beginning, with a note.
pub(super) fn mermaid(tasks: &[TaskSpec], graph: &TaskGraph) -> String {
    let mut drawing = String::from("flowchart TD\n");
    let n_drawn = tasks.len().min(TASKS_MAX);
    for (at, task) in tasks[..n_drawn].iter().enumerate() {
        let id = label(task.task_id.as_str());
        let agent = label(task.agent.as_str());
        let description = label(&text::cut(task.description.trim(), 60));
        line(&mut drawing, format_args!("t{at}[\"{id} ({agent})<br/>{description}\"]"));
    }
    let arrows = (0..n_drawn).flat_map(|at| {
        let before = graph.dependencies(TaskIdx::from_usize(at)).iter();
        before.filter(|it| it.as_usize() < TASKS_MAX).map(move |it| (it.as_usize(), at))
    });
    for (from, to) in arrows.clone().take(ARROWS_MAX) {
        let arrow = if tasks[to].when.is_some() { "-. when .->" } else { "-->" };
        line(&mut drawing, format_args!("t{from} {arrow} t{to}"));
    }
    if tasks.len() > n_drawn {
        let n_more = tasks.len() - n_drawn;
        line(&mut drawing, format_args!("more[\"{n_more} more tasks are not drawn\"]"));
    }
    let n_arrows = arrows.count();
    if n_arrows > ARROWS_MAX {
        let n_more = n_arrows - ARROWS_MAX;
        line(&mut drawing, format_args!("arrows[\"{n_more} more arrows are not drawn\"]"));
    }
    drawing
}

fn line(drawing: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ok = writeln!(drawing, "    {text}");
}

/// Escapes what could end a label or be read as markup, as Mermaid's own entities.
fn label(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for it in text::escape(text).chars() {
        match it {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '.' | ',' | '_' | '-' | '/' | ':' | '\'' => {
                safe.push(it);
            }
            it if it.is_alphanumeric() => safe.push(it),
            it => {
                let _ok = write!(safe, "#{};", u32::from(it));
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::plan::document::testing::check_value;

    fn draw(tasks: &[(&str, &str, &[&str])]) -> String {
        let tasks: Vec<_> = tasks
            .iter()
            .map(|(id, description, dependencies)| {
                json!({
                    "task_id": id, "agent": "debug", "description": description,
                    "input_data": {"problem_description": "it is broken"},
                    "dependencies": dependencies,
                })
            })
            .collect();
        let checked = check_value(&json!({ "tasks": tasks })).unwrap();
        mermaid(&checked.tasks, &checked.graph)
    }

    #[track_caller]
    fn check(tasks: &[(&str, &str, &[&str])], expected: &Expect) {
        expected.assert_eq(&draw(tasks));
    }

    #[test]
    fn labels_cannot_break_out() {
        check(
            &[("a", "\"]; <script>alert(1)</script> `x` {y} #quot; é", &[]), ("b", "look", &["a"])],
            &expect![[r#"
                flowchart TD
                    t0["a (debug)<br/>#34;#93;#59; #60;script#62;alert#40;1#41;#60;/script#62; #96;x#96; #123;y#125; #35;quot#59; é"]
                    t1["b (debug)<br/>look"]
                    t0 --> t1
            "#]],
        );
    }

    #[test]
    fn conditions_are_arrows_with_dashes() {
        let task = |id: &str, waits: &[&str]| {
            json!({
                "task_id": id, "agent": "debug", "description": "look", "dependencies": waits,
                "input_data": {"problem_description": "it is broken"},
            })
        };
        let mut conditional = task("b", &["a"]);
        conditional["when"] = json!("tasks.a.output.ok");
        let tasks = json!({ "tasks": [task("a", &[]), conditional, task("c", &["a"])] });
        let checked = check_value(&tasks).unwrap();
        let drawing = mermaid(&checked.tasks, &checked.graph);
        assert!(drawing.ends_with("    t0 -. when .-> t1\n    t0 --> t2\n"), "{drawing}");
    }

    #[test]
    fn large_graphs_are_cut() {
        let ids: Vec<_> = (0..250).map(|it| format!("t-{it}")).collect();
        let tasks: Vec<_> = ids.iter().map(|it| (it.as_str(), "look", &[][..])).collect();
        let drawing = draw(&tasks);
        assert_eq!(drawing.lines().count(), 1 + 200 + 1);
        assert!(drawing.ends_with("    more[\"50 more tasks are not drawn\"]\n"));
    }
}

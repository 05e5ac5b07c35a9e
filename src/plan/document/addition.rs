//! Checks tasks that are added to a dispatch which runs.

use serde_json::{Value, json};

use super::{Checked, check_document};
use crate::{
    model::{DispatchConfig, ErrorCode, Fault, Refusal, TaskSpec, json::Json},
    plan::rules::Rules,
};

/// Checks `added`, the `tasks` of a call, as tasks behind those that the dispatch has, by the
/// document's rules. They come out alone; paths of faults are those of the call.
///
/// All tasks are judged together, since a new one can break an old one's rule; what is then wrong
/// with a task that was there is told of the call, at `/dispatch_id`.
pub fn check_addition(
    added: &Value,
    before: &[TaskSpec],
    config: &DispatchConfig,
    rules: &Rules<'_>,
) -> Result<Vec<TaskSpec>, Refusal> {
    let Value::Array(items) = added else {
        return check_document(&Json::from_value(&json!({ "tasks": added }))?, rules)
            .map(|it| it.tasks);
    };
    if let Some(at) = items.iter().position(wants_context) {
        let message = "context is gathered once, before a dispatch starts, and not for tasks that \
                       are added";
        let hint = "let the task find it, or dispatch it on its own";
        let path = format!("/tasks/{at}/context_requirements");
        return Err(Refusal::of(ErrorCode::InvalidContextRequirement, path, message, hint));
    }
    if items.is_empty() {
        return Err(Refusal::of(
            ErrorCode::EmptyValue,
            "/tasks",
            "\"tasks\" must hold at least one task",
            "add a task",
        ));
    }
    let n_before = before.len();
    let mut all: Vec<Value> = before.iter().map(|it| json!(it)).collect();
    all.extend(items.iter().cloned());
    let config = DispatchConfig { trace_dir: None, ..config.clone() };
    let document = json!({ "tasks": all, "config": config });
    match check_document(&Json::from_value(&document)?, rules) {
        Ok(Checked { mut tasks, .. }) => Ok(tasks.split_off(n_before)),
        Err(refusal) => Err(behind(&refusal, n_before)),
    }
}

fn wants_context(task: &Value) -> bool {
    let asked = task.get("context_requirements").and_then(Value::as_array);
    asked.is_some_and(|it| !it.is_empty())
}

/// The same faults where the caller put them; those of the tasks before speak of the whole.
fn behind(refusal: &Refusal, n_before: usize) -> Refusal {
    let moved = |it: &Fault| {
        let rest = it.path.strip_prefix("/tasks/").unwrap_or("");
        let (at, rest) = rest
            .split_once('/')
            .map_or((rest, String::new()), |(at, rest)| (at, format!("/{rest}")));
        let at = at.parse::<usize>().ok().and_then(|it| it.checked_sub(n_before));
        let path = at.map_or_else(|| "/dispatch_id".to_owned(), |at| format!("/tasks/{at}{rest}"));
        Fault { path, ..it.clone() }
    };
    let faults: Vec<_> = refusal.faults().iter().map(moved).collect();
    let n_faults = faults.len();
    Refusal::from_faults(faults, n_faults).unwrap_or_else(|| refusal.clone())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::{
        super::testing::{check_value, coder, show_faults, with_rules},
        *,
    };
    use crate::plan::Limits;

    #[track_caller]
    fn check(added: &Value, expected: &Expect) {
        let before = check_value(&json!({ "tasks": [coder("a"), coder("b")] })).unwrap().tasks;
        let checked = with_rules(Limits::SERVER, |rules| {
            check_addition(added, &before, &DispatchConfig::default(), rules)
        });
        let shown = match checked {
            Ok(tasks) => {
                let line = |it: &TaskSpec| format!("{} <- {:?}", it.task_id, it.dependencies);
                tasks.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            Err(refusal) => show_faults(&refusal),
        };
        expected.assert_eq(&shown);
    }

    fn after(id: &str, dependencies: &[&str]) -> Value {
        let mut task = coder(id);
        task["dependencies"] = json!(dependencies);
        task
    }

    #[test]
    fn added_tasks_may_wait_for_all_that_is_there() {
        check(
            &json!([after("c", &["a", "d"]), after("d", &["b"])]),
            &expect![[r#"
            c <- [TaskId("a"), TaskId("d")]
            d <- [TaskId("b")]"#]],
        );
    }

    #[test]
    fn what_is_wrong_with_an_addition_is_told_where_the_caller_wrote_it() {
        check(
            &json!([after("a", &[]), after("c", &["gost", "d"]), after("d", &["c"])]),
            &expect![[r#"
                duplicate_task_id at /tasks/0/task_id: task id "a" is taken by task number 1
                  hint: give each task its own id
                unknown_dependency at /tasks/1/dependencies/0: task "c" depends on unknown task "gost"
                  hint: name a task of this document, or add the task
                dependency_cycle at /tasks/1/dependencies: dependency cycle: c -> d -> c
                  hint: remove one of these dependencies, so that one of the tasks can start"#]],
        );
        check(
            &json!([after("c", &["d"]), after("d", &["c"])]),
            &expect![[r"
            dependency_cycle at /tasks/0/dependencies: dependency cycle: c -> d -> c
              hint: remove one of these dependencies, so that one of the tasks can start"]],
        );
        check(
            &json!([]),
            &expect![[r#"
            empty_value at /tasks: "tasks" must hold at least one task
              hint: add a task"#]],
        );
        check(
            &json!("c"),
            &expect![[r#"
            invalid_type at /tasks: "tasks" must be a list, not a string
              hint: write ["…"] even for a single item"#]],
        );
        let mut task = coder("c");
        task["context_requirements"] = json!(["file:a.py"]);
        check(
            &json!([task]),
            &expect![[r"
            invalid_context_requirement at /tasks/0/context_requirements: context is gathered once, before a dispatch starts, and not for tasks that are added
              hint: let the task find it, or dispatch it on its own"]],
        );
    }
}

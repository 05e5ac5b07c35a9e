//! Runs the program as a shell does, and looks at what it prints.
#![cfg(test)]

use std::{
    path::Path,
    process::{Command, Output},
};

use expect_test::expect;
use tempfile::TempDir;

const DOCUMENT: &str = r#"{"tasks": [{"task_id": "look", "agent": "debug",
    "description": "find out", "input_data": {"problem_description": "it fails"}}]}"#;
const NO_DISPATCH: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// A home, a workspace and a state directory of their own.
struct TestSpace(TempDir);

impl TestSpace {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("ws")).unwrap();
        std::fs::write(dir.path().join("ws/document.json"), DOCUMENT).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn shell(&self, arguments: &[&str]) -> Shown {
        let work = self.path().join("ws");
        let output = Command::new(env!("CARGO_BIN_EXE_parallel-dispatch"))
            .env_clear()
            .env("HOME", self.path())
            .current_dir(&work)
            .arg("--workspace")
            .arg(&work)
            .arg("--state-dir")
            .arg(self.path().join("state"))
            .args(arguments)
            .output()
            .unwrap();
        Shown::from(output)
    }

    /// Runs the document, and says which dispatch that was.
    fn run(&self) -> String {
        let shown = self.shell(&["run", "document.json"]);
        let first = shown.stderr.lines().next().unwrap();
        first.strip_prefix("dispatch ").unwrap().to_owned()
    }
}

#[derive(Debug)]
struct Shown {
    stdout: String,
    stderr: String,
}

impl From<Output> for Shown {
    fn from(output: Output) -> Self {
        let text = |it| String::from_utf8(it).unwrap();
        Self { stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

#[test]
fn e2e_an_unknown_task_of_a_trace_is_refused_in_words_of_the_shell() {
    let space = TestSpace::new();
    let dispatch = space.run();
    let shown = space.shell(&["trace", &dispatch, "nope"]);
    assert_eq!(
        shown.stderr,
        "error[unknown_task] at /task_id: the dispatch has no task \"nope\"\n  \
         hint: `parallel-dispatch result ID --summary` lists the tasks\n"
    );
    let shown = space.shell(&["trace", &dispatch, "lok"]);
    assert!(shown.stderr.contains("hint: did you mean \"look\"?"), "{shown:?}");
}

#[test]
fn e2e_an_unknown_dispatch_is_refused_in_words_of_the_shell() {
    let space = TestSpace::new();
    let commands: [&[&str]; 10] = [
        &["result"],
        &["trace"],
        &["cancel"],
        &["retry"],
        &["approve", "look"],
        &["pause"],
        &["resume", "look"],
        &["workers", "3"],
        &["budget", "--tokens", "5"],
        &["steer", "look", "--description", "d"],
    ];
    for command in commands {
        let (name, rest) = command.split_first().unwrap();
        let shown = space.shell(&[&[*name, NO_DISPATCH], rest].concat());
        assert_eq!(
            shown.stderr,
            format!(
                "error[unknown_dispatch] at /dispatch_id: there is no dispatch {NO_DISPATCH}\n  \
                 hint: `parallel-dispatch list` shows the recent dispatches\n"
            )
        );
    }
}

#[test]
fn e2e_statuses_have_their_names_of_the_json() {
    let space = TestSpace::new();
    let shown = space.shell(&["run", "document.json"]);
    assert!(shown.stderr.contains("\nsuccess: 1 of 1 successful"), "{shown:?}");
    let shown = space.shell(&["list"]);
    assert!(shown.stdout.contains("  success    1/1 successful"), "{shown:?}");
}

#[test]
fn e2e_a_plan_is_markdown() {
    let space = TestSpace::new();
    let shown = space.shell(&["plan", "document.json", "--format", "markdown"]);
    let (title, text) = shown.stdout.split_once("\n\n").unwrap();
    assert!(title.starts_with("# Plan "), "{title}");
    expect![[r#"
        single: there is one task, about 60 s: an agent can do it directly

        Expected: 60.0 s, from 15.0 s to 240.0 s (one after the other 60.0 s)

        1. look

        Critical path: look

        ```mermaid
        flowchart TD
            t0["look (debug)<br/>find out"]
        ```
    "#]]
    .assert_eq(text);
}

#[test]
fn e2e_settings_that_depend_on_the_command_are_shown_for_each() {
    let space = TestSpace::new();
    let shown = space.shell(&["config", "--explain"]);
    let about = |it: &&str| it.starts_with("dispatcher.trace_dir") || it.starts_with("logging.l");
    let lines: Vec<_> = shown.stdout.lines().filter(about).collect();
    let home = space.path().display().to_string();
    expect![[r"
        dispatcher.trace_dir = HOME/state/traces  (built in)
        dispatcher.trace_dir = HOME/ws/traces  (built in)  for run
        logging.level = warn  (built in)
        logging.level = info  (built in)  for serve"]]
    .assert_eq(&lines.join("\n").replace(&home, "HOME"));
    let shown = space.shell(&["--trace-dir", "elsewhere", "config", "--explain"]);
    assert_eq!(shown.stdout.matches("dispatcher.trace_dir").count(), 1, "{shown:?}");
}

//! Recipes of the settings whose steps run programs and look at what earlier tasks answered.

use std::fs;

use crate::{
    space::{TestSpace, by_task, document},
    standin::StandIn,
};

const SETTINGS: &str = r#"
recipes:
  shout:
    steps:
      - { id: text, generate: { with: command, argv: [tr, a-z, A-Z], text: "{{ task.description }}" } }
    output: { text: "{{ steps.text.value }}" }
  repeat:
    steps:
      - { id: text, generate: { with: command, argv: [cat], text: { said: "{{ deps['one'].output.text }}" } } }
    output: { text: "{{ steps.text.value }}" }
  broken:
    steps:
      - { id: text, generate: { with: command, argv: [sh, -c, 'echo "it is $0" >&2; exit 3', '{{ wrong }}'] } }
    output: {}
  late:
    steps:
      - { id: text, generate: { with: command, argv: [sleep, '60'], timeout_seconds: 0.2 } }
    output: {}
  hooks: { task_success: { call: agent_coder } }
agents:
  shout: { recipe: shout }
  repeat: { recipe: repeat }
  broken: { recipe: broken }
  late: { recipe: late }
"#;

#[tokio::test]
async fn e2e_programs_make_text_of_what_templates_say() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    fs::write(space.config_file(), SETTINGS).unwrap();
    let rows: [(&str, &str, &[&str]); 5] = [
        ("one", "shout", &[]),
        ("two", "shout", &["one"]),
        ("three", "repeat", &["two"]),
        ("four", "broken", &[]),
        ("five", "late", &[]),
    ];
    fs::write(space.path("tasks.json"), document(&space, &rows).to_string()).unwrap();
    let ended = space.run(&["run", "tasks.json"], "").await;
    let result = ended.json();
    let outputs = by_task(&result, "output");
    let text = |at: usize| outputs[at].1["text"].clone();
    assert_eq!(
        [text(0), text(1), text(2)],
        ["DO ONE", "DO TWO", r#"{"said":"DO ONE"}"#],
        "{result}"
    );
    let failures = by_task(&result, "error");
    let said = |at: usize| failures[at].1.as_str().unwrap_or_default();
    let exited = "step text: the program ended with exit code 3: it is {{ wrong }}";
    assert_eq!(
        [said(3), said(4)],
        [exited, "step text: the program did not end in time"],
        "{result}"
    );
}

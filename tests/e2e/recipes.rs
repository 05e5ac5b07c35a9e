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

#[tokio::test]
async fn e2e_what_is_wrong_with_a_recipe_or_a_condition_stops_only_what_starts_work() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let good = document(&space, &[("one", "coder", &[])]).to_string();
    let ended = space.run(&["run"], &good).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let id = ended.json()["dispatch_id"].as_str().unwrap().to_owned();
    for (settings, fault) in [
        ("recipes: {mine: {steps: []}}", "config.yaml:1: recipes.mine"),
        (
            "agents: {coder: {expect: {condition: 'output.x >'}}}",
            "config.yaml:1: agents.coder.expect.condition",
        ),
    ] {
        fs::write(space.config_file(), settings).unwrap();
        for command in [&["list"][..], &["result", &id]] {
            let ended = space.run(command, "").await;
            assert_eq!(ended.code, Some(0), "{ended:?}");
        }
        let ended = space.run(&["run"], &good).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(fault), "{}", ended.stderr);
        let doctor = space.run(&["doctor"], "").await;
        assert_eq!(doctor.code, Some(1), "{doctor:?}");
        assert!(doctor.stdout.contains(fault), "{}", doctor.stdout);
    }
}

#[tokio::test]
async fn e2e_doctor_judges_a_recipe_by_what_it_calls() {
    let standin = StandIn::start().await;
    let space = TestSpace::offline();
    let settings = format!(
        "recipes:
  here: {{upstream: near, steps: [{{id: a, call: agent_coder}}], output: {{}}}}
  there: {{upstream: far, steps: [{{id: a, call: agent_coder}}], output: {{}}}}
  nowhere: {{steps: [], output: {{}}}}
agents: {{here: {{recipe: here}}, there: {{recipe: there}}, nowhere: {{recipe: nowhere}}}}
upstreams: {{near: {{url: '{}'}}, far: {{url: 'http://127.0.0.1:9'}}}}
",
        standin.url
    );
    let settings = settings.replace("steps: []", "steps: [{id: a, read_files: []}]");
    fs::write(space.config_file(), settings).unwrap();
    let doctor = space.run(&["doctor"], "").await;
    for part in [
        "ok   agent here: bound",
        "ok   agent nowhere: bound",
        "note agent there: upstream far does not answer",
        "note agent coder: upstream archon does not answer",
    ] {
        assert!(doctor.stdout.contains(part), "{part}: {}", doctor.stdout);
    }
}

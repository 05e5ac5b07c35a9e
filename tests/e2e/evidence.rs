//! Evidence that the settings and a document ask for, with commands that are really run.

use std::fs;

use serde_json::{Value, json};

use crate::{
    space::{TestSpace, document},
    standin::StandIn,
};

const SETTINGS: &str = "
checks:
  listed: { argv: [grep, -q, done, notes.txt] }
  slow: { argv: [sleep, '60'], timeout_seconds: 0.2 }
  missing: { argv: [no-such-program-anywhere] }
  loud: { argv: [sh, -c, 'echo it is wrong; exit 3'] }
agents:
  coder: { expect: { checks: [listed] } }
";

async fn run(space: &TestSpace, expect: Value) -> Value {
    let mut document = document(space, &[("one", "coder", &[])]);
    document["tasks"][0]["expect"] = expect;
    fs::write(space.path("tasks.json"), document.to_string()).unwrap();
    let ended = space.run(&["run", "tasks.json"], "").await;
    ended.json()["results"][0].clone()
}

#[tokio::test]
async fn e2e_commands_of_the_settings_say_whether_work_is_good() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    fs::write(space.config_file(), SETTINGS).unwrap();
    fs::write(space.path("notes.txt"), "it is done").unwrap();
    let good = run(&space, json!({ "files": [space.path("notes.txt")] })).await;
    assert_eq!(good["status"], "success", "{good}");
    let kinds: Vec<_> = good["evidence"].as_array().unwrap().iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["file", "check"]);
    for (check, said) in [
        ("slow", "did not end in time"),
        ("missing", "is not installed"),
        ("loud", "exit code 3: it is wrong"),
    ] {
        let bad = run(&space, json!({ "checks": [check] })).await;
        assert_eq!(bad["failure"]["code"], "check_failed", "{bad}");
        let found = bad["evidence"].to_string();
        assert!(found.contains(said), "{found}");
    }
    fs::write(space.path("notes.txt"), "nothing").unwrap();
    let bad = run(&space, json!({ "condition": "true" })).await;
    assert_eq!(bad["evidence"][1]["subject"], "listed");
    assert_eq!(bad["status"], "error");

    let mut unknown = document(&space, &[("one", "coder", &[])]);
    unknown["tasks"][0]["expect"] = json!({ "checks": ["lowd"] });
    fs::write(space.path("tasks.json"), unknown.to_string()).unwrap();
    let refused = space.run(&["run", "tasks.json"], "").await;
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("did you mean \"loud\""), "{}", refused.stderr);
}

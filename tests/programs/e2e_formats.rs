//! Stubs that print what the real programs print.

use std::fs;

use parallel_dispatch::{agents::command::Program, model::FailureCode};
use serde_json::json;

use crate::place::{Place, nothing};

const CLAUDE: &str = r#"
import sys
prompt = sys.stdin.read()
assert prompt.startswith('# Task t-1'), prompt
for it in [
    {"type": "system", "subtype": "init", "session_id": "s-1", "model": "claude-sonnet-4-5"},
    {"type": "assistant", "message": {"content": [{"type": "text", "text": "My key is sk-abcdefghij0123456789 today"}]}},
    {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": "Read", "input": {"file_path": "a.py"}}]}},
    {"type": "result", "subtype": "success", "is_error": False, "num_turns": 2, "duration_ms": 5,
     "result": " ".join(sys.argv[1:]), "session_id": "s-1", "total_cost_usd": 0.25,
     "usage": {"input_tokens": 3, "cache_read_input_tokens": 7, "output_tokens": 5}},
]:
    print(json.dumps(it), flush=True)
"#;

#[tokio::test]
async fn e2e_claude_shows_what_it_does_and_says_what_it_used() {
    let mut place = Place::python(Program::Claude, CLAUDE);
    place.setting.model = Some("sonnet".to_owned());
    place.setting.max_turns = Some(3);
    let done = place.attempt(nothing()).await;
    let output = done.result.unwrap();
    let arguments = "-p --output-format stream-json --verbose --model sonnet --max-turns 3";
    assert_eq!(output["result"], arguments);
    assert_eq!((&output["session_id"], &output["num_turns"]), (&json!("s-1"), &json!(2)));
    assert_eq!(output["usage"]["output_tokens"], 5);
    let usage = done.calls[0].usage.unwrap().report().unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(10), Some(5)));
    assert_eq!(usage.cost_usd, Some(0.25));
    let events: Vec<_> = done.events.iter().map(|it| format!("{}: {}", it.kind, it.text)).collect();
    let expected = [
        "system: init",
        "assistant: My key is [redacted] today",
        "assistant: Read {\"file_path\":\"a.py\"}",
        "result: success",
    ];
    assert_eq!(events, expected);
}

#[tokio::test]
async fn e2e_claude_that_gave_up_says_what_it_used() {
    let script = r#"
print(json.dumps({"type": "result", "subtype": "error_max_turns", "is_error": True, "num_turns": 3,
                  "total_cost_usd": 0.5, "usage": {"input_tokens": 7, "output_tokens": 1}}))
sys.exit(1)
"#;
    let done = Place::python(Program::Claude, script).attempt(nothing()).await;
    let failure = done.result.unwrap_err();
    assert_eq!(failure.code, FailureCode::AgentError);
    assert_eq!(&*failure.message, "it was not done after 3 turns (error_max_turns)");
    assert_eq!(done.calls[0].usage.unwrap().report().unwrap().cost_usd, Some(0.5));
}

#[tokio::test]
async fn e2e_codex_answers_in_the_shape_that_is_asked_for() {
    let script = r#"
schema = sys.argv[sys.argv.index('--output-schema') + 1]
assert sys.argv[-1] == '-' and json.load(open(schema)) == {"type": "object"}
for it in [
    {"type": "thread.started", "thread_id": "t-9"},
    {"type": "turn.started"},
    {"type": "item.completed", "item": {"id": "item_0", "type": "agent_message", "text": "{\"n\": 7}"}},
    {"type": "turn.completed", "usage": {"input_tokens": 11, "cached_input_tokens": 4, "output_tokens": 2}},
]:
    print(json.dumps(it))
"#;
    let mut place = Place::python(Program::Codex, script);
    let schema = place.dir.path().join("schema.json");
    fs::write(&schema, "{\"type\": \"object\"}").unwrap();
    place.setting.output_schema = Some(schema);
    let done = place.attempt(nothing()).await;
    let output = done.result.unwrap();
    assert_eq!(output["structured_output"], json!({ "n": 7 }));
    assert_eq!(output["session_id"], "t-9");
    assert_eq!(done.calls[0].usage.unwrap().report().unwrap().total_tokens, Some(13));
}

#[tokio::test]
async fn e2e_gemini_reads_the_task_before_its_last_word() {
    let script = r#"
assert sys.stdin.read().startswith('# Task t-1')
assert sys.argv[-2] == '-p'
for it in [
    {"type": "init", "session_id": "g-1", "model": "gemini-2.5-pro"},
    {"type": "message", "role": "assistant", "content": "Ro", "delta": True},
    {"type": "message", "role": "assistant", "content": "me.", "delta": True},
    {"type": "result", "status": "success",
     "stats": {"total_tokens": 9, "input_tokens": 4, "output_tokens": 5}},
]:
    print(json.dumps(it))
"#;
    let done = Place::python(Program::Gemini, script).attempt(nothing()).await;
    let output = done.result.unwrap();
    assert_eq!((&output["result"], &output["session_id"]), (&json!("Rome."), &json!("g-1")));
    assert_eq!(done.calls[0].usage.unwrap().report().unwrap().total_tokens, Some(9));
}

#[tokio::test]
async fn e2e_of_very_many_events_the_first_are_kept_and_the_rest_is_counted() {
    let script = r#"
for n in range(1000):
    print(json.dumps({"type": "assistant", "message": {"content": "x" * 5000}}))
print(json.dumps({"type": "result", "subtype": "success", "is_error": False, "result": "ok"}))
"#;
    let done = Place::python(Program::Claude, script).attempt(nothing()).await;
    assert_eq!(done.result.unwrap(), json!({ "result": "ok" }));
    assert_eq!(done.events.len(), 200);
    let last = done.events.last().unwrap();
    assert_eq!((last.kind.as_str(), last.text.as_str()), ("omitted", "802 more events"));
    assert!(done.events.iter().all(|it| it.text.chars().count() <= 401));
}

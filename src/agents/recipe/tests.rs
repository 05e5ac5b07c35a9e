//! Recipes against a stand-in: what steps do, and how each can fail.

use std::{collections::BTreeMap, sync::Arc};

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    agent::{Links, RecipeAgent, Unready},
    read::read,
    testing::{Form, Ground, StandIn, attempt, busy_at_first, run, runner},
};
use crate::{
    agents::tool::testing::attempt_call,
    model::{AgentName, FailureCode},
    ports::{AgentBackend as _, AttemptCall, Heartbeat},
    upstream::Upstream,
};

/// A stand-in with `OmniNode`'s tools, and a workspace.
struct Bench {
    standin: StandIn,
    ground: Ground,
}

impl Bench {
    async fn new() -> Self {
        Self { standin: StandIn::start(Form::OmniNode).await, ground: Ground::new() }
    }

    fn agent(&self, recipe: &Value) -> RecipeAgent {
        agent(recipe, &self.standin.upstream, &self.ground)
    }

    /// Runs a recipe; the workspace is shown as `/ws`.
    async fn check(&self, recipe: &Value, input: &Value, expected: &Expect) {
        let shown = match run(&self.agent(recipe), input).await {
            Ok(output) => output.to_string(),
            Err(failure) => format!("{}: {}", failure.code.as_str(), failure.message),
        };
        expected.assert_eq(&shown.replace(&*self.ground.dir.path().to_string_lossy(), "/ws"));
    }
}

fn agent(recipe: &Value, upstream: &Arc<Upstream>, ground: &Ground) -> RecipeAgent {
    let recipe = read("mine", recipe).unwrap_or_else(|faults| panic!("{faults:?}"));
    let links = Links {
        own: Arc::clone(upstream),
        others: BTreeMap::new(),
        workspaces: ground.workspaces.clone(),
        runner: runner(),
    };
    RecipeAgent::new(&AgentName::new("coder"), Arc::new(recipe), links)
}

#[track_caller]
fn check_faults(recipe: &Value, expected: &Expect) {
    let faults = read("mine", recipe).unwrap_err();
    let shown: Vec<_> = faults.iter().map(ToString::to_string).collect();
    expected.assert_eq(&shown.join("\n"));
}

fn assess(content: &str) -> Value {
    json!({ "id": "quality", "call": "assess_code_quality", "args": { "content": content } })
}

#[tokio::test]
async fn e2e_steps_use_the_input_the_level_and_what_came_before() {
    let bench = Bench::new().await;
    let recipe = json!({
        "input": { "text": { "aliases": ["content"], "required": true, "type": "string" },
                   "depth": { "default": "deep", "enum": ["quick", "deep"] } },
        "levels": { "by": "depth", "values": { "quick": { "n": 1 }, "deep": { "n": 2 } } },
        "steps": [
            { "id": "rag", "when": "not context", "call": "perform_rag_query",
              "args": { "query": "about {{ input.text }}", "match_count": "{{ level.n }}",
                        "source_domain": "{{ input.nothing }}" },
              "pick": "{{ r.synthesis.key_findings[0] }}" },
            { "id": "quality", "call": "assess_code_quality", "args": { "content": "{{ input.text }}" } },
            { "id": "never", "when": "level.n > 2", "generate": { "with": "template", "text": "x" } },
            { "id": "text", "generate": { "with": "template", "text": "{{ steps.rag.value }}!" } },
        ],
        "output": { "score": "{{ steps.quality.value.quality_score }}", "text": "{{ steps.text.value }}",
                    "ran": "{{ [steps.rag.ok, steps.never.ok, steps.never.skipped] }}",
                    "task": "{{ task.task_id }}" },
    });
    bench
        .check(
            &recipe,
            &json!({ "content": "fine" }),
            &expect![[
                r#"{"score":0.9,"text":"contracts first!","ran":[true,false,true],"task":"t-1"}"#
            ]],
        )
        .await;
    let expected = json!({ "query": "about fine", "match_count": 2 });
    assert_eq!(bench.standin.told("perform_rag_query"), [expected]);
    let context = json!({ "text": "x", "pre_gathered_context": { "file:a": "b" } });
    bench
        .check(&recipe, &context, &expect!["agent_error: step text: generate: undefined value"])
        .await;
    bench.check(&recipe, &json!({}), &expect!["agent_error: input needs text"]).await;
    bench
        .check(
            &recipe,
            &json!({ "text": 1 }),
            &expect!["agent_error: input.text must be of the type string"],
        )
        .await;
    bench
        .check(
            &recipe,
            &json!({ "text": "a", "content": "b" }),
            &expect!["agent_error: input has both text and content, which mean the same"],
        )
        .await;
    bench
        .check(
            &recipe,
            &json!({ "text": "a", "depth": "deeper" }),
            &expect![[r#"agent_error: input.depth must be one of "quick", "deep""#]],
        )
        .await;
}

#[tokio::test]
async fn e2e_lists_are_gone_through_side_by_side_and_in_order() {
    let bench = Bench::new().await;
    let recipe = |items_max: usize| {
        json!({
            "steps": [
                { "id": "all", "for_each": "{{ input.codes }}", "items_max": items_max,
                  "call": "assess_code_quality", "args": { "content": "{{ item }}" },
                  "pick": "{{ [item, r.quality_score] }}", "on_error": "continue", "group": "g" },
                { "id": "other", "call": "get_quality_patterns", "args": { "content": "bad" }, "group": "g" },
            ],
            "output": { "all": "{{ steps.all.value }}", "ok": "{{ steps.all.ok }}",
                        "patterns": "{{ steps.other.value.patterns }}", "warnings": "{{ warnings }}" },
        })
    };
    let input = json!({ "codes": ["a", "bad", "c"] });
    bench.check(&recipe(3), &input, &expect![[r#"{"all":[["a",0.9],["bad",0.4],["c",0.9]],"ok":true,"patterns":["god object"],"warnings":[]}"#]]).await;
    bench.check(&recipe(2), &input, &expect![[r#"{"all":null,"ok":false,"patterns":["god object"],"warnings":["step all failed: for_each makes 3 items; 2 is the most"]}"#]]).await;
    let no = json!({ "success": false, "error": "no parser" });
    bench.standin.answer_next("assess_code_quality", no);
    bench.check(&recipe(3), &json!({ "codes": ["a", "b"] }), &expect![[r#"{"all":[["b",0.9]],"ok":false,"patterns":["god object"],"warnings":["step all failed for 1 of its items: no parser"]}"#]]).await;
}

#[tokio::test]
async fn e2e_a_failing_check_goes_back_with_its_findings_so_often_and_no_further() {
    let bench = Bench::new().await;
    let recipe = |max: u64, then: &str| {
        json!({
            "steps": [
                { "id": "code", "generate": { "with": "template",
                  "text": "bad{% for it in findings %} {{ it }}{% endfor %}" } },
                { "id": "quality", "call": "assess_code_quality",
                  "args": { "content": "{{ steps.code.value }}" },
                  "expect": "r.quality_score >= 0.7", "findings": "{{ r.onex_compliance.violations }}",
                  "on_unmet": { "repair": "code", "max": max, "then": then } },
            ],
            "output": { "code": "{{ steps.code.value }}", "met": "{{ steps.quality.met }}",
                        "warnings": "{{ warnings }}" },
        })
    };
    bench
        .check(
            &recipe(2, "fail"),
            &json!({}),
            &expect![[r#"check_failed: the check quality is not met: ["no contract"]"#]],
        )
        .await;
    assert_eq!(bench.standin.called().len(), 3);
    bench.check(&recipe(1, "warn"), &json!({}), &expect![[r#"{"code":"bad no contract","met":false,"warnings":["the check quality is not met: [\"no contract\"]"]}"#]]).await;
    let (low, high) = (
        json!({ "quality_score": 0.1, "onex_compliance": { "violations": ["v"] } }),
        json!({ "quality_score": 1 }),
    );
    bench.standin.answer_next("assess_code_quality", low);
    bench.standin.answer_next("assess_code_quality", high);
    bench
        .check(
            &recipe(2, "fail"),
            &json!({}),
            &expect![[r#"{"code":"bad v","met":true,"warnings":[]}"#]],
        )
        .await;
}

#[tokio::test]
async fn e2e_a_check_that_cannot_run_fails_where_the_level_says_so() {
    let bench = Bench::new().await;
    let recipe = json!({
        "levels": { "by": "validation_level", "values": {
            "strict": { "on_error": "fail", "on_unmet": "fail" },
            "lenient": { "on_error": "continue", "on_unmet": "ignore" } } },
        "steps": [{ "id": "quality", "call": "assess_code_quality", "args": { "content": "bad" },
                    "expect": "r.quality_score >= 0.7", "on_unmet": "{{ level.on_unmet }}",
                    "on_error": "{{ level.on_error }}" }],
        "output": { "ok": "{{ steps.quality.ok }}", "warnings": "{{ warnings }}" },
    });
    let (strict, lenient) =
        (json!({ "validation_level": "strict" }), json!({ "validation_level": "lenient" }));
    for input in [&strict, &lenient] {
        bench
            .standin
            .answer_next("assess_code_quality", json!({ "success": false, "error": "no model" }));
        let expected = if input == &strict {
            expect!["check_failed: the check quality could not run: no model"]
        } else {
            expect![[r#"{"ok":false,"warnings":["the check quality could not run: no model"]}"#]]
        };
        bench.check(&recipe, input, &expected).await;
    }
    bench.standin.answer_next("assess_code_quality", json!({ "no_score": true }));
    bench
        .check(
            &recipe,
            &strict,
            &expect!["check_failed: the check quality could not run: expect: undefined value"],
        )
        .await;
    bench.check(&recipe, &strict, &expect![[r#"check_failed: the check quality is not met: [{"success":true,"quality_score":0.4,"architectural_compliance":{"score":0.4,"reasoning":"by the words in it"},"onex_compliance":{"score":0.4,"violations":["no contract"],"recommendations":[]}}]"#]]).await;
    bench.check(&recipe, &lenient, &expect![[r#"{"ok":true,"warnings":[]}"#]]).await;
}

#[tokio::test]
async fn e2e_a_missing_optional_tool_fails_its_step_alone() {
    let standin = StandIn::without(Form::OmniNode, &["get_quality_patterns"]).await;
    let bench = Bench { standin, ground: Ground::new() };
    let recipe = |is_optional: bool| {
        json!({
            "steps": [{ "id": "anti", "call": "get_quality_patterns", "args": { "content": "x" },
                        "optional": is_optional, "on_error": "continue" }],
            "output": "{{ [steps.anti.ok, steps.anti.error] }}",
        })
    };
    bench
        .check(
            &recipe(true),
            &json!({}),
            &expect![[r#"[false,"upstream \"archon\" has no tool get_quality_patterns"]"#]],
        )
        .await;
    bench.check(&recipe(false), &json!({}), &expect![[r#"upstream_protocol: recipe mine cannot run any more: step anti calls get_quality_patterns, which upstream "archon" does not have"#]]).await;
}

#[tokio::test]
async fn e2e_files_are_read_and_written_in_the_workspace_only() {
    let bench = Bench::new().await;
    let there = bench.ground.write("a.py", "x = 1\n");
    let gone = bench.ground.path("gone.py");
    let recipe = json!({
        "steps": [
            { "id": "code", "read_files": "{{ input.files }}", "on_error": "continue" },
            { "id": "write", "when": "input.to",
              "write_file": { "path": "{{ input.to }}", "content": "{{ steps.code.value[0].text }}#" } },
        ],
        "output": { "code": "{{ steps.code.value }}", "write": "{{ steps.write.value }}", "warnings": "{{ warnings }}" },
    });
    let to = bench.ground.path("deep/b.py");
    bench.check(&recipe, &json!({ "files": [there, gone], "to": to }), &expect![[r#"{"code":[{"path":"/ws/a.py","text":"x = 1\n"}],"write":{"path":"/ws/deep/b.py","bytes":7},"warnings":["a file was not read: /ws/gone.py: no such file or directory"]}"#]]).await;
    assert_eq!(bench.ground.read("deep/b.py").as_deref(), Some("x = 1\n#"));
    bench
        .check(
            &recipe,
            &json!({ "files": ["/etc/passwd"] }),
            &expect!["agent_error: step code: /etc/passwd: the path is not inside a workspace"],
        )
        .await;
    bench
        .check(
            &recipe,
            &json!({ "files": ["a.py"] }),
            &expect!["agent_error: step code: a.py: the path must be absolute"],
        )
        .await;
    let outside = json!({ "files": there, "to": "/etc/parallel-dispatch-test" });
    bench.check(&recipe, &outside, &expect!["agent_error: step write: /etc/parallel-dispatch-test: the path is not inside a workspace"]).await;
    assert!(!std::path::Path::new("/etc/parallel-dispatch-test").exists());
}

#[tokio::test]
async fn e2e_a_template_that_loops_fails_its_task_alone() {
    let bench = Bench::new().await;
    let text =
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ a * b }}{% endfor %}{% endfor %}";
    let recipe = json!({
        "steps": [{ "id": "code", "generate": { "with": "template", "text": text } }],
        "output": "{{ steps.code.value }}",
    });
    bench
        .check(
            &recipe,
            &json!({}),
            &expect![
                "agent_error: step code: generate: it takes more than 200000 steps; does it loop?"
            ],
        )
        .await;
}

#[tokio::test]
async fn e2e_calls_carry_the_key_are_noted_and_beat() {
    let bench = Bench::new().await;
    let agent = bench.agent(&json!({ "steps": [assess("fine")], "output": {} }));
    let (calls, mut log) = mpsc::unbounded_channel();
    let heartbeat = Heartbeat::heard();
    let call = AttemptCall { heartbeat: heartbeat.clone(), ..attempt_call(calls) };
    agent.run(call).await.unwrap();
    heartbeat.beaten().await;
    let record = log.recv().await.unwrap();
    assert_eq!((record.tool.as_str(), record.ok), ("assess_code_quality", true));
    assert!(log.recv().await.is_none());
}

#[tokio::test]
async fn e2e_a_cancelled_attempt_and_one_without_time_stop() {
    let bench = Bench::new().await;
    let agent = bench.agent(&json!({ "steps": [assess("fine")], "output": {} }));
    let call = attempt(&json!({}));
    call.cancelled.cancel();
    assert_eq!(agent.run(call).await.unwrap_err().code, FailureCode::Cancelled);
    let call = AttemptCall { timeout: std::time::Duration::ZERO, ..attempt(&json!({})) };
    assert_eq!(agent.run(call).await.unwrap_err().code, FailureCode::Timeout);
    assert!(bench.standin.called().is_empty());
}

#[tokio::test]
async fn e2e_an_attempt_asks_for_the_tools_as_often_as_for_a_call() {
    let (_server, upstream) = busy_at_first(1).await;
    let recipe =
        json!({ "steps": [{ "id": "a", "call": "coder" }], "output": "{{ steps.a.value }}" });
    let agent = agent(&recipe, &upstream, &Ground::new());
    assert_eq!(run(&agent, &json!({})).await.unwrap(), "fine");
}

#[tokio::test]
async fn e2e_unknown_tools_and_arguments_are_named_before_anything_runs() {
    let bench = Bench::new().await;
    let recipe = json!({
        "steps": [
            { "id": "a", "call": "asses_code_quality" },
            { "id": "b", "call": "assess_code_quality", "args": { "contents": "x" } },
        ],
        "output": {},
    });
    let Err(Unready::Unfit(faults)) = bench.agent(&recipe).look().await else { panic!("it fits") };
    expect![[r#"
        step a calls asses_code_quality, which upstream "archon" does not have; did you mean `assess_code_quality`?
        step b gives assess_code_quality the argument contents, which it does not take
        step b does not give assess_code_quality the argument content, which it needs"#]].assert_eq(&faults.join("\n"));
}

#[tokio::test]
async fn e2e_the_binding_changes_with_the_recipe_and_the_upstream() {
    let (bench, other) = (Bench::new().await, Bench::new().await);
    let (one, two) = (
        json!({ "steps": [assess("a")], "output": 1 }),
        json!({ "steps": [assess("a")], "output": 2 }),
    );
    let binding = bench.agent(&one).binding();
    assert_eq!(binding, bench.agent(&one).binding());
    assert_ne!(binding, bench.agent(&two).binding());
    assert_ne!(binding, other.agent(&one).binding());
    let project = format!("{}?project=2", bench.standin.url);
    let project = crate::upstream::testing::http_upstream(&project);
    assert_ne!(binding, agent(&one, &project, &bench.ground).binding());
}

#[test]
fn every_fault_of_a_recipe_is_told_with_its_place() {
    check_faults(
        &json!({ "steps": [], "output": {}, "colour": 1 }),
        &expect![
            "recipes.mine: unknown field `colour`, expected one of `upstream`, `gateway`, `fail_when`, `input`, `other_input`, `levels`, `steps`, `output`"
        ],
    );
    check_faults(
        &json!({ "steps": [], "output": "{{ stepz }}" }),
        &expect![[r"
        recipes.mine.steps: must be 1 to 64 steps, are 0
        recipes.mine.output: unknown name `stepz`; did you mean `steps`?"]],
    );
    check_faults(
        &json!({
            "steps": [
                { "id": "a b", "call": "x", "args": { "q": "{{ inputs.q }}", "z": "{{ steps.later.ok }}" } },
                { "id": "two", "call": "x", "read_files": [] },
                { "id": "three", "generate": { "with": "model", "argv": ["sh"] } },
                { "id": "four", "call": "x", "whem": "input.q" },
                { "id": "five", "call": "x", "when": "input.q ==", "on_error": "go on" },
                { "id": "five", "call": "x", "expect": "r", "on_unmet": "maybe" },
                { "id": "six", "call": "x", "expect": "r", "on_unmet": { "repair": "none", "max": 1 } },
                { "id": "seven", "call": "x", "for_each": "{{ item }}", "concurrency": 0, "items_max": 9999 },
                { "id": "eight", "call": "x", "on_unmet": "warn" },
            ],
            "output": "{{ steps.two.value }}",
        }),
        &expect![[r#"
            recipes.mine.steps[0].id: must be letters, digits and `_`, and begin with no digit
            recipes.mine.steps[0].args.q: unknown name `inputs`; did you mean `input`?
            recipes.mine.steps[0].args.z: there is no earlier step `later`
            recipes.mine.steps[1]: needs one of call, generate, read_files and write_file
            recipes.mine.steps[2]: unknown variant `model`, expected one of `template`, `command`, `call`
            recipes.mine.steps[3]: unknown field `whem`, expected one of `id`, `when`, `group`, `for_each`, `concurrency`, `items_max`, `call`, `upstream`, `args`, `optional`, `generate`, `read_files`, `write_file`, `pick`, `fail_when`, `expect`, `on_unmet`, `findings`, `on_error`
            recipes.mine.steps[4].when: syntax error: unexpected end of input, expected expression
            recipes.mine.steps[4].on_error: must be fail or continue, is "go on"
            recipes.mine.steps[5].id: is "five", as that of an earlier step
            recipes.mine.steps[5].on_unmet: on_unmet is fail, warn, ignore or {repair: STEP, max: N}, not "maybe"
            recipes.mine.steps[6].on_unmet.repair: there is no earlier step "none"
            recipes.mine.steps[7].concurrency: must be 1 to 64, is 0
            recipes.mine.steps[7].items_max: must be 1 to 1000, is 9999
            recipes.mine.steps[7].for_each: unknown name `item`
            recipes.mine.steps[8].expect: is missing: on_unmet and findings belong to it
            recipes.mine.output: there is no earlier step `two`"#]],
    );
}

//! Snapshots of what tools take and refuse, and the proof that schemas and reader agree.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};
use schemars::JsonSchema;
use serde_json::json;

use super::{
    super::rules::Limits,
    testing::{coder, show_faults, show_plan, with_rules},
    *,
};
use crate::model::{
    ApprovalSpec, ApproveRequest, CancelRequest, CoderInput, ControlRequest, DebugInput,
    DispatchRequest, GetResultRequest, PlanRequest, ReadTraceRequest, RetryRequest, RetrySpec,
    TaskOverride,
};

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn show<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
    match result {
        Ok(it) => format!("{it:?}"),
        Err(refusal) => show_faults(&refusal),
    }
}

#[track_caller]
fn check_dispatch_args(args: &Value, expected: &Expect) {
    let json = Json::from_value(args).unwrap();
    let call = with_rules(Limits::SERVER, |rules| check_dispatch(&json, rules));
    expected.assert_eq(&show(call.map(|it| {
        let source = match it.source {
            Source::Document(it) => format!("{} tasks", it.tasks.len()),
            Source::Addition(id, tasks) => format!("{tasks} for {id}"),
            Source::Plan(id) => id.to_string(),
        };
        (source, it.wait_ms, it.idempotency_key)
    })));
}

#[test]
fn dispatch_takes_a_document_or_a_plan() {
    check_dispatch_args(&json!({"tasks": [coder("a")]}), &expect![[r#"("1 tasks", 45000, None)"#]]);
    check_dispatch_args(
        &json!({"plan_id": ID, "wait": false, "wait_ms": 5, "idempotency_key": "k"}),
        &expect![[r#"("01890a5d-ac96-774b-bcce-b302099a8057", 0, Some("k"))"#]],
    );
    check_dispatch_args(
        &json!({"plan_id": ID, "tasks": [], "config": {}}),
        &expect![[r#"
        duplicate_field at /tasks: "plan_id" and "tasks" cannot be given together
          hint: keep either "plan_id" or "tasks"
        duplicate_field at /config: "plan_id" and "config" cannot be given together
          hint: the plan has its own config; leave this one out"#]],
    );
    check_dispatch_args(
        &json!({}),
        &expect![[r#"
        missing_field at : one of "tasks" or "plan_id" must be given
          hint: give exactly one of them"#]],
    );
    check_dispatch_args(
        &json!({"plan_id": "p1", "wait_ms": 600_001}),
        &expect![[r#"
        out_of_range at /wait_ms: "wait_ms" must be from 0 to 600000, not 600001
          hint: pass a number from 0 to 600000
        unknown_plan at /plan_id: "plan_id" must be a UUID, not "p1"
          hint: plan_tasks answers the plan_id to pass here"#]],
    );
    check_dispatch_args(
        &json!({"tasks": [{}], "wait": 1, "idempotency_key": "", "request": "x"}),
        &expect![[r#"
            unknown_field at /request: the document has no field "request"
              hint: dispatch takes tasks or plan_id, config, wait, wait_ms, idempotency_key, dispatch_id
            invalid_type at /wait: "wait" must be true or false, not a number
              hint: pass true or false
            empty_value at /idempotency_key: "idempotency_key" must not be empty
              hint: say what is meant
            missing_field at /tasks/0/task_id: task number 1: "task_id" is missing
              hint: name the task
            missing_field at /tasks/0/agent: task number 1: "agent" is missing
              hint: "coder" writes code, "debug" investigates; plan_tasks chooses for you
            missing_field at /tasks/0/description: task number 1: "description" is missing
              hint: say what the task is about"#]],
    );
    check_dispatch_args(
        &json!("x"),
        &expect![[r"
        invalid_type at : the document must be an object, not a string
          hint: pass the JSON itself, not a string that holds it"]],
    );
}

#[track_caller]
fn check_args<T: std::fmt::Debug>(
    checker: fn(&Json<'_>) -> Result<T, Refusal>,
    args: &Value,
    expected: &Expect,
) {
    expected.assert_eq(&show(checker(&Json::from_value(args).unwrap())));
}

#[test]
fn get_result_needs_a_dispatch() {
    let check = |args: &Value, expected: &Expect| check_args(check_get_result, args, expected);
    check(
        &json!({"dispatch_id": ID, "task_ids": ["a"], "wait_ms": 0, "view": "summary", "cursor": "c"}),
        &expect![[
            r#"GetResultRequest { dispatch_id: DispatchId(01890a5d-ac96-774b-bcce-b302099a8057), task_ids: Some([TaskId("a")]), wait_ms: Some(0), view: Some(Summary), cursor: Some("c") }"#
        ]],
    );
    check(
        &json!({"view": "short", "task_ids": ["a", "b c", 1], "wait_ms": -1}),
        &expect![[r#"
        missing_field at /dispatch_id: "dispatch_id" is missing
          hint: dispatch answers it; read_trace without arguments lists the recent ones
        invalid_task_id at /task_ids/1: "b c" is not a valid task id
          hint: name a task of the dispatch
        invalid_type at /task_ids/2: item 3 of "task_ids" must be a task id, not a number
          hint: pass a task id
        out_of_range at /wait_ms: "wait_ms" must be from 0 to 600000, not -1
          hint: pass a number from 0 to 600000
        invalid_enum at /view: "view" must be "full", "summary" or "markdown", not "short"
          hint: choose "full", "summary" or "markdown""#]],
    );
    check(
        &json!({"dispatch_id": "latest", "task_ids": []}),
        &expect![[r#"
        unknown_dispatch at /dispatch_id: "dispatch_id" must be a UUID, not "latest"
          hint: read_trace without arguments lists the recent dispatches
        empty_value at /task_ids: "task_ids" must name at least one task
          hint: leave it out to mean all tasks"#]],
    );
}

#[test]
fn read_trace_takes_nothing_too() {
    let check = |args: &Value, expected: &Expect| check_args(check_read_trace, args, expected);
    check(
        &json!({}),
        &expect![
            "ReadTraceRequest { dispatch_id: None, task_id: None, kinds: None, cursor: None, limit: None }"
        ],
    );
    check(
        &json!({"dispatch_id": ID, "kinds": ["task_kept"], "limit": 1000}),
        &expect![
            "ReadTraceRequest { dispatch_id: Some(DispatchId(01890a5d-ac96-774b-bcce-b302099a8057)), task_id: None, kinds: Some([TaskKept]), cursor: None, limit: Some(1000) }"
        ],
    );
    check(
        &json!({"task_id": "a", "kinds": [1], "limit": 0}),
        &expect![[r#"
        missing_field at /dispatch_id: "dispatch_id" is missing, though "task_id" is given
          hint: a task id means something only within a dispatch
        invalid_type at /kinds/0: item 1 of "kinds" must be a string, not a number
          hint: pass a string
        out_of_range at /limit: "limit" must be from 1 to 1000, not 0
          hint: pass a number from 1 to 1000"#]],
    );
    let args = json!({"kinds": ["task_keep"]});
    let refusal = check_read_trace(&Json::from_value(&args).unwrap()).unwrap_err();
    let fault = &refusal.faults()[0];
    assert_eq!((fault.code, fault.path.as_str()), (ErrorCode::InvalidEnum, "/kinds/0"));
    assert!(fault.message.contains("\"dispatch_accepted\", \"task_kept\", "), "{refusal}");
    assert!(fault.hint.contains("\"task_kept\""), "{refusal}");
}

#[test]
fn cancel_takes_a_reason() {
    let check = |args: &Value, expected: &Expect| check_args(check_cancel, args, expected);
    check(
        &json!({"dispatch_id": ID, "reason": "x"}),
        &expect![[
            r#"CancelRequest { dispatch_id: DispatchId(01890a5d-ac96-774b-bcce-b302099a8057), task_ids: None, reason: Some("x") }"#
        ]],
    );
    check(
        &json!({"dispatch_id": 1, "reason": "x".repeat(1_001)}),
        &expect![[r#"
        invalid_type at /dispatch_id: "dispatch_id" must be a string, not a number
          hint: pass a string
        too_long at /reason: "reason" has 1001 characters; at most 1000 are allowed
          hint: put the long part in a file and pass its path"#]],
    );
}

#[test]
fn retry_takes_overrides_by_task() {
    let check = |args: &Value, expected: &Expect| check_args(check_retry, args, expected);
    check(
        &json!({"dispatch_id": ID, "wait": false,
            "overrides": {"a": {"input_data": {"hypothesis": null}, "timeout_seconds": 5}}}),
        &expect![[
            r#"RetryCall { request: RetryRequest { dispatch_id: DispatchId(01890a5d-ac96-774b-bcce-b302099a8057), task_ids: None, overrides: Some({TaskId("a"): TaskOverride { description: None, input_data: Some({"hypothesis": Null}), timeout_seconds: Some(5.0), total_timeout_seconds: None, idle_timeout_seconds: None, retry: None, when: None, cache: None, approval: None }}), budget: None, wait: Some(false), wait_ms: Some(0) }, wait_ms: 0 }"#
        ]],
    );
    let args = json!({"dispatch_id": ID, "wait": true, "wait_ms": 5});
    let call = check_retry(&Json::from_value(&args).unwrap()).unwrap();
    assert_eq!((call.request.wait, call.request.wait_ms, call.wait_ms), (Some(true), Some(5), 5));
    check(
        &json!({"dispatch_id": ID, "overrides": {"a b": {"agent": "x"}, "c": 1,
            "d": {"description": "", "timeout_seconds": 1e9, "input_data": []}}}),
        &expect![[r#"
            invalid_task_id at /overrides/a b: "a b" is not a valid task id
              hint: name a task of the dispatch
            unknown_field at /overrides/a b/agent: "a b": unknown field "agent"
              hint: an override takes description, input_data, timeout_seconds, total_timeout_seconds, idle_timeout_seconds, retry, when, cache, approval
            invalid_type at /overrides/c: "c" must be an object, not a number
              hint: pass an object
            empty_value at /overrides/d/description: "description" must not be empty
              hint: say what is meant
            invalid_type at /overrides/d/input_data: "input_data" must be an object, not a list
              hint: pass an object
            out_of_range at /overrides/d/timeout_seconds: "timeout_seconds" must be above 0 and at most 86400, not 1000000000.0
              hint: pass a number above 0 and at most 86400"#]],
    );
}

#[track_caller]
fn check_plan_args(args: &Value, expected: &Expect) {
    let json = Json::from_value(args).unwrap();
    let plan = with_rules(Limits::SERVER, |rules| check_plan(&json, rules));
    expected.assert_eq(&show_plan(plan));
}

#[test]
fn a_plan_fills_in_what_is_left_out() {
    check_plan_args(
        &json!({"tasks": [
            {"task_id": "gen-user-writer", "description": "Generate user writer Effect node"},
            {"task_id": "look", "description": "Investigate the error"},
            {"task_id": "tidy", "description": "Tidy up the cache"},
            {"task_id": "user.writer", "agent": "coder", "description": "User writer"},
            {"task_id": "any", "agent": "free", "description": "x"},
        ]}),
        &expect![[r#"
            gen-user-writer coder <- []: "Generate user writer Effect node"
              {"contract_description":"Generate user writer Effect node","node_type":"Effect","output_path":"/w/node_user_writer_effect.py"}
            look debug <- []: "Investigate the error"
              {"problem_description":"Investigate the error"}
            tidy coder <- []: "Tidy up the cache"
              {"contract_description":"Tidy up the cache","node_type":"Reducer","output_path":"/w/node_tidy_reducer.py"}
            user.writer coder <- []: "User writer"
              {"contract_description":"User writer","node_type":"Effect","output_path":"/w/node_user_writer_effect_2.py"}
            any free <- []: "x"
              {}
            warning: task "gen-user-writer": agent coder was chosen by the description
            warning: task "gen-user-writer": input_data was made from the description, to be written as Effect node to /w/node_user_writer_effect.py
            warning: task "look": agent debug was chosen by the description
            warning: task "look": input_data was made from the description
            warning: task "tidy": the description speaks for no agent; coder was chosen, set agent to choose another
            warning: task "tidy": input_data was made from the description, to be written as Reducer node to /w/node_tidy_reducer.py
            warning: task "user.writer": input_data was made from the description, to be written as Effect node to /w/node_user_writer_effect_2.py"#]],
    );
}

#[test]
fn a_plan_has_one_source() {
    check_plan_args(
        &json!({}),
        &expect![[r#"
        missing_field at : one of "tasks", "request" or "plan_markdown" must be given
          hint: give exactly one of them"#]],
    );
    check_plan_args(
        &json!({"tasks": [], "request": "x"}),
        &expect![[r#"
        duplicate_field at /request: "tasks" and "request" cannot be given together
          hint: keep either "tasks" or "request"
        empty_value at /tasks: "tasks" must hold at least one task
          hint: add a task"#]],
    );
    check_plan_args(
        &json!({"request": " ", "config": {"max_workers": 0}}),
        &expect![[r#"
        empty_value at /request: "request" must not be empty
          hint: say what is meant
        out_of_range at /config/max_workers: "max_workers" must be from 1 to 1024, not 0
          hint: pass a number from 1 to 1024"#]],
    );
    check_plan_args(
        &json!({"plan_markdown": "# nothing"}),
        &expect![[r"
        parse_error at /plan_markdown: the plan has neither a yaml dag nor a task list
          hint: give a yaml block `dag:` with nodes, or lines `- [ ] Task 1.1: …`"]],
    );
    check_plan_args(
        &json!({"tasks": [{"task_id": "a", "description": 1}]}),
        &expect![[r#"
        invalid_type at /tasks/0/description: task "a": "description" must be a string, not a number
          hint: pass a string"#]],
    );
}

/// Whether a schema has the very fields that a reader knows.
#[track_caller]
pub(super) fn check_fields<T: JsonSchema, const N: usize>(fields: &Fields<N>) {
    let schema = schemars::schema_for!(T);
    let properties = schema.get("properties").and_then(Value::as_object).unwrap();
    let published: BTreeSet<_> = properties.keys().map(String::as_str).collect();
    let known: BTreeSet<_> = fields.names.into_iter().collect();
    assert_eq!(published, known, "{}", T::schema_name());
}

#[test]
fn every_field_of_a_schema_is_read_and_no_other() {
    check_fields::<TaskSpec, _>(&task::TASK);
    check_fields::<DispatchConfig, _>(&config::CONFIG);
    check_fields::<CoderInput, _>(&input::CODER);
    check_fields::<DebugInput, _>(&input::DEBUG);
    check_fields::<DispatchRequest, _>(&call::DISPATCH);
    check_fields::<PlanRequest, _>(&call::PLAN);
    check_fields::<GetResultRequest, _>(&call::GET_RESULT);
    check_fields::<ReadTraceRequest, _>(&call::READ_TRACE);
    check_fields::<CancelRequest, _>(&call::CANCEL);
    check_fields::<RetryRequest, _>(&call::RETRY);
    check_fields::<TaskOverride, _>(&call::OVERRIDE);
    check_fields::<RetrySpec, _>(&retry::RETRY);
    check_fields::<ApprovalSpec, _>(&approval::APPROVAL);
    check_fields::<ApproveRequest, _>(&control::APPROVE);
    check_fields::<ControlRequest, _>(&control::CONTROL);
}

/// Every word that a schema offers for a field of an enum.
fn words_of<T: JsonSchema>() -> BTreeSet<String> {
    let schema = schemars::schema_for!(T);
    let variants = schema.get("oneOf").and_then(Value::as_array).unwrap();
    variants.iter().map(|it| it["const"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_word_of_a_schema_is_read() {
    for kind in words_of::<crate::model::TraceKind>() {
        let args = json!({"dispatch_id": ID, "kinds": [kind]});
        let request = check_read_trace(&Json::from_value(&args).unwrap()).unwrap();
        assert_eq!(json!(request.kinds), args["kinds"]);
    }
    for view in words_of::<crate::model::View>() {
        let args = json!({"dispatch_id": ID, "view": view});
        let request = check_get_result(&Json::from_value(&args).unwrap()).unwrap();
        assert_eq!(json!(request.view), args["view"]);
    }
    for on_failure in words_of::<crate::model::OnFailure>() {
        let document = json!({"tasks": [coder("a")], "config": {"on_failure": on_failure}});
        let checked = testing::check_value(&document).unwrap();
        assert_eq!(json!(checked.config.on_failure), document["config"]["on_failure"]);
    }
    let inputs = [
        ("node_type", words_of::<crate::model::NodeType>()),
        ("validation_level", words_of::<crate::model::ValidationLevel>()),
    ];
    for (field, words) in inputs {
        for word in words {
            let mut task = coder("a");
            task["input_data"][field] = json!(word);
            let checked = testing::check_value(&json!({ "tasks": [task] })).unwrap();
            let input = Value::Object(Map::clone(&checked.tasks[0].input_data));
            serde_json::from_value::<CoderInput>(input).unwrap();
        }
    }
    for depth in words_of::<crate::model::AnalysisDepth>() {
        let task = json!({"task_id": "a", "agent": "debug", "description": "d",
            "input_data": {"problem_description": "p", "analysis_depth": depth,
                "affected_files": null}});
        let checked = testing::check_value(&json!({ "tasks": [task] })).unwrap();
        let input = Value::Object(Map::clone(&checked.tasks[0].input_data));
        serde_json::from_value::<DebugInput>(input).unwrap();
    }
}

#[test]
fn stored_specs_pass_the_same_checks() {
    let document = json!({"tasks": [coder("a"), coder("b")], "config": {"max_workers": 2}});
    let checked = testing::check_value(&document).unwrap();
    let (tasks, config) = (checked.tasks.clone(), checked.config.clone());
    let again = with_rules(Limits::SERVER, |rules| check_specs(tasks, config, rules)).unwrap();
    assert_eq!((&again.tasks, &again.config), (&checked.tasks, &checked.config));
    let mut changed = checked.tasks;
    changed[1].description = String::new();
    let refusal =
        with_rules(Limits::SERVER, |rules| check_specs(changed, DispatchConfig::default(), rules));
    assert_eq!(refusal.unwrap_err().faults()[0].path, "/tasks/1/description");
}

#[test]
fn a_resolved_input_is_checked_again() {
    let input = |path: &str| {
        let value =
            json!({"contract_description": "c", "node_type": "Effect", "output_path": path});
        value.as_object().unwrap().clone()
    };
    let agent = AgentName::new("coder");
    let check = |path: &str| {
        with_rules(Limits::SERVER, |rules| check_resolved_input(&agent, &input(path), rules))
    };
    assert!(check("/w/a.py").is_ok());
    let failure = check("/etc/passwd").unwrap_err();
    assert_eq!(failure.code, FailureCode::OutputInvalid);
    assert!(failure.message.contains("leads outside every workspace"), "{}", failure.message);
}

//! The same assertions over every transport and in every revision of the protocol.

use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};

use crate::{
    client::{Client, Face, id_of},
    schema,
    space::{TestSpace, by_task, document, within},
    standin::StandIn,
};

/// Makes one test a face of each scenario: an async function that takes a face and a revision.
macro_rules! over_every_face {
    ($($scenario:ident => $stdio:ident, $http:ident, $sse:ident;)*) => {$(
        #[tokio::test]
        async fn $stdio() {
            for version in Face::Stdio.versions() {
                Box::pin($scenario(Face::Stdio, &version)).await;
            }
        }

        #[tokio::test]
        async fn $http() {
            for version in Face::Http.versions() {
                Box::pin($scenario(Face::Http, &version)).await;
            }
        }

        #[tokio::test]
        async fn $sse() {
            for version in Face::Sse.versions() {
                Box::pin($scenario(Face::Sse, &version)).await;
            }
        }
    )*};
}
pub(crate) use over_every_face;

over_every_face! {
    introduces_itself => e2e_stdio_introduces_itself, e2e_http_introduces_itself,
        e2e_sse_introduces_itself;
    plans_runs_and_reads => e2e_stdio_plans_runs_and_reads, e2e_http_plans_runs_and_reads,
        e2e_sse_plans_runs_and_reads;
    retries_what_failed => e2e_stdio_retries_what_failed, e2e_http_retries_what_failed,
        e2e_sse_retries_what_failed;
    cancels_what_runs => e2e_stdio_cancels_what_runs, e2e_http_cancels_what_runs,
        e2e_sse_cancels_what_runs;
    decides_on_what_waits => e2e_stdio_decides_on_what_waits, e2e_http_decides_on_what_waits,
        e2e_sse_decides_on_what_waits;
    steers_what_runs => e2e_stdio_steers_what_runs, e2e_http_steers_what_runs,
        e2e_sse_steers_what_runs;
    refuses_with_every_fault => e2e_stdio_refuses_with_every_fault,
        e2e_http_refuses_with_every_fault, e2e_sse_refuses_with_every_fault;
    tells_progress_while_it_waits => e2e_stdio_tells_progress_while_it_waits,
        e2e_http_tells_progress_while_it_waits, e2e_sse_tells_progress_while_it_waits;
    tells_progress_while_it_waits_for_one_task =>
        e2e_stdio_tells_progress_while_it_waits_for_one_task,
        e2e_http_tells_progress_while_it_waits_for_one_task,
        e2e_sse_tells_progress_while_it_waits_for_one_task;
    outlives_a_client_that_lost_interest => e2e_stdio_outlives_a_client_that_lost_interest,
        e2e_http_outlives_a_client_that_lost_interest,
        e2e_sse_outlives_a_client_that_lost_interest;
    answers_in_pages => e2e_stdio_answers_in_pages, e2e_http_answers_in_pages,
        e2e_sse_answers_in_pages;
    knows_its_idempotency_keys => e2e_stdio_knows_its_idempotency_keys,
        e2e_http_knows_its_idempotency_keys, e2e_sse_knows_its_idempotency_keys;
}

async fn open(face: Face, version: &ProtocolVersion) -> (StandIn, TestSpace, Client) {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let client = face.open(&space, version).await;
    (standin, space, client)
}

async fn introduces_itself(face: Face, version: &ProtocolVersion) {
    let (_standin, _space, client) = open(face, version).await;
    let server = client.server();
    assert_eq!(server["serverInfo"]["name"], "parallel-dispatch");
    assert_eq!(server["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
    let instructions = server["instructions"].as_str().unwrap();
    assert!(instructions.contains("plan_tasks") && instructions.chars().count() < 4_000);

    let tools = client.tools().await;
    let read_only = |it: &rmcp::model::Tool| it.annotations.as_ref().unwrap().read_only_hint;
    let listed: Vec<_> = tools.iter().map(|it| (&*it.name, read_only(it).unwrap())).collect();
    assert_eq!(
        listed,
        [
            ("plan_tasks", true),
            ("dispatch", false),
            ("get_result", true),
            ("read_trace", true),
            ("cancel_dispatch", false),
            ("retry_dispatch", false),
            ("approve_task", false),
            ("control_dispatch", false),
        ]
    );
    for tool in &tools {
        assert!(schema::is_of_objects(&json!(tool.input_schema)), "{}", tool.name);
        assert!(schema::is_of_objects(&json!(tool.output_schema)), "{}", tool.name);
        let description = tool.description.as_ref().unwrap();
        assert!((100..4_000).contains(&description.len()), "{}", tool.name);
    }
}

async fn plans_runs_and_reads(face: Face, version: &ProtocolVersion) {
    let (standin, space, client) = open(face, version).await;
    let document = document(&space, &[("write", "coder", &[]), ("look", "debug", &["write"])]);
    let plan = client.ask("plan_tasks", document).await;
    assert_eq!(plan["waves"], json!([["write"], ["look"]]));
    assert_eq!(plan["critical_path"], json!(["write", "look"]));
    assert_eq!(standin.calls().len(), 0, "planning calls nobody");

    let result = client.ask("dispatch", json!({ "plan_id": plan["plan_id"] })).await;
    assert_eq!(
        (&result["status"], &result["summary"]["successful"]),
        (&json!("success"), &json!(2))
    );
    let id = id_of(&result);
    let calls = standin.calls();
    let tools: Vec<_> = calls.iter().map(|it| it.tool.as_str()).collect();
    assert_eq!(tools, ["agent_coder", "agent_debug_intelligence"]);
    assert_eq!((calls[0].key.as_str(), calls[0].attempt), (&*format!("{id}/write"), 1));
    assert_eq!(calls[0].arguments["description"], "do write");
    assert_eq!(calls[0].arguments["node_type"], "Effect");
    assert!(calls[0].meta_keys.contains(&"parallel-dispatch/key".to_owned()));

    let output = json!({ "tool": "agent_coder", "key": calls[0].key, "attempt": 1 });
    assert_eq!(by_task(&result, "output")[0], ("write".to_owned(), output));
    assert_eq!(client.ask("get_result", json!({ "dispatch_id": id })).await, result);
    let one = json!({ "dispatch_id": id, "task_ids": ["look"], "view": "summary" });
    let one = client.ask("get_result", one).await;
    assert_eq!(by_task(&one, "output"), [("look".to_owned(), Value::Null)]);
    let text = json!({ "dispatch_id": id, "view": "markdown" });
    assert!(client.ask("get_result", text).await["markdown"].as_str().unwrap().contains("write"));

    let trace = client.ask("read_trace", json!({ "dispatch_id": id, "task_id": "write" })).await;
    let kinds: Vec<_> = trace["events"].as_array().unwrap().iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["attempt_started", "upstream_call", "attempt_ended"]);
    let recent = client.ask("read_trace", json!({})).await;
    assert_eq!(recent["dispatches"][0]["dispatch_id"], json!(id));
}

async fn retries_what_failed(face: Face, version: &ProtocolVersion) {
    let (standin, space, client) = open(face, version).await;
    let rows: [(&str, &str, &[&str]); 4] = [
        ("good", "coder", &[]),
        ("bad", "failing", &[]),
        ("after", "coder", &["bad"]),
        ("last", "debug", &["after"]),
    ];
    let result = client.ask("dispatch", document(&space, &rows)).await;
    assert_eq!(result["status"], "partial");
    let statuses = ["success", "error", "skipped", "skipped"];
    for (task, status) in by_task(&result, "status").iter().zip(statuses) {
        assert_eq!(task.1, status, "{}", task.0);
    }
    let failures = by_task(&result, "failure");
    assert_eq!(failures[1].1["code"], "agent_error");
    assert!(result["results"][1]["error"].as_str().unwrap().contains("it cannot be done"));
    assert_eq!(
        (&failures[3].1["code"], &failures[3].1["caused_by"]),
        (&json!("dependency_failed"), &json!("bad"))
    );

    let again = client.ask("retry_dispatch", json!({ "dispatch_id": id_of(&result) })).await;
    assert_eq!((&again["status"], &again["retry_of"]), (&json!("partial"), &result["dispatch_id"]));
    assert_ne!(again["dispatch_id"], result["dispatch_id"]);
    assert_eq!(by_task(&again, "output")[0], by_task(&result, "output")[0], "success is kept");
    assert_eq!((standin.calls_of("good").len(), standin.calls_of("bad").len()), (1, 2));
    assert_eq!(standin.calls_of("after").len(), 0);
}

async fn cancels_what_runs(face: Face, version: &ProtocolVersion) {
    let (standin, space, client) = open(face, version).await;
    let mut document = document(&space, &[("held", "gate", &[]), ("after", "coder", &["held"])]);
    document["wait"] = json!(false);
    let running = client.ask("dispatch", document).await;
    assert_eq!(running["status"], "running");
    standin.at_gate(1).await;
    let id = id_of(&running);
    let cancel = json!({ "dispatch_id": id, "reason": "no longer wanted" });
    let result = client.ask("cancel_dispatch", cancel.clone()).await;
    assert_eq!(
        (&result["status"], &result["summary"]["cancelled"]),
        (&json!("cancelled"), &json!(2))
    );
    assert_eq!(client.ask("cancel_dispatch", cancel).await, result, "twice is once");
    let kinds = json!({ "dispatch_id": id, "kinds": ["cancel_requested"] });
    let trace = client.ask("read_trace", kinds).await;
    assert_eq!(trace["events"][0]["data"]["reason"], "no longer wanted");
    assert_eq!(standin.calls_of("after").len(), 0);
}

async fn decides_on_what_waits(face: Face, version: &ProtocolVersion) {
    let (standin, space, client) = open(face, version).await;
    let mut document = document(&space, &[("asked", "coder", &[]), ("after", "coder", &["asked"])]);
    document["tasks"][0]["approval"] =
        json!({ "message": "go on?", "decisions": ["go", "reject"] });
    document["wait"] = json!(false);
    let started = client.ask("dispatch", document).await;
    let id = id_of(&started);
    let held = &started["results"][0];
    assert_eq!((&held["status"], &held["waiting_for"]), (&json!("pending"), &json!("approval")));
    assert_eq!(held["approval"]["message"], "go on?");
    assert!(started["next_steps"][0].as_str().unwrap().contains("approve_task"), "{started}");
    let decide = |task: &str, decision: &str| json!({ "dispatch_id": id, "task_id": task, "decision": decision, "note": "by hand" });
    assert_eq!(client.refusal("approve_task", decide("asked", "stop")).await, ["invalid_enum"]);
    assert_eq!(client.refusal("approve_task", decide("after", "go")).await, ["not_waiting"]);
    assert_eq!(client.refusal("approve_task", decide("x", "go")).await, ["unknown_task"]);
    assert_eq!(standin.calls().len(), 0);
    client.ask("approve_task", decide("asked", "go")).await;
    let result = client.ask("get_result", json!({ "dispatch_id": id, "wait_ms": 20_000 })).await;
    assert_eq!(result["status"], "success");
    assert_eq!(result["results"][0]["approval"]["decision"], "go");
    client.ask("approve_task", decide("asked", "go")).await;
    assert_eq!(client.refusal("approve_task", decide("asked", "reject")).await, ["not_waiting"]);
}

async fn steers_what_runs(face: Face, version: &ProtocolVersion) {
    let (standin, space, client) = open(face, version).await;
    let rows: [(&str, &str, &[&str]); 3] =
        [("held", "gate", &[]), ("after", "debug", &["held"]), ("last", "debug", &["after"])];
    let mut document = document(&space, &rows);
    document["wait"] = json!(false);
    let id = id_of(&client.ask("dispatch", document).await);
    standin.at_gate(1).await;
    let control = |action: &str, more: Value| {
        let mut args = json!({ "dispatch_id": id, "action": action });
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        args
    };
    let paused = client.ask("control_dispatch", control("pause", json!({}))).await;
    assert_eq!(paused["paused"], true);
    assert!(paused["next_steps"][0].as_str().unwrap().contains("control_dispatch"), "{paused}");
    let workers = control("set_max_workers", json!({ "max_workers": 7 }));
    assert_eq!(client.ask("control_dispatch", workers).await["max_workers"], 7);
    let told = json!({ "problem_description": "something else" });
    let steer = |task: &str| {
        control("replace_input", json!({ "task_id": task, "input_data": told, "reason": "news" }))
    };
    client.ask("control_dispatch", steer("after")).await;
    assert_eq!(client.refusal("control_dispatch", steer("held")).await, ["already_started"]);
    let wrong = control("pause", json!({ "max_workers": 7 }));
    assert_eq!(client.refusal("control_dispatch", wrong).await, ["unknown_field"]);
    let outside = control(
        "replace_input",
        json!({ "task_id": "after", "input_data":
            { "problem_description": "p", "affected_files": ["/etc/passwd"] } }),
    );
    assert_eq!(client.refusal("control_dispatch", outside).await, ["path_not_allowed"]);
    standin.release(1);
    let held = json!({ "dispatch_id": id, "task_ids": ["held"], "wait_ms": 20_000 });
    client.ask("get_result", held).await;
    assert_eq!(standin.calls_of("after").len(), 0);
    let resumed = client.ask("control_dispatch", control("resume", json!({}))).await;
    assert_eq!(resumed["paused"], Value::Null);
    let result = client.ask("get_result", json!({ "dispatch_id": id, "wait_ms": 20_000 })).await;
    assert_eq!(result["status"], "success");
    let call = &standin.calls_of("after")[0];
    assert_eq!(call.arguments["problem_description"], "something else");
    let late = control("pause", json!({}));
    assert_eq!(client.refusal("control_dispatch", late).await, ["already_ended"]);
}

async fn refuses_with_every_fault(face: Face, version: &ProtocolVersion) {
    let (standin, space, client) = open(face, version).await;
    let mut faulty = document(&space, &[("a", "coder", &["b"]), ("b", "coder", &["a"])]);
    faulty["tasks"][0]["descriptoin"] = json!("d");
    faulty["tasks"][1]["input_data"]["output_path"] = json!("relative.py");
    let codes = client.refusal("dispatch", faulty.clone()).await;
    for code in ["unknown_field", "path_not_absolute", "dependency_cycle"] {
        assert!(codes.iter().any(|it| it == code), "{code} is not in {codes:?}");
    }
    assert_eq!(client.refusal("plan_tasks", faulty).await, codes);
    let outside = json!({ "tasks": [{
        "task_id": "a",
        "agent": "coder",
        "description": "d",
        "input_data": {
            "contract_description": "c", "node_type": "Effect", "output_path": "/etc/passwd",
        },
    }] });
    assert_eq!(client.refusal("dispatch", outside).await, ["path_not_allowed"]);
    for tool in ["dispatch", "plan_tasks", "get_result", "cancel_dispatch", "retry_dispatch"] {
        assert_eq!(client.refusal(tool, json!({})).await, ["missing_field"], "{tool}");
    }
    for tool in ["get_result", "read_trace", "cancel_dispatch", "retry_dispatch"] {
        let unknown = json!({ "dispatch_id": "01900000-0000-7000-8000-000000000000" });
        assert_eq!(client.refusal(tool, unknown).await, ["unknown_dispatch"], "{tool}");
    }
    let no_plan = json!({ "plan_id": "01900000-0000-7000-8000-000000000000" });
    assert_eq!(client.refusal("dispatch", no_plan).await, ["unknown_plan"]);
    assert!(client.call_unknown("dispatch_tasks").await.contains("unknown tool"));
    assert_eq!(standin.calls().len(), 0, "nothing runs of what is refused");
}

async fn tells_progress_while_it_waits(face: Face, version: &ProtocolVersion) {
    let (standin, space, client) = open(face, version).await;
    let rows: [(&str, &str, &[&str]); 2] = [("one", "gate", &[]), ("two", "gate", &["one"])];
    let waiting = client.begin("dispatch", document(&space, &rows)).await;
    let token = waiting.progress_token.clone();
    standin.at_gate(1).await;
    client.progress(1).await;
    standin.release(1);
    standin.at_gate(2).await;
    client.progress(2).await;
    standin.release(1);
    let answer = within(waiting.await_response()).await.unwrap();
    assert_eq!(json!(answer)["structuredContent"]["status"], "success");
    let told = client.progress(2).await;
    assert!(told.iter().all(|it| it.progress_token == token && it.total == Some(2.0)));
    assert!(told.is_sorted_by(|a, b| a.progress < b.progress), "it always grows: {told:?}");
    assert!(told[0].message.as_ref().unwrap().contains("of 2"), "{told:?}");
}

async fn outlives_a_client_that_lost_interest(face: Face, version: &ProtocolVersion) {
    let (standin, space, client) = open(face, version).await;
    let waiting = client.begin("dispatch", document(&space, &[("held", "gate", &[])])).await;
    standin.at_gate(1).await;
    let key = standin.calls()[0].key.clone();
    let id = key.split('/').next().unwrap();
    within(waiting.cancel(Some("enough".to_owned()))).await.unwrap();
    let result = client.ask("get_result", json!({ "dispatch_id": id })).await;
    assert_eq!(result["status"], "running");
    let soon = json!({ "dispatch_id": id, "wait_ms": 1 });
    assert_eq!(client.ask("get_result", soon).await["status"], "running");
    standin.release(1);
    let result = client.ask("get_result", json!({ "dispatch_id": id, "wait_ms": 20_000 })).await;
    assert_eq!((&result["status"], standin.calls().len()), (&json!("success"), 1));
}

async fn answers_in_pages(face: Face, version: &ProtocolVersion) {
    let (_standin, space, client) = open(face, version).await;
    let rows: [(&str, &str, &[&str]); 3] =
        [("a", "big", &[]), ("b", "big", &[]), ("c", "coder", &[])];
    let first = client.ask("dispatch", document(&space, &rows)).await;
    let id = id_of(&first);
    let mut seen: Vec<_> = by_task(&first, "output");
    let mut cursor = first["next_cursor"].clone();
    while !cursor.is_null() {
        let next = json!({ "dispatch_id": id, "cursor": cursor });
        let page = client.ask("get_result", next).await;
        assert_eq!(page["summary"], first["summary"]);
        seen.extend(by_task(&page, "output"));
        cursor = page["next_cursor"].clone();
    }
    let names: Vec<_> = seen.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(seen[1].1["text"].as_str().unwrap().chars().count(), 30_000);
}

async fn knows_its_idempotency_keys(face: Face, version: &ProtocolVersion) {
    let (standin, space, client) = open(face, version).await;
    let mut one = document(&space, &[("one", "coder", &[])]);
    one["idempotency_key"] = json!("the-same");
    let first = client.ask("dispatch", one.clone()).await;
    assert_eq!(client.ask("dispatch", one).await["dispatch_id"], first["dispatch_id"]);
    assert_eq!(standin.calls().len(), 1);
    let mut other = document(&space, &[("other", "coder", &[])]);
    other["idempotency_key"] = json!("the-same");
    assert_eq!(client.refusal("dispatch", other).await, ["idempotency_conflict"]);
    assert_eq!(standin.calls().len(), 1);
}

async fn tells_progress_while_it_waits_for_one_task(face: Face, version: &ProtocolVersion) {
    let (standin, space, client) = open(face, version).await;
    let mut document = document(&space, &[("one", "gate", &[]), ("two", "gate", &["one"])]);
    document["wait"] = json!(false);
    let id = id_of(&client.ask("dispatch", document).await);
    let wait = json!({ "dispatch_id": id, "task_ids": ["one"], "wait_ms": 20_000 });
    let waiting = client.begin("get_result", wait).await;
    client.progress(1).await;
    standin.release(1);
    let answer = json!(within(waiting.await_response()).await.unwrap());
    let result = &answer["structuredContent"];
    assert_eq!(result["status"], "running", "the other one still stands at the gate");
    assert_eq!(by_task(result, "status"), [("one".to_owned(), json!("success"))]);
}

//! Tasks that stand for many, from the document to the result, over a store in memory.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    condition_tests::with,
    handle::Caller,
    testing::{Flaky, Registry, World, task},
};
use crate::{
    model::{
        DispatchResult, DispatchStatus, ErrorCode, FailureCode, RetryRequest, TaskStatus,
        json::Json,
    },
    plan::RetryCall,
};

/// A task for each of these, which are what becomes of them.
fn for_each(fates: &Value, join: &str) -> Value {
    json!({ "for_each": { "items": fates, "join": join }, "input_data": { "fate": "${item}" } })
}

fn shown(result: &DispatchResult) -> Vec<String> {
    let line = |it: &crate::model::TaskResult| format!("{} {:?}", it.task_id, it.status);
    result.results.iter().map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn each_item_of_an_upstream_list_becomes_a_task_and_the_results_one_list() {
    let world = World::new().await;
    let list = json!({ "input_data": { "fate": "echo", "list": [{ "n": 5 }, { "n": 7 }, {}] } });
    let each = json!({
        "description": "number ${index} is ${item.n ?? 0}",
        "input_data": { "fate": "echo", "n": "${item.n ?? 0}", "of": "${tasks.a.output.input.fate}" },
        "for_each": { "items": "${tasks.a.output.input.list}", "max_parallel": 1 },
    });
    let document = with("a\nb <- a\nc <- b", &[("a", list), ("b", each)]);
    let result = world.run(&document).await;
    assert_eq!(result.status, DispatchStatus::Success, "{result:?}");
    let expected =
        ["a Success", "b Success", "c Success", "b.0 Success", "b.1 Success", "b.2 Success"];
    assert_eq!(shown(&result), expected);
    let numbers = task(&result, "b").output.as_array().unwrap().iter();
    let numbers: Vec<_> = numbers.map(|it| (&it["input"]["n"], &it["input"]["of"])).collect();
    let echo = json!("echo");
    assert_eq!(numbers, [(&json!(5), &echo), (&json!(7), &echo), (&json!(0), &echo)]);
    assert_eq!((task(&result, "b").attempts, task(&result, "b.1").attempts), (0, 1));
    assert_eq!(*world.agents.started.lock(), ["a#1", "b.0#1", "b.1#1", "b.2#1", "c#1"]);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_fails_fails_the_whole_or_is_data() {
    let world = World::new().await;
    let fates = json!(["echo", "fail", "echo"]);
    let all = with("a\nb <- a", &[("a", for_each(&fates, "all_success"))]);
    let result = world.run(&all).await;
    assert_eq!(result.status, DispatchStatus::Partial);
    let whole = task(&result, "a");
    assert_eq!(whole.status, TaskStatus::Skipped);
    assert_eq!(whole.failure.as_ref().unwrap().caused_by.as_ref().unwrap().as_str(), "a.1");
    assert_eq!(task(&result, "b").status, TaskStatus::Skipped);
    let done = with("a\nb <- a", &[("a", for_each(&fates, "all_done"))]);
    let result = world.run(&done).await;
    assert_eq!(task(&result, "b").status, TaskStatus::Success, "{result:?}");
    let output = &task(&result, "a").output;
    assert_eq!(output[0]["output"]["input"]["fate"], "echo");
    assert_eq!((&output[1]["status"], &output[1]["output"]), (&json!("error"), &Value::Null));
    assert!(output[1]["error"].as_str().is_some_and(|it| !it.is_empty()), "{output}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_list_or_too_long_or_empty_ends_as_it_should() {
    let world = World::new().await;
    let list = json!({ "input_data": { "fate": "echo", "list": [1, 2, 3], "none": [] } });
    let items = |path: &str, max| {
        let items = format!("${{tasks.a.output.input.{path}}}");
        json!({ "for_each": { "items": items, "max_items": max } })
    };
    let document = with(
        "a\nb <- a\nc <- a\nd <- a",
        &[("a", list), ("b", items("fate", 9)), ("c", items("list", 2)), ("d", items("none", 9))],
    );
    let result = world.run(&document).await;
    for (name, part) in [("b", "are no list"), ("c", "has 3 items; at most 2")] {
        let it = task(&result, name);
        assert_eq!(it.failure.as_ref().unwrap().code, FailureCode::OutputInvalid);
        assert!(it.error.as_ref().unwrap().contains(part), "{it:?}");
    }
    assert_eq!(task(&result, "d").output, json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_loop_goes_on_until_its_condition_is_met_or_it_has_had_enough() {
    let world = World::new().await;
    let repeat = |max: u32| {
        json!({
            "loop": { "until": "tasks.a.output.input.n >= 3", "max_iterations": max },
            "input_data": { "fate": "echo", "n": "${iteration}",
                "before": "${previous.output.input.n ?? 0}" },
        })
    };
    let result = world.run(&with("a\nb <- a", &[("a", repeat(5))])).await;
    assert_eq!(result.status, DispatchStatus::Success, "{result:?}");
    let expected = ["a Success", "b Success", "a.0 Success", "a.1 Success", "a.2 Success"];
    assert_eq!(shown(&result), expected);
    assert_eq!(task(&result, "a").output["input"], json!({ "fate": "echo", "n": 3, "before": 2 }));
    let result = world.run(&with("a\nb <- a", &[("a", repeat(2))])).await;
    let it = task(&result, "a");
    assert_eq!(it.failure.as_ref().unwrap().code, FailureCode::CheckFailed);
    assert!(it.error.as_ref().unwrap().contains("after 2 iterations"), "{it:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_makes_the_tasks_anew_and_keeps_what_succeeded() {
    let world = World::new().await;
    let each = for_each(&json!(["echo", "fail"]), "all_success");
    let first = world.run(&with("a\nb\nc <- b", &[("b", each)])).await;
    assert_eq!(task(&first, "b").status, TaskStatus::Skipped);
    let overrides = json!({ "b": { "input_data": { "fate": "echo" } } });
    let overrides = serde_json::from_value(overrides).unwrap();
    let request = RetryRequest {
        dispatch_id: first.dispatch_id,
        task_ids: None,
        overrides: Some(overrides),
        ..serde_json::from_value(json!({ "dispatch_id": first.dispatch_id })).unwrap()
    };
    let ticket = world.handle.retry(RetryCall { request, wait_ms: 0 }, None).await.unwrap();
    let result = world.finish(ticket.dispatch).await;
    assert_eq!(result.status, DispatchStatus::Success, "{result:?}");
    let expected = ["a Success", "b Success", "c Success", "b.0 Success", "b.1 Success"];
    assert_eq!(shown(&result), expected);
    let n_first = world.agents.started.lock().iter().filter(|it| *it == "a#1").count();
    assert_eq!(n_first, 1, "a task that succeeded ran again");
}

#[tokio::test(start_paused = true)]
async fn another_process_goes_on_with_the_tasks_that_a_task_became() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let one = World::on(store.elsewhere(), Arc::clone(&registry), 8).await;
    let two = World::on(store.elsewhere(), Arc::clone(&registry), 8).await;
    let document =
        with("a\nb <- a\nc <- b", &[("b", for_each(&json!(["echo", "gate", "gate"]), "all_done"))]);
    let text = document.to_string();
    let json = crate::model::json::read(text.as_bytes()).unwrap();
    let _: &Json<'_> = &json;
    let id = one.handle.dispatch_document(&json).await.unwrap();
    one.agents.wait_for_start("b.2#1").await;
    one.kill().await;
    two.agents.gate.send_replace(true);
    let result = two.finish(id).await;
    assert_eq!(result.status, DispatchStatus::Success, "{result:?}");
    assert_eq!(task(&result, "b").output.as_array().unwrap().len(), 3);
    let started = two.agents.started.lock().clone();
    assert!(started.contains(&"b.1#2".to_owned()) && started.contains(&"c#1".to_owned()));
}

/// What `dispatch` says to tasks for a dispatch that runs.
async fn add(
    world: &World,
    id: crate::model::DispatchId,
    text: &str,
) -> Result<(), crate::model::Refusal> {
    let mut tasks = super::testing::document(text)["tasks"].take();
    for it in tasks.as_array_mut().unwrap() {
        let names = it["dependencies"].as_array().unwrap().iter().filter(|it| *it != "none");
        it["dependencies"] = names.cloned().collect();
    }
    let args = json!({ "dispatch_id": id, "tasks": tasks, "wait": false });
    let args = args.to_string();
    let json = crate::model::json::read(args.as_bytes()).unwrap();
    world.handle.dispatch(&json, Caller::default()).await.map(|_| ())
}

#[tokio::test(start_paused = true)]
async fn tasks_are_added_to_a_dispatch_that_runs_here_or_elsewhere() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let one = World::on(store.elsewhere(), Arc::clone(&registry), 8).await;
    let two = World::on(store.elsewhere(), Arc::clone(&registry), 8).await;
    let id = one.dispatch(&super::testing::document("a\nb !gate <- a\nc <- b")).await.unwrap();
    one.agents.wait_for_start("b#1").await;
    add(&one, id, "d <- a\ne <- c d").await.unwrap();
    add(&two, id, "f <- d").await.unwrap();
    for (text, code) in [
        ("a", ErrorCode::DuplicateTaskId),
        ("x <- gost", ErrorCode::UnknownDependency),
        ("x <- y\ny <- x", ErrorCode::DependencyCycle),
    ] {
        assert_eq!(add(&two, id, text).await.unwrap_err().code(), code);
    }
    one.agents.gate.send_replace(true);
    let result = one.finish(id).await;
    assert_eq!(result.status, DispatchStatus::Success, "{result:?}");
    let names = ["a", "b", "c", "d", "e", "f"].map(|it| format!("{it} Success"));
    assert_eq!(shown(&result), names);
    assert_eq!(add(&one, id, "g").await.unwrap_err().code(), ErrorCode::AlreadyEnded);
}

/// What `control_dispatch` says to another input for a task.
async fn steer(
    world: &World,
    id: crate::model::DispatchId,
    name: &str,
    input: Value,
) -> Result<DispatchResult, crate::model::Refusal> {
    let args = json!({ "dispatch_id": id, "action": "replace_input", "task_id": name,
        "input_data": input });
    let request = serde_json::from_value(args).unwrap();
    world.handle.control(request).await
}

#[tokio::test(start_paused = true)]
async fn a_part_that_has_not_started_can_be_steered_and_a_whole_that_is_many_cannot() {
    let world = World::new().await;
    let mut each = for_each(&json!(["gate", "echo"]), "all_success");
    each["for_each"]["max_parallel"] = json!(1);
    let id = world.dispatch(&with("a", &[("a", each)])).await.unwrap();
    let started = async || {
        while world.agents.started.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        world.agents.started.lock()[0].clone()
    };
    let waiting = if started().await == "a.0#1" { "a.1" } else { "a.0" };
    let refusal = steer(&world, id, "a", json!({ "fate": "echo" })).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::AlreadyStarted, "{refusal}");
    steer(&world, id, waiting, json!({ "fate": "echo", "new": true })).await.unwrap();
    world.agents.gate.send_replace(true);
    let result = world.finish(id).await;
    assert_eq!(task(&result, waiting).output["input"]["new"], true, "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn of_two_who_add_the_same_task_at_once_one_is_refused() {
    let world = World::new().await;
    let id = world.dispatch(&super::testing::document("a !gate")).await.unwrap();
    world.agents.wait_for_start("a#1").await;
    let args = json!({ "dispatch_id": id, "wait": false, "tasks": [{
        "task_id": "x", "agent": "android", "description": "d", "input_data": { "fate": "echo" },
        "dependencies": ["a"] }] });
    let args = args.to_string();
    let json = crate::model::json::read(args.as_bytes()).unwrap();
    let (one, other) = tokio::join!(
        world.handle.dispatch(&json, Caller::default()),
        world.handle.dispatch(&json, Caller::default())
    );
    let mut answers = [one.err(), other.err()];
    answers.sort_by_key(Option::is_some);
    assert!(answers[0].is_none());
    assert_eq!(answers[1].as_ref().unwrap().code(), ErrorCode::DuplicateTaskId);
    world.agents.gate.send_replace(true);
    let result = world.finish(id).await;
    assert_eq!(shown(&result), ["a Success", "x Success"]);
}

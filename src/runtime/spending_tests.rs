//! What the service promises of budgets, with time that jumps.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::testing::{Flaky, Registry, World, document, pass, task};
use crate::{
    model::{
        BudgetLimit, BudgetReport, BudgetSpec, ControlRequest, DispatchId, DispatchResult,
        DispatchStatus, ErrorCode, FailureCode, OnExceeded, ReadTraceRequest, RetryRequest,
        TaskStatus, TraceEvent, TraceKind,
    },
    plan::RetryCall,
};

/// A document with a budget, whose tasks run one after the other.
fn with(text: &str, budget: &Value) -> Value {
    let mut document = document(text);
    document["config"] = json!({ "budget": budget, "max_workers": 1 });
    document
}

fn budget(result: &DispatchResult) -> &BudgetReport {
    result.budget.as_ref().unwrap()
}

fn tokens(tokens: u64) -> BudgetSpec {
    BudgetSpec { tokens: Some(tokens), ..BudgetSpec::default() }
}

async fn events(world: &World, dispatch: DispatchId, kinds: Vec<TraceKind>) -> Vec<TraceEvent> {
    let request = ReadTraceRequest {
        dispatch_id: Some(dispatch),
        kinds: Some(kinds),
        ..ReadTraceRequest::default()
    };
    world.handle.read_trace(request).await.unwrap().events
}

async fn retry(
    world: &World,
    dispatch_id: DispatchId,
    budget: Option<BudgetSpec>,
) -> DispatchResult {
    let (wait, wait_ms) = (None, None);
    let request =
        RetryRequest { dispatch_id, task_ids: None, overrides: None, budget, wait, wait_ms };
    let ticket = world.handle.retry(RetryCall { request, wait_ms: 0 }, None).await.unwrap();
    world.finish(ticket.dispatch).await
}

/// Waits until the dispatch is held up.
async fn exceeded(world: &World, dispatch: DispatchId) -> DispatchResult {
    loop {
        let result = world.handle.result(dispatch).await.unwrap();
        if budget(&result).exceeded.is_some() {
            return result;
        }
        pass(Duration::from_millis(10)).await;
    }
}

/// The wish that a dispatch may use so much.
fn set_budget(dispatch_id: DispatchId, budget: &BudgetSpec) -> ControlRequest {
    let args = json!({ "dispatch_id": dispatch_id, "action": "set_budget", "budget": budget });
    serde_json::from_value(args).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_result_says_what_was_used_and_by_whom() {
    let world = World::new().await;
    let limits = json!({ "tokens": 100, "cost_usd": 9, "wall_seconds": 60, "tasks": 5 });
    let result = world.run(&with("a !use 30\nb !use 12 <- a", &limits)).await;
    assert_eq!(result.status, DispatchStatus::Success);
    let usage = task(&result, "b").usage.as_ref().unwrap();
    assert_eq!((usage.total_tokens, usage.cost_usd), (Some(12), Some(0.25)));
    let report = serde_json::to_value(budget(&result)).unwrap();
    assert_eq!(report["limits"]["on_exceeded"], "hand_back");
    assert_eq!(report["limits"]["wall_seconds"], 60.0);
    assert_eq!((&report["spent"]["tokens"], &report["spent"]["tasks"]), (&json!(42), &json!(2)));
    assert_eq!(report["spent"]["cost_usd"], 0.5);
    assert_eq!(report["reserved"], json!({ "tokens": 0, "cost_usd": 0.0 }));
    assert_eq!(report["exceeded"], json!(null));
    let ends = events(&world, result.dispatch_id, vec![TraceKind::AttemptEnded]).await;
    assert_eq!(ends[0].data["usage"], json!({ "total_tokens": 30, "cost_usd": 0.25 }));
    let written = world.files.written.lock();
    let file = &written[task(&result, "a").trace_file.as_ref().unwrap()];
    let file: Value = serde_json::from_str(file).unwrap();
    assert_eq!(file["attempts"][0]["usage"]["total_tokens"], 30);
}

#[tokio::test(start_paused = true)]
async fn usage_is_shown_without_a_budget_too() {
    let world = World::new().await;
    let result = world.run(&document("a !use 30\nb")).await;
    assert_eq!(result.budget, None);
    assert_eq!(task(&result, "a").usage.as_ref().unwrap().total_tokens, Some(30));
    assert_eq!(task(&result, "b").usage, None);
}

#[tokio::test(start_paused = true)]
async fn what_has_not_started_is_handed_back_and_a_retry_goes_on_with_the_same_budget() {
    let world = World::new().await;
    let text = "a !use 30\nb !use 30 <- a\nc !use 30 <- b\nd <- c";
    let first = world.run(&with(text, &json!({ "tokens": 60 }))).await;
    assert_eq!(first.status, DispatchStatus::Partial);
    let lost = task(&first, "c");
    assert_eq!((lost.status, lost.attempts), (TaskStatus::Skipped, 0));
    assert_eq!(lost.failure.as_ref().unwrap().code, FailureCode::BudgetExceeded);
    assert!(lost.error.as_ref().unwrap().contains("budget of tokens"));
    assert_eq!(budget(&first).exceeded, Some(BudgetLimit::Tokens));
    assert!(first.next_steps[0].contains("\"budget\": {\"tokens\": "), "{:?}", first.next_steps);
    let kinds = vec![TraceKind::BudgetExceeded, TraceKind::TaskDropped];
    let facts = events(&world, first.dispatch_id, kinds).await;
    assert_eq!(facts.len(), 3);
    assert_eq!(facts[0].data["limit"], "tokens");

    let second = retry(&world, first.dispatch_id, None).await;
    assert_eq!(second.status, DispatchStatus::Partial);
    assert_eq!((budget(&second).spent.tokens, budget(&second).spent.tasks), (60, 2));
    assert_eq!(task(&second, "c").attempts, 0);

    let third = retry(&world, second.dispatch_id, Some(tokens(60))).await;
    assert_eq!(third.status, DispatchStatus::Success);
    // The last one does not say what it used: it counts as the one before it did.
    assert_eq!((budget(&third).spent.tokens, budget(&third).spent.tasks), (60, 2));
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_what_was_spent_outlive_a_kill_until_the_budget_is_raised() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let world = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let limits = json!({ "tokens": 30, "tasks": 9, "on_exceeded": "pause" });
    let id = world.dispatch(&with("a !use 30\nb !use 20 <- a", &limits)).await.unwrap();
    let paused = exceeded(&world, id).await;
    assert_eq!(paused.status, DispatchStatus::Running);
    assert!(paused.next_steps[0].contains("set_budget"), "{:?}", paused.next_steps);
    assert!(!world.handle.wait(id, Duration::from_mins(10)).await.unwrap());
    world.kill().await;

    let world = World::on(store, registry, 8).await;
    assert!(!world.handle.wait(id, Duration::from_mins(1)).await.unwrap());
    assert_eq!(exceeded(&world, id).await.budget.unwrap().spent.tokens, 30);
    let raised = world.handle.control(set_budget(id, &tokens(70))).await.unwrap();
    assert_eq!(budget(&raised).limits.tasks, Some(9), "what is not named stays");
    let result = world.finish(id).await;
    assert_eq!(result.status, DispatchStatus::Success);
    let report = budget(&result);
    assert_eq!((report.limits.tokens, report.spent.tokens), (Some(70), 50));
    assert_eq!(report.exceeded, None);
    let decisions = events(&world, id, vec![TraceKind::Decision]).await;
    assert_eq!(decisions[1].data["trigger"], "budget_free");
    let changes = events(&world, id, vec![TraceKind::BudgetChanged]).await;
    assert_eq!(changes[0].data["limits"]["tokens"], 70);
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_time_that_fails_stops_what_runs() {
    let world = World::new().await;
    let limits = json!({ "wall_seconds": 5, "on_exceeded": "fail" });
    let result = world.run(&with("a\nb !hang <- a\nc <- b", &limits)).await;
    assert_eq!(result.status, DispatchStatus::Partial);
    let stopped = task(&result, "b");
    assert_eq!(stopped.status, TaskStatus::Cancelled);
    assert_eq!(stopped.failure.as_ref().unwrap().code, FailureCode::BudgetExceeded);
    assert_eq!(*world.agents.stopped.lock(), ["b#1"]);
    assert_eq!(budget(&result).exceeded, Some(BudgetLimit::WallSeconds));
    assert!((5_000..5_100).contains(&result.summary.total_time_ms));
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_reserved_by_its_estimate() {
    let world = World::new().await;
    let mut document = with("a !gate\nb", &json!({ "tokens": 100, "cost_usd": 2 }));
    document["config"]["max_workers"] = json!(2);
    for task in document["tasks"].as_array_mut().unwrap() {
        task["estimate_tokens"] = json!(60);
        task["estimate_cost_usd"] = json!(0.5);
    }
    let id = world.dispatch(&document).await.unwrap();
    world.agents.wait_for_start("a#1").await;
    let result = world.handle.result(id).await.unwrap();
    assert_eq!((budget(&result).reserved.tokens, budget(&result).reserved.cost_usd), (60, 0.5));
    assert_eq!(task(&result, "b").status, TaskStatus::Pending);
    world.agents.gate.send_replace(true);
    let result = world.finish(id).await;
    assert_eq!((budget(&result).spent.tokens, budget(&result).reserved.tokens), (60, 0));
    assert_eq!(task(&result, "b").status, TaskStatus::Skipped);
}

#[tokio::test(start_paused = true)]
async fn a_paused_dispatch_leaves_its_share_of_the_workers_to_others() {
    let world = World::with_workers(2);
    let limits = json!({ "tasks": 1, "on_exceeded": "pause" });
    let mut document = with("a\nb\nc", &limits);
    document["config"]["max_workers"] = json!(2);
    let paused = world.dispatch(&document).await.unwrap();
    exceeded(&world, paused).await;
    let other = world.dispatch(&super::testing::document("x !gate\ny !gate")).await.unwrap();
    world.agents.wait_for_start("x#1").await;
    world.agents.wait_for_start("y#1").await;
    world.agents.gate.send_replace(true);
    assert_eq!(world.finish(other).await.status, DispatchStatus::Success);
    let raise = BudgetSpec { tasks: Some(3), ..BudgetSpec::default() };
    world.handle.control(set_budget(paused, &raise)).await.unwrap();
    assert_eq!(world.finish(paused).await.status, DispatchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn a_dispatch_without_a_budget_can_be_given_one_that_knows_what_was_used() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let world = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let id = world.dispatch(&document("a !use 30\nb !gate <- a\nc <- b")).await.unwrap();
    world.agents.wait_for_start("b#1").await;
    let given = set_budget(id, &BudgetSpec { on_exceeded: Some(OnExceeded::Pause), ..tokens(30) });
    let result = world.handle.control(given).await.unwrap();
    assert_eq!(budget(&result).limits.tokens, Some(30));
    assert_eq!((budget(&result).spent.tokens, budget(&result).spent.tasks), (30, 2));
    world.agents.gate.send_replace(true);
    assert_eq!(exceeded(&world, id).await.budget.unwrap().exceeded, Some(BudgetLimit::Tokens));
    world.kill().await;

    let world = World::on(store, registry, 8).await;
    let result = exceeded(&world, id).await;
    assert_eq!((budget(&result).spent.tokens, task(&result, "c").attempts), (30, 0));
    world.handle.control(set_budget(id, &tokens(90))).await.unwrap();
    let result = world.finish(id).await;
    assert_eq!(result.status, DispatchStatus::Success);
    let limits = &budget(&result).limits;
    assert_eq!((limits.tokens, limits.on_exceeded), (Some(90), Some(OnExceeded::Pause)));
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_used_up_when_it_is_given_ends_the_dispatch() {
    let world = World::new().await;
    let id = world.dispatch(&document("a !use 30\nb !hang <- a\nc <- b")).await.unwrap();
    world.agents.wait_for_start("b#1").await;
    let less = BudgetSpec { on_exceeded: Some(OnExceeded::Fail), ..tokens(10) };
    world.handle.control(set_budget(id, &less)).await.unwrap();
    let result = world.finish(id).await;
    assert_eq!(budget(&result).exceeded, Some(BudgetLimit::Tokens));
    let ends = ["a", "b", "c"].map(|it| task(&result, it).status);
    assert_eq!(ends, [TaskStatus::Success, TaskStatus::Cancelled, TaskStatus::Skipped]);
}

#[tokio::test(start_paused = true)]
async fn only_what_runs_can_have_another_budget() {
    let world = World::new().await;
    let id = world.run(&document("a")).await.dispatch_id;
    let refusal = world.handle.control(set_budget(id, &tokens(5))).await.unwrap_err();
    assert!(refusal.to_string().contains("has ended"), "{refusal}");
    let unknown = DispatchId::new(uuid::Uuid::nil());
    let refusal = world.handle.control(set_budget(unknown, &tokens(5))).await.unwrap_err();
    assert_eq!(refusal.faults()[0].code, ErrorCode::UnknownDispatch);
}

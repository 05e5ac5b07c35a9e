//! What the service promises to callers that see only their own: others' work is not there.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    DispatcherHandle, PruneMode, Retention,
    handle::Caller,
    testing::{Flaky, Registry, World, document, task},
    tests::retry_of,
    views_asked::{OF_A_DISPATCH, ask, call},
};
use crate::{
    model::{
        CancelRequest, DispatchId, ErrorCode, Identity, ParentTask, PlanId, ReadTraceRequest, Sees,
        TaskId, json::Json,
    },
    ports::Journal as _,
};

/// Methods that look into the documents or arguments of their callers only, or at the settings.
const OF_NO_DISPATCH: [&str; 15] = [
    "start",
    "seen_by",
    "sees_all",
    "with_workers",
    "has_workers",
    "may_pull",
    "agents",
    "agent_reports",
    "check_control",
    "workers_max",
    "in_trace",
    "now",
    "n_watches",
    "try_store",
    "watch_lists",
];

/// Those that have tests of their own below.
const OTHERS: [&str; 15] = [
    "check_claim",
    "plan",
    "plan_whole",
    "stored_plan",
    "check_plan",
    "recent_plans",
    "plans_like",
    "dispatches_like",
    "newest",
    "dispatch_document",
    "prune",
    "claim_task",
    "heartbeat",
    "complete_task",
    "fail_task",
];

fn ada(world: &World) -> DispatcherHandle {
    seen(world, "ada", Sees::Own)
}

fn bob(world: &World) -> DispatcherHandle {
    seen(world, "bob", Sees::Own)
}

fn root(world: &World) -> DispatcherHandle {
    seen(world, "root", Sees::All)
}

fn seen(world: &World, name: &str, sees: Sees) -> DispatcherHandle {
    world.handle.clone().seen_by(Identity::new(name, sees))
}

fn many() -> World {
    World::with_open_max(100)
}

async fn dispatch(handle: &DispatcherHandle, document: &Value) -> DispatchId {
    handle.dispatch_document(&Json::from_value(document).unwrap()).await.unwrap()
}

/// Runs a document to its end.
async fn run(handle: &DispatcherHandle, document: &Value) -> DispatchId {
    let id = dispatch(handle, document).await;
    assert!(handle.wait(id, Duration::from_hours(1)).await.unwrap());
    id
}

fn below(dispatch_id: DispatchId, task_id: &str) -> Caller {
    let parent = Some(ParentTask { dispatch_id, task_id: TaskId::new(task_id) });
    Caller { key: None, parent }
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_others_is_as_unknown_as_what_is_not_there() {
    let world = many();
    let nowhere: DispatchId = "01890000-0000-7000-8000-000000000000".parse().unwrap();
    for how in OF_A_DISPATCH {
        let running = dispatch(&ada(&world), &document("t !gate\nu <- t")).await;
        let ended = run(&ada(&world), &document("t\nu <- t")).await;
        let nobodys = dispatch(&world.handle, &document("t !gate\nu <- t")).await;
        let unknown = ask(&bob(&world), how, nowhere).await;
        for id in [running, ended, nobodys] {
            let answer = ask(&bob(&world), how, id).await;
            assert_eq!(answer.replace(&id.to_string(), &nowhere.to_string()), unknown, "{how}");
        }
        assert!(unknown == "nothing" || unknown.contains("unknown_dispatch"), "{how}");
        let as_nobody = ask(&world.handle, how, nowhere).await;
        assert!(how == "check_seen" || as_nobody == unknown, "{how}: {as_nobody}");
        for handle in [ada(&world), root(&world), world.handle.clone()] {
            let answers = [ask(&handle, how, running).await, ask(&handle, how, ended).await];
            assert!(!answers.concat().contains("unknown_dispatch"), "{how}: {answers:?}");
            assert_ne!(answers[0], "nothing", "{how}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_sees_only_their_own_has_at_most_half_of_the_room() {
    let world = World::with_open_max(4);
    let held = document("t !gate");
    let refused = async |handle: DispatcherHandle| {
        let refusal =
            handle.dispatch_document(&Json::from_value(&held).unwrap()).await.unwrap_err();
        assert_eq!(refusal.code(), ErrorCode::Busy);
        refusal.to_string()
    };
    for _ in 0..2 {
        dispatch(&bob(&world), &held).await;
    }
    assert!(refused(bob(&world)).await.contains("2 of your dispatches are open"));
    for _ in 0..2 {
        dispatch(&root(&world), &held).await;
    }
    assert!(refused(root(&world)).await.contains("4 dispatches are open"));
}

/// A new method must be found in one of the tables.
#[test]
fn every_method_of_the_handle_is_tested() {
    let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/runtime");
    let mut methods = BTreeSet::new();
    for file in fs::read_dir(room).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for part in text.split("\nimpl DispatcherHandle {\n").skip(1) {
            let inside = part.split("\n}\n").next().unwrap();
            let lines = inside.lines().map(|it| it.trim_start_matches("    pub ").to_owned());
            let names = lines.filter_map(|it| {
                let rest = it.strip_prefix("async ").unwrap_or(&it).strip_prefix("fn ")?;
                Some(rest.split(['(', '<']).next()?.to_owned())
            });
            methods.extend(names);
        }
    }
    let own = OF_A_DISPATCH.iter().map(|it| it.split(' ').next().unwrap());
    let known: BTreeSet<_> = own.chain(OF_NO_DISPATCH).chain(OTHERS).collect();
    let known: BTreeSet<_> = known.into_iter().map(str::to_owned).collect();
    assert_eq!(methods, known);
}

#[tokio::test(start_paused = true)]
async fn lists_hold_only_their_own_page_by_page() {
    let world = many();
    let mut own = Vec::new();
    for _ in 0..3 {
        own.insert(0, run(&ada(&world), &document("a")).await);
        run(&bob(&world), &document("a")).await;
        run(&world.handle, &document("a")).await;
    }
    let list = async |handle: &DispatcherHandle, cursor| {
        let request = ReadTraceRequest { cursor, limit: Some(2), ..ReadTraceRequest::default() };
        let page = handle.read_trace(request).await.unwrap();
        let ids = page.dispatches.unwrap().iter().map(|it| it.dispatch_id).collect::<Vec<_>>();
        (ids, page.next_cursor)
    };
    let (first, next) = list(&ada(&world), None).await;
    assert!(next.is_some());
    let (second, end) = list(&ada(&world), next).await;
    assert_eq!(([first, second].concat(), end), (own, None));
    for handle in [root(&world), world.handle.clone()] {
        let request = ReadTraceRequest::default();
        let all = handle.read_trace(request).await.unwrap().dispatches.unwrap();
        assert_eq!(all.len(), 9);
    }
}

#[tokio::test(start_paused = true)]
async fn plans_are_for_those_who_made_them() {
    let world = many();
    let plan = async |handle: &DispatcherHandle| {
        let args = document("a");
        handle.plan(&Json::from_value(&args).unwrap()).await.unwrap().plan_id
    };
    let by_plan = async |handle: &DispatcherHandle, plan: PlanId| {
        let answer = call(handle, &json!({ "plan_id": plan }), Caller::default()).await;
        let refusal = answer.err().map(|it| serde_json::to_string(&it.to_body()).unwrap());
        refusal.map(|it| it.replace(&plan.to_string(), "PLAN"))
    };
    let nowhere: PlanId = PlanId::new(uuid::Uuid::from_u128(7));
    let unknown = by_plan(&bob(&world), nowhere).await;
    assert!(unknown.as_ref().unwrap().contains("unknown_plan"));
    for it in [plan(&ada(&world)).await, plan(&root(&world)).await, plan(&world.handle).await] {
        assert_eq!(by_plan(&bob(&world), it).await, unknown);
        let refusal = bob(&world).stored_plan(it).await.unwrap_err();
        assert_eq!(refusal.code(), ErrorCode::UnknownPlan);
        assert_eq!(bob(&world).check_plan(it).await.unwrap_err(), refusal);
        assert_eq!(root(&world).check_plan(it).await, Ok(()));
        assert_eq!(by_plan(&root(&world), it).await, None);
        assert_eq!(by_plan(&world.handle, it).await, None);
    }
    let own = plan(&ada(&world)).await;
    assert_eq!(by_plan(&ada(&world), own).await, None);
    assert_eq!(ada(&world).stored_plan(own).await.unwrap().plan_id, own);
}

#[tokio::test(start_paused = true)]
async fn lists_of_what_is_newest_are_of_their_own() {
    let world = many();
    let before = bob(&world).newest().await.unwrap();
    let made = async |handle: &DispatcherHandle| {
        let id = run(handle, &document("a")).await;
        let plan = handle.plan(&Json::from_value(&document("a")).unwrap()).await.unwrap().plan_id;
        (id.to_string(), plan.to_string())
    };
    let found = async |handle: &DispatcherHandle| {
        let recent = handle.recent_plans(9).await.unwrap();
        let plans = handle.plans_like("").await.unwrap().names;
        assert_eq!(recent.iter().map(|it| it.0.to_string()).collect::<Vec<_>>(), plans);
        (handle.dispatches_like("").await.unwrap().names, plans)
    };
    let (ada_s, _) = (made(&ada(&world)).await, made(&world.handle).await);
    assert_eq!(bob(&world).newest().await.unwrap(), before);
    assert_eq!(found(&bob(&world)).await, (vec![], vec![]));
    assert_eq!(found(&ada(&world)).await, (vec![ada_s.0], vec![ada_s.1]));
    assert_ne!(ada(&world).newest().await.unwrap(), before);
    let all = found(&root(&world)).await;
    assert_eq!((all.0.len(), all.1.len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn each_has_idempotency_keys_of_their_own() {
    let world = many();
    let keyed = |key: &str, text: &str| {
        let mut args = document(text);
        args["idempotency_key"] = json!(key);
        args
    };
    let carried = || Caller { key: Some("k".to_owned()), parent: None };
    let handles = [ada(&world), bob(&world), root(&world), world.handle.clone()];
    let mut ids = BTreeSet::new();
    for (handle, text) in handles.iter().zip(["a", "b", "c", "d"]) {
        let id = call(handle, &keyed("k", text), Caller::default()).await.unwrap();
        assert_eq!(call(handle, &document(text), carried()).await, Ok(id));
        let conflict = call(handle, &keyed("k", "other"), Caller::default()).await.unwrap_err();
        assert_eq!(conflict.code(), ErrorCode::IdempotencyConflict);
        assert!(conflict.to_string().contains(&id.to_string()));
        ids.insert(id);
    }
    // Nobody gets at another's key by spelling it out.
    for key in ["\u{1f}ada\u{1f}k", "\u{1f}\u{1f}ada\u{1f}k", "ada\u{1f}k"] {
        for handle in [&world.handle, &bob(&world)] {
            ids.insert(call(handle, &keyed(key, "a"), Caller::default()).await.unwrap());
        }
    }
    assert_eq!(ids.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn results_are_taken_from_ones_own_only() {
    let world = many();
    let mut reuse = document("a");
    reuse["config"] = json!({ "cache": "reuse" });
    let is_reused = async |handle: &DispatcherHandle| {
        let id = run(handle, &reuse).await;
        let result = handle.result(id).await.unwrap();
        task(&result, "a").reused.clone().map(|it| it.dispatch_id)
    };
    let first = run(&ada(&world), &reuse).await;
    assert_eq!(is_reused(&bob(&world)).await, None);
    assert_eq!(is_reused(&world.handle).await, None);
    assert_eq!(is_reused(&ada(&world)).await, Some(first));
    assert!(is_reused(&root(&world)).await.is_some(), "who sees all shares with all others");
    let above = dispatch(&ada(&world), &document("t !gate")).await;
    world.agents.wait_for_start("t#1").await;
    let id = call(&world.handle, &reuse, below(above, "t")).await.unwrap();
    let result = world.finish(id).await;
    assert_eq!(task(&result, "a").reused.as_ref().unwrap().dispatch_id, first);
}

#[tokio::test(start_paused = true)]
async fn what_comes_of_a_dispatch_belongs_to_whom_it_belongs_to() {
    let world = many();
    let above = dispatch(&ada(&world), &document("t !gate")).await;
    world.agents.wait_for_start("t#1").await;
    let nested = call(&world.handle, &document("x !fail"), below(above, "t")).await.unwrap();
    world.finish(nested).await;
    let again = world.handle.retry(retry_of(nested, None), None).await.unwrap().dispatch;
    let by_root = root(&world).retry(retry_of(nested, None), None).await.unwrap().dispatch;
    for id in [nested, again, by_root] {
        assert_eq!(ada(&world).check_seen(id).await, Ok(()));
        let refusal = bob(&world).result(id).await.unwrap_err();
        assert_eq!(refusal.code(), ErrorCode::UnknownDispatch);
    }
    let own = dispatch(&root(&world), &document("a")).await;
    let row = world.store.dispatch(own).await.unwrap().unwrap();
    assert_eq!(row.caller.as_deref(), Some("root"));
    assert!(ada(&world).result(own).await.is_err());
    let nobodys = run(&world.handle, &document("a !fail")).await;
    let retried = root(&world).retry(retry_of(nobodys, None), None).await.unwrap().dispatch;
    assert_eq!(world.store.dispatch(retried).await.unwrap().unwrap().caller, None);
}

#[tokio::test(start_paused = true)]
async fn nobody_dispatches_below_a_task_of_somebody_else() {
    let world = many();
    let above = dispatch(&ada(&world), &document("t !gate")).await;
    world.agents.wait_for_start("t#1").await;
    let nowhere: DispatchId = "01890000-0000-7000-8000-000000000000".parse().unwrap();
    let mut warnings = Vec::new();
    for parent in [above, nowhere] {
        let id = call(&bob(&world), &document("a"), below(parent, "t")).await.unwrap();
        let result = bob(&world).result(id).await.unwrap();
        assert_eq!(result.parent, None);
        let warning = result.warnings.iter().find(|it| it.contains("stands for itself")).unwrap();
        warnings.push(warning.replace(&parent.to_string(), "PARENT"));
    }
    assert_eq!(warnings[0], warnings[1]);
    assert!(ada(&world).result(above).await.unwrap().results[0].dispatches.is_empty());
}

#[tokio::test(start_paused = true)]
async fn views_hold_over_processes_and_crashes() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let one = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let two = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let id = dispatch(&ada(&one), &document("t !gate")).await;
    one.agents.wait_for_start("t#1").await;
    let request = || CancelRequest { dispatch_id: id, task_ids: None, reason: None };
    let refusal = bob(&two).cancel(request()).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::UnknownDispatch);
    assert!(!ada(&two).wait(id, Duration::from_secs(1)).await.unwrap());
    one.kill().await;
    // The one who asks takes it over, whoever else may be about to.
    let result = ada(&two).cancel(request()).await.unwrap();
    assert_eq!(result.status, crate::model::DispatchStatus::Cancelled);
    let ended = bob(&two).wait(id, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(ended.code(), ErrorCode::UnknownDispatch);
}

#[tokio::test(start_paused = true)]
async fn workers_and_pruning_are_for_those_who_see_all() {
    let world = many();
    let lease = json!({ "lease": "01890000-0000-7000-8000-000000000000" });
    let codes = async |handle: &DispatcherHandle| {
        let with = |field: &str, value: Value| {
            let mut args = lease.clone();
            args[field] = value;
            args
        };
        let (completed, failed) = (with("output", json!(1)), with("message", json!("no")));
        let (worker, lease) = (json!({ "worker": "w" }), Json::from_value(&lease).unwrap());
        let heartbeat = crate::plan::check_heartbeat(&lease).unwrap();
        let completed = Json::from_value(&completed).unwrap();
        let failed = Json::from_value(&failed).unwrap();
        let claim = serde_json::from_value(worker.clone()).unwrap();
        [
            handle.check_claim(&Json::from_value(&worker).unwrap()).unwrap_err().code(),
            handle.claim_task(claim).await.unwrap_err().code(),
            handle.heartbeat(heartbeat).unwrap_err().code(),
            handle
                .complete_task(crate::plan::check_complete(&completed).unwrap())
                .await
                .unwrap_err()
                .code(),
            handle.fail_task(crate::plan::check_fail(&failed).unwrap()).unwrap_err().code(),
        ]
    };
    assert_eq!(codes(&ada(&world)).await, [ErrorCode::NotAllowed; 5]);
    for handle in [root(&world), world.handle.clone()] {
        assert_eq!(codes(&handle).await, [ErrorCode::UnknownAgent; 5]);
        assert!(handle.prune(Retention::default(), PruneMode::DryRun).await.is_ok());
    }
    let refusal = ada(&world).prune(Retention::default(), PruneMode::Remove).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::NotAllowed);
}

#[tokio::test(start_paused = true)]
async fn a_view_is_never_widened() {
    let world = many();
    let id = run(&world.handle, &document("a")).await;
    for identity in [None, Identity::new("root", Sees::All), Identity::new("bob", Sees::Own)] {
        let narrow = ada(&world).seen_by(identity);
        assert!(narrow.result(id).await.is_err() && !narrow.sees_all());
        let own = run(&narrow, &document("a")).await;
        assert!(ada(&world).result(own).await.is_ok());
    }
}

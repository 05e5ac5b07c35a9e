//! What every store must do about tasks: their rows, what is counted of them, their outputs.

use super::{Maintained, OTHER, Store, accepted, claimed, commit, id, moved, output, refuse, task};
use crate::{
    model::{
        AgentName, ApprovalReport, Evidence, EvidenceKind, Failure, FailureCode, MicroUsd, Millis,
        Spend, TaskId, TaskStatus, TaskUsage, Timestamp, Usage,
    },
    ports::{StoreError, TaskRow, Write},
};

pub(in crate::stores) async fn counters_follow_the_tasks(store: Store, _: Maintained) {
    let counts = async || {
        let row = store.dispatch(id(1)).await.unwrap().unwrap();
        (row.n_successful, row.n_unsuccessful)
    };
    commit(&store, vec![accepted(1, 5), moved(1, 0, TaskStatus::Running)]).await;
    assert_eq!(counts().await, (0, 0));
    let ends = [TaskStatus::Success, TaskStatus::Error, TaskStatus::Skipped, TaskStatus::Cancelled];
    commit(&store, (0..).zip(ends).map(|(at, status)| moved(1, at, status)).collect()).await;
    assert_eq!(counts().await, (1, 3));
    commit(&store, vec![moved(1, 0, TaskStatus::Success), moved(1, 1, TaskStatus::Success)]).await;
    assert_eq!(counts().await, (2, 2));
    commit(&store, vec![moved(1, 4, TaskStatus::Success), moved(1, 4, TaskStatus::Running)]).await;
    assert_eq!(counts().await, (2, 2));
}

pub(in crate::stores) async fn task_rows_read_back_whole(store: Store, _: Maintained) {
    let row = TaskRow {
        status: TaskStatus::Error,
        attempts: u32::MAX,
        started_at: Some(Millis(3)),
        ended_at: Some(Millis(u64::MAX)),
        failure: Some(Failure::new(FailureCode::DependencyFailed, "\"a\" failed: größer")),
        caused_by: Some(task(1)),
        reused: None,
        approval: Some(Box::new(ApprovalReport {
            message: "größer?".to_owned(),
            decisions: vec!["approve".to_owned(), "reject".to_owned()],
            until: Some(Timestamp(Millis(86_400_000))),
            decision: Some("approve".to_owned()),
            note: Some(String::new()),
        })),
        usage: Some(Box::new(TaskUsage {
            said: Usage { total_tokens: Some(u64::MAX), ..Usage::default() },
            spent: Spend { tokens: 7, cost: MicroUsd(u64::MAX) },
            reserved: Spend { tokens: 1, cost: MicroUsd(2) },
            nested: Spend { tokens: 3, cost: MicroUsd(4) },
            nested_tasks: 5,
            is_kept: true,
        })),
        evidence: Some(Box::new([Evidence {
            kind: EvidenceKind::Check,
            subject: "tests".to_owned(),
            ok: false,
            detail: Some("it ended with 1".to_owned()),
        }])),
    };
    let write = Write::Task { dispatch: id(1), task: task(0), row: row.clone() };
    commit(&store, vec![accepted(1, 2), write]).await;
    let tasks = store.tasks(id(1)).await.unwrap();
    assert_eq!((&tasks[0].row, tasks[0].task_id.as_str()), (&row, "task-0"));
    commit(&store, vec![moved(1, 0, TaskStatus::Success)]).await;
    assert_eq!(store.tasks(id(1)).await.unwrap()[0].row, super::row(TaskStatus::Success));
}

pub(in crate::stores) async fn outputs_come_in_the_order_asked(store: Store, _: Maintained) {
    commit(&store, vec![accepted(1, 3), output(1, 0, "0"), output(1, 2, "2")]).await;
    let asked = vec![task(2), task(1), task(0), task(2)];
    let found = store.outputs(id(1), asked).await.unwrap();
    let found: Vec<_> = found.iter().map(Option::as_deref).collect();
    assert_eq!(found, [Some("2"), None, Some("0"), Some("2")]);
}

pub(in crate::stores) async fn an_output_is_replaced_by_a_later_attempt(
    store: Store,
    _: Maintained,
) {
    commit(&store, vec![accepted(1, 1), output(1, 0, "1")]).await;
    commit(&store, vec![output(1, 0, "2")]).await;
    let found = store.outputs(id(1), vec![task(0)]).await;
    assert_eq!(found, Ok(vec![Some("2".to_owned())]));
}

pub(in crate::stores) async fn a_large_output_reads_back(store: Store, _: Maintained) {
    let large = "ä".repeat(1_000_000);
    commit(&store, vec![accepted(1, 1), output(1, 0, &large)]).await;
    let found = store.outputs(id(1), vec![task(0)]).await.unwrap();
    assert!(found[0].as_deref() == Some(large.as_str()));
}

pub(in crate::stores) async fn a_dispatch_that_grows_has_its_new_tasks_behind_the_others(
    store: Store,
    _: Maintained,
) {
    commit(&store, vec![accepted(1, 2)]).await;
    let new = |name: &str| (TaskId::new(name), AgentName::new("coder"));
    let grow =
        |json: &str, added| Write::Document { dispatch: id(1), json: json.to_owned(), added };
    let more = grow("more", vec![new("x"), new("y")]);
    commit(&store, vec![more, moved(1, 3, TaskStatus::Success), output(1, 3, "7")]).await;
    assert_eq!(store.document(id(1)).await, Ok(Some("more".to_owned())));
    let row = store.dispatch(id(1)).await.unwrap().unwrap();
    assert_eq!((row.n_tasks, row.n_successful), (4, 1));
    let tasks = store.tasks(id(1)).await.unwrap();
    let names: Vec<_> = tasks.iter().map(|it| it.task_id.as_str()).collect();
    assert_eq!(names, ["task-0", "task-1", "x", "y"]);
    assert_eq!(tasks[2].row.status, TaskStatus::Pending);
    assert_eq!(tasks[3].row.status, TaskStatus::Success);
    commit(&store, vec![grow("same", Vec::new()), moved(1, 2, TaskStatus::Running)]).await;
    assert_eq!(store.document(id(1)).await, Ok(Some("same".to_owned())));
    let beyond = store.commit(vec![moved(1, 4, TaskStatus::Success)].into()).await;
    assert!(matches!(beyond, Err(StoreError::Corrupt(_))), "{beyond:?}");
    let unknown = Write::Document { dispatch: id(9), json: String::new(), added: Vec::new() };
    assert!(store.commit(vec![unknown].into()).await.is_err());
}

pub(in crate::stores) async fn a_document_and_what_reports_need_of_it_are_replaced(
    store: Store,
    _: Maintained,
) {
    let document = |number, json: &str| Write::Document {
        dispatch: id(number),
        json: json.into(),
        added: Vec::new(),
    };
    let meta = |number, json: &str| Write::Meta { dispatch: id(number), json: json.into() };
    commit(&store, vec![accepted(1, 1), accepted(2, 1), document(1, "new"), meta(1, "new")]).await;
    commit(&store, vec![meta(2, "other"), meta(2, "größer")]).await;
    assert_eq!(store.document(id(1)).await, Ok(Some("new".to_owned())));
    assert_eq!(store.document(id(2)).await, Ok(Some(r#"{"number":2}"#.to_owned())));
    let meta_of = async |number| store.dispatch(id(number)).await.unwrap().unwrap().meta;
    assert_eq!((meta_of(1).await.as_str(), meta_of(2).await.as_str()), ("new", "größer"));
    refuse(&store, vec![document(3, "new")]).await;
    refuse(&store, vec![meta(3, "new")]).await;
    let stale = vec![claimed(1, OTHER, 1), document(1, "stale"), meta(1, "stale")];
    store.commit(stale.into()).await.unwrap();
    assert_eq!(store.document(id(1)).await, Ok(Some("new".to_owned())));
    assert_eq!(meta_of(1).await, "new");
}

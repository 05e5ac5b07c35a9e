//! What every store must do about the tasks of a dispatch: their rows, their counts, their outputs.

use super::{Maintained, Store, accepted, commit, id, moved, output, task};
use crate::{
    model::{Failure, FailureCode, MicroUsd, Millis, Spend, TaskStatus, TaskUsage, Usage},
    ports::{TaskRow, Write},
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
        usage: Some(Box::new(TaskUsage {
            said: Usage { total_tokens: Some(u64::MAX), ..Usage::default() },
            spent: Spend { tokens: 7, cost: MicroUsd(u64::MAX) },
            reserved: Spend { tokens: 1, cost: MicroUsd(2) },
            is_kept: true,
        })),
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

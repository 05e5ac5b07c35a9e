//! What every store must do with results that others may take; part of the one suite.

use super::{
    contract::{
        Maintained, OWNER, Store, accepted, commit, ended, id, moved, output, refuse, row, task,
    },
    head::RESULTS_MAX,
};
use crate::{
    model::{DispatchStatus, Millis, Reused, TaskId, TaskStatus, Timestamp, testing::reused_from},
    ports::{Committed, Digest, Epoch, KnownResult, Remember, TaskRow, Write},
};

fn work(number: u64) -> Digest {
    let mut bytes = [5; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Digest(bytes)
}

fn remembered(number: u128, at: usize, work: Digest, evidence: Vec<Digest>) -> Write {
    let (dispatch, task, at) = (id(number), task(at), Millis(u64::from(work.0[7])));
    Write::Remember(Box::new(Remember { dispatch, task, work, at, evidence }))
}

/// The output that is known for some work.
async fn known(store: &Store, number: u64) -> Option<String> {
    store.known_result(work(number)).await.unwrap().map(|it| it.output)
}

pub(super) async fn a_result_is_found_by_its_work(store: Store, _: Maintained) {
    let evidence = vec![Digest([1; 32]), Digest::ABSENT];
    let writes = vec![
        accepted(1, 3),
        output(1, 1, "one"),
        output(1, 2, "two"),
        remembered(1, 1, work(1), evidence.clone()),
        remembered(1, 2, work(2), Vec::new()),
    ];
    commit(&store, writes).await;
    let from =
        Reused { dispatch_id: id(1), task_id: TaskId::new("task-1"), at: Timestamp(Millis(1)) };
    let wanted = KnownResult { from, output: "one".to_owned(), evidence };
    assert_eq!(store.known_result(work(1)).await, Ok(Some(wanted)));
    assert_eq!(store.known_result(work(2)).await.unwrap().unwrap().evidence, []);
    assert_eq!(store.known_result(work(3)).await, Ok(None));
}

pub(super) async fn a_later_result_of_the_same_work_takes_its_place(store: Store, _: Maintained) {
    let remember = |number| {
        let result = remembered(number, 0, work(1), Vec::new());
        vec![accepted(number, 1), output(number, 0, &number.to_string()), result]
    };
    commit(&store, remember(1)).await;
    commit(&store, remember(2)).await;
    assert_eq!(known(&store, 1).await.as_deref(), Some("2"));
}

pub(super) async fn a_result_goes_with_its_dispatch(store: Store, upkeep: Maintained) {
    for number in 1..=2 {
        let result = remembered(number, 0, work(u64::try_from(number).unwrap()), Vec::new());
        let end = ended(number, DispatchStatus::Success, Millis(5));
        commit(&store, vec![accepted(number, 1), output(number, 0, "x"), result, end]).await;
    }
    upkeep.forget(vec![id(1)]).await.unwrap();
    assert_eq!(known(&store, 1).await, None);
    while !upkeep.sweep(Millis(0)).await.unwrap().is_done {}
    assert_eq!(known(&store, 1).await, None);
    assert_eq!(known(&store, 2).await.as_deref(), Some("x"));
}

pub(super) async fn only_so_many_results_are_kept(store: Store, _: Maintained) {
    commit(&store, vec![accepted(1, 1), output(1, 0, "x")]).await;
    let numbers = 0..RESULTS_MAX as u64 + 3;
    let results = numbers.map(|it| remembered(1, 0, work(it), Vec::new()));
    commit(&store, results.collect()).await;
    for (number, is_known) in [(0, false), (2, false), (3, true), (RESULTS_MAX as u64 + 2, true)] {
        assert_eq!(known(&store, number).await.is_some(), is_known, "{number}");
    }
}

pub(super) async fn a_result_that_its_owner_did_not_write_is_not_found(
    store: Store,
    _: Maintained,
) {
    commit(&store, vec![accepted(1, 1), output(1, 0, "x")]).await;
    let stale = Write::Claim { dispatch: id(1), owner: OWNER, epoch: Epoch(9) };
    let writes = vec![stale, remembered(1, 0, work(1), Vec::new())];
    let fenced = Committed { fenced: vec![id(1)], ..Committed::default() };
    assert_eq!(store.commit(writes.into()).await, Ok(fenced));
    refuse(&store, vec![remembered(1, 1, work(1), Vec::new())]).await;
    refuse(&store, vec![remembered(2, 0, work(1), Vec::new())]).await;
    assert_eq!(known(&store, 1).await, None);
}

pub(super) async fn a_row_says_where_its_result_was_taken_from(store: Store, _: Maintained) {
    let reused = TaskRow { reused: Some(Box::new(reused_from())), ..row(TaskStatus::Success) };
    let write = Write::Task { dispatch: id(1), task: task(0), row: reused.clone() };
    commit(&store, vec![accepted(1, 2), write]).await;
    assert_eq!(store.tasks(id(1)).await.unwrap()[0].row, reused);
    let (_, tasks) = store.overview(id(1)).await.unwrap().unwrap();
    assert_eq!((&tasks[0].row, &tasks[1].row.reused), (&reused, &None));
    commit(&store, vec![moved(1, 0, TaskStatus::Success)]).await;
    assert_eq!(store.tasks(id(1)).await.unwrap()[0].row.reused, None);
}

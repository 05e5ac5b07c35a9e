//! What every store must do about plans and about what is old.

use uuid::Uuid;

use super::{
    Maintained, OTHER, OWNER, Store, accept, accepted, accepted_with_key, commit, ended,
    everything, id, kept, numbers, output, record, seqs, task,
};
use crate::{
    model::{DispatchStatus, Millis, PlanId},
    ports::{Accept, EndedDispatch, OpenOwner, OwnerId, StoredPlan, Write},
};

pub(in crate::stores) async fn plans_read_back(store: Store, _: Maintained) {
    let plan = |number, document: &str| Write::Plan {
        plan: PlanId::new(Uuid::from_u128(number)),
        at: Millis(1),
        document: document.to_owned(),
        caller: None,
    };
    commit(&store, vec![plan(1, "one"), plan(2, "two")]).await;
    let found = store.plan(PlanId::new(Uuid::from_u128(2))).await;
    assert_eq!(found, Ok(Some(StoredPlan { document: "two".to_owned(), caller: None })));
    let of_ada = Write::Plan {
        plan: PlanId::new(Uuid::from_u128(3)),
        at: Millis(1),
        document: "three".to_owned(),
        caller: Some("ada".into()),
    };
    commit(&store, vec![of_ada]).await;

    let recent = async |caller: Option<&str>, before: Option<u128>, limit| {
        let before = before.map(|it| PlanId::new(Uuid::from_u128(it)));
        let found = store.recent_plans(caller.map(Into::into), before, limit).await.unwrap();
        found.iter().map(|it| (it.0.to_string(), it.1)).collect::<Vec<_>>()
    };
    let id = |number: u128| (Uuid::from_u128(number).to_string(), Millis(1));
    assert_eq!(recent(None, None, 9).await, [id(3), id(2), id(1)]);
    assert_eq!(recent(None, None, 1).await, [id(3)]);
    assert_eq!(recent(None, Some(2), 9).await, [id(1)]);
    assert_eq!(recent(Some("ada"), None, 9).await, [id(3)]);
    assert_eq!(recent(Some("ada"), Some(3), 9).await, []);
}

pub(in crate::stores) async fn what_ended_first_comes_first(store: Store, upkeep: Maintained) {
    commit(&store, (1..=5).map(|it| accepted(it, 1)).collect()).await;
    for (number, at) in [(1, 30), (2, 10), (3, 20), (4, 10)] {
        commit(&store, vec![ended(number, DispatchStatus::Success, Millis(at))]).await;
    }
    let found = async |before, after, limit| {
        let found = upkeep.ended(Millis(before), after, limit).await.unwrap();
        let number = |it: &EndedDispatch| u128::from_be_bytes(*it.dispatch.as_bytes());
        found.iter().map(number).collect::<Vec<_>>()
    };
    assert_eq!(found(u64::MAX, None, 9).await, [2, 4, 3, 1]);
    assert_eq!(found(20, None, 9).await, [2, 4]);
    assert_eq!(found(u64::MAX, Some((Millis(10), id(2))), 2).await, [4, 3]);
    assert_eq!(upkeep.usage().await.unwrap().n_ended, 4);
    let first = upkeep.ended(Millis(11), None, 1).await.unwrap().remove(0);
    assert_eq!((first.created_at, first.ended_at, first.n_tasks), (Millis(1_000), Millis(10), 1));
    assert_eq!((first.status, first.meta.as_str()), (DispatchStatus::Success, "{}"));
}

pub(in crate::stores) async fn a_forgotten_dispatch_is_gone_with_its_key(
    store: Store,
    upkeep: Maintained,
) {
    commit(&store, vec![accepted_with_key(1, "key"), record(1, 1, kept(0)), output(1, 0, "1")])
        .await;
    commit(&store, vec![accepted(2, 1)]).await;
    upkeep.forget(vec![id(1), id(2), id(3)]).await.unwrap();
    assert!(store.dispatch(id(1)).await.unwrap().is_some(), "an open dispatch was forgotten");
    commit(&store, vec![ended(1, DispatchStatus::Success, Millis(5))]).await;
    assert!(upkeep.size_of(id(1)).await.unwrap() > 0);
    upkeep.forget(vec![id(1), id(2)]).await.unwrap();
    assert_eq!(numbers(&store.recent(None, None, 9).await.unwrap()), [2]);
    assert_eq!(store.dispatch(id(1)).await, Ok(None));
    assert_eq!(store.document(id(1)).await, Ok(None));
    assert_eq!(store.outputs(id(1), vec![task(0)]).await, Ok(vec![None]));
    assert_eq!(store.by_idempotency_key("key".to_owned()).await, Ok(None));
    assert_eq!(upkeep.size_of(id(1)).await, Ok(0));
    // Before anything is swept, the key and the rows are free for others.
    commit(&store, vec![accepted_with_key(3, "key"), record(3, 1, kept(0)), output(3, 0, "3")])
        .await;
    assert_eq!(sweep(&upkeep, Millis(0)).await, 0);
    assert_eq!(store.outputs(id(3), vec![task(0)]).await, Ok(vec![Some("3".to_owned())]));
    assert_eq!(seqs(&store, 3, everything()).await, [1]);
    assert_eq!(store.tasks(id(3)).await.unwrap().len(), 1);
}

pub(in crate::stores) async fn sweeping_leaves_what_is_kept(store: Store, upkeep: Maintained) {
    let plan = |number: u64| {
        let document = "x".repeat(600_000);
        Write::Plan {
            plan: PlanId::new(Uuid::from_u128(number.into())),
            at: Millis(number),
            document,
            caller: None,
        }
    };
    commit(&store, (1..=9).map(plan).collect()).await;
    for number in 1..=3 {
        commit(&store, vec![accepted(number, 3_000)]).await;
        let records = (1..=3_000).map(|seq| record(number, seq, kept(0)));
        let outputs = (0..3).map(|at| output(number, at, &"x".repeat(500_000)));
        commit(&store, records.chain(outputs).collect()).await;
    }
    let full = upkeep.usage().await.unwrap();
    let status = DispatchStatus::Success;
    commit(&store, vec![ended(1, status, Millis(5)), ended(3, status, Millis(6))]).await;
    upkeep.forget(vec![id(1), id(3)]).await.unwrap();
    assert_eq!(sweep(&upkeep, Millis(8)).await, 7);
    while !upkeep.shrink().await.unwrap() {}
    let left = upkeep.usage().await.unwrap();
    assert!(left.bytes_used * 2 < full.bytes_used, "{left:?} of {full:?}");
    assert!(left.bytes_taken * 2 < full.bytes_taken, "{left:?} of {full:?}");
    assert_eq!(store.tasks(id(2)).await.unwrap().len(), 3_000);
    assert_eq!(seqs(&store, 2, everything()).await.len(), 3_000);
    let found = store.outputs(id(2), vec![task(2)]).await.unwrap();
    assert_eq!(found[0].as_ref().map(String::len), Some(500_000));
    for (number, is_kept) in [(7, false), (8, true)] {
        let found = store.plan(PlanId::new(Uuid::from_u128(number))).await.unwrap();
        assert_eq!(found.is_some(), is_kept, "plan {number}");
    }
}

pub(in crate::stores) async fn the_size_of_a_dispatch_grows_with_what_is_written(
    store: Store,
    upkeep: Maintained,
) {
    let size = async || upkeep.size_of(id(1)).await.unwrap();
    let used = async || upkeep.usage().await.unwrap().bytes_used;
    let document = "x".repeat(20_000);
    let accept = Accept { document, ..accept(1, 2) };
    commit(&store, vec![Write::Accept(Box::new(accept)), accepted(2, 2)]).await;
    let (first, first_used) = (size().await, used().await);
    assert!((20_000..20_500).contains(&first), "{first}");
    commit(&store, vec![output(1, 0, &"x".repeat(10_000)), output(2, 0, "2")]).await;
    let second = size().await;
    assert!((10_000..10_500).contains(&(second - first)), "{first}, then {second}");
    commit(&store, vec![output(1, 1, &"x".repeat(30_000)), record(1, 1, kept(0))]).await;
    let third = size().await;
    assert!((30_000..30_500).contains(&(third - second)), "{second}, then {third}");
    let last_used = used().await;
    assert!(last_used >= first_used + 30_000, "{first_used}, then {last_used}");
    assert!(upkeep.size_of(id(2)).await.unwrap() < 500);
}

pub(in crate::stores) async fn sweeping_forgets_processes_that_are_long_gone(
    store: Store,
    upkeep: Maintained,
) {
    let third = OwnerId(Uuid::from_u128(9));
    let lease = |owner, until| Write::Lease { owner, pid: 1, until: Millis(until) };
    commit(&store, vec![accepted(1, 1), lease(OWNER, 5), lease(OTHER, 7), lease(third, 8)]).await;
    sweep(&upkeep, Millis(8)).await;
    let of = |number, owner| Write::Accept(Box::new(Accept { owner, ..accept(number, 1) }));
    commit(&store, vec![of(2, OTHER), of(3, third)]).await;
    let known = |owner, until: Option<u64>| OpenOwner { owner, lease_until: until.map(Millis) };
    // The first one owned an open dispatch, which tells that it was there.
    let wanted = vec![known(OWNER, Some(5)), known(OTHER, None), known(third, Some(8))];
    assert_eq!(store.open_owners().await, Ok(wanted));
}

/// Sweeps until nothing is left, and answers how many plans went.
async fn sweep(upkeep: &Maintained, plans_before: Millis) -> usize {
    let mut n_plans = 0;
    loop {
        let swept = upkeep.sweep(plans_before).await.unwrap();
        n_plans += swept.n_plans;
        if swept.is_done {
            return n_plans;
        }
    }
}

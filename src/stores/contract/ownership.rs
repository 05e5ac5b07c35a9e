//! What every store must do about owners: open dispatches, epochs, leases, requests, word of changes.

use std::time::Duration;

use uuid::Uuid;

use super::{
    Maintained, OTHER, OWNER, Store, accepted, adopted, claimed, commit, ended, everything, id,
    kept, moved, numbers, output, record, refuse, seqs, task, tenure,
};
use crate::{
    model::{DispatchStatus, Millis, TaskStatus},
    ports::{
        Asked, Committed, OpenOwner, OwnerId, Request, RequestId, RequestState, Tenure, Write,
    },
};

pub(in crate::stores) async fn an_ended_dispatch_is_no_longer_open(store: Store, _: Maintained) {
    commit(&store, vec![accepted(2, 1), accepted(1, 1), accepted(3, 1)]).await;
    assert_eq!(numbers(&store.open_dispatches().await.unwrap()), [1, 2, 3]);
    let (status, at) = (DispatchStatus::Partial, Millis(5));
    commit(&store, vec![ended(2, status, at)]).await;
    assert_eq!(numbers(&store.open_dispatches().await.unwrap()), [1, 3]);
    let ended = store.dispatch(id(2)).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.ended_at), (status, Some(at)));
    assert_eq!(ended.critical_path, Millis(7));
}

pub(in crate::stores) async fn an_adopted_dispatch_has_its_new_owner_in_the_next_epoch(
    store: Store,
    _: Maintained,
) {
    commit(&store, vec![accepted(1, 1), record(1, 1, kept(0)), accepted(2, 1)]).await;
    let writes = vec![adopted(1, tenure(OWNER, 1, 1), OTHER), record(1, 2, kept(0))];
    commit(&store, writes).await;
    assert_eq!(tenure_of(&store, 1).await, tenure(OTHER, 2, 2));
    assert_eq!(tenure_of(&store, 2).await, tenure(OWNER, 1, 0));
    commit(&store, vec![claimed(1, OTHER, 2), record(1, 3, kept(0))]).await;
}

pub(in crate::stores) async fn one_of_two_adopters_wins(store: Store, _: Maintained) {
    commit(&store, vec![accepted(1, 1), accepted(2, 1)]).await;
    let found = tenure(OWNER, 1, 0);
    commit(&store, vec![adopted(1, found, OTHER)]).await;
    let third = OwnerId(Uuid::from_u128(9));
    let late = vec![
        adopted(1, found, third),
        record(1, 1, kept(0)),
        output(1, 0, "{}"),
        adopted(2, found, third),
        record(2, 1, kept(0)),
    ];
    let answer = store.commit(late.into()).await;
    assert_eq!(answer, Ok(Committed { lost: vec![id(1)], ..Committed::default() }));
    assert_eq!(tenure_of(&store, 1).await, tenure(OTHER, 2, 0));
    assert_eq!(tenure_of(&store, 2).await, tenure(third, 2, 1));
    assert_eq!(store.outputs(id(1), vec![task(0)]).await, Ok(vec![None]));
}

pub(in crate::stores) async fn what_went_on_or_ended_is_not_adopted(store: Store, _: Maintained) {
    commit(&store, vec![accepted(1, 1), record(1, 1, kept(0))]).await;
    let lost = Ok(Committed { lost: vec![id(1)], ..Committed::default() });
    let adopt = |seq| vec![adopted(1, tenure(OWNER, 1, seq), OTHER)];
    assert_eq!(store.commit(adopt(0).into()).await, lost);
    commit(&store, vec![ended(1, DispatchStatus::Success, Millis(5))]).await;
    assert_eq!(store.commit(adopt(1).into()).await, lost);
    assert_eq!(tenure_of(&store, 1).await, tenure(OWNER, 1, 1));
}

pub(in crate::stores) async fn a_stale_owner_writes_nothing(store: Store, _: Maintained) {
    commit(&store, vec![accepted(1, 1), accepted(2, 1)]).await;
    commit(&store, vec![claimed(1, OWNER, 1), record(1, 1, kept(0))]).await;
    commit(&store, vec![adopted(1, tenure(OWNER, 1, 1), OTHER)]).await;
    let stale = vec![
        claimed(1, OWNER, 1),
        claimed(2, OWNER, 1),
        record(1, 2, kept(0)),
        output(1, 0, "{}"),
        moved(1, 0, TaskStatus::Success),
        ended(1, DispatchStatus::Success, Millis(5)),
        record(2, 1, kept(0)),
    ];
    let answer = store.commit(stale.into()).await;
    assert_eq!(answer, Ok(Committed { fenced: vec![id(1)], ..Committed::default() }));
    let row = store.dispatch(id(1)).await.unwrap().unwrap();
    assert_eq!((row.status, row.n_successful), (DispatchStatus::Running, 0));
    assert_eq!(store.outputs(id(1), vec![task(0)]).await, Ok(vec![None]));
    assert_eq!(seqs(&store, 1, everything()).await, [1]);
    assert_eq!(seqs(&store, 2, everything()).await, [1]);
    // The same process in an older epoch is stale, too.
    commit(&store, vec![adopted(1, tenure(OTHER, 2, 1), OWNER)]).await;
    let answer = store.commit(vec![claimed(1, OWNER, 1), record(1, 2, kept(0))].into()).await;
    assert_eq!(answer, Ok(Committed { fenced: vec![id(1)], ..Committed::default() }));
    commit(&store, vec![claimed(1, OWNER, 3), record(1, 2, kept(0))]).await;
}

pub(in crate::stores) async fn leases_are_told_of_owners_of_open_dispatches_only(
    store: Store,
    _: Maintained,
) {
    let lease = |owner, until| Write::Lease { owner, pid: 1, until: Millis(until) };
    commit(&store, vec![lease(OWNER, 5), lease(OTHER, 6)]).await;
    assert_eq!(store.open_owners().await, Ok(Vec::new()));
    commit(&store, vec![accepted(1, 1), accepted(2, 1), lease(OWNER, 7)]).await;
    let known = OpenOwner { owner: OWNER, lease_until: Some(Millis(7)) };
    assert_eq!(store.open_owners().await, Ok(vec![known]));
    let third = OwnerId(Uuid::from_u128(9));
    commit(&store, vec![adopted(2, tenure(OWNER, 1, 0), third)]).await;
    let unknown = OpenOwner { owner: third, lease_until: None };
    assert_eq!(store.open_owners().await, Ok(vec![known, unknown]));
    commit(&store, vec![ended(1, DispatchStatus::Success, Millis(5))]).await;
    assert_eq!(store.open_owners().await, Ok(vec![unknown]));
}

fn asked(name: u128, number: u128, request: Request) -> Asked {
    Asked { id: RequestId(Uuid::from_u128(name)), dispatch: id(number), request }
}

fn cancel(at: usize) -> Request {
    Request::Cancel { tasks: vec![task(at)], reason: "größer".to_owned() }
}

fn handled(of: &Asked, refusal: Option<&str>) -> Write {
    let refusal = refusal.map(str::to_owned);
    Write::RequestHandled { dispatch: of.dispatch, request: of.id, refusal }
}

fn request(of: &Asked) -> Write {
    Write::Request(Box::new(of.clone()))
}

pub(in crate::stores) async fn requests_wait_for_the_owner(store: Store, _: Maintained) {
    let (decision, note) = ("approve".to_owned(), String::new());
    let decide = Request::Decide { task: task(0), decision, note };
    let all = [asked(9, 1, cancel(0)), asked(8, 2, decide), asked(7, 1, cancel(0))];
    let requests = async |owner| store.requests(owner).await.unwrap();
    commit(&store, vec![accepted(1, 1), accepted(2, 1)]).await;
    commit(&store, all.iter().map(request).collect()).await;
    assert_eq!(requests(OWNER).await, all);
    assert_eq!(requests(OTHER).await, []);
    commit(&store, vec![adopted(2, tenure(OWNER, 1, 0), OTHER)]).await;
    commit(&store, vec![handled(&all[0], None)]).await;
    assert_eq!(requests(OWNER).await, [all[2].clone()]);
    assert_eq!(requests(OTHER).await, [all[1].clone()]);
    refuse(&store, vec![request(&asked(6, 1, cancel(1)))]).await;
    refuse(&store, vec![request(&asked(6, 3, cancel(0)))]).await;
}

pub(in crate::stores) async fn a_refused_request_says_why(store: Store, upkeep: Maintained) {
    let one = asked(1, 1, cancel(0));
    commit(&store, vec![accepted(1, 1)]).await;
    assert_eq!(store.request(one.id).await, Ok(None));
    commit(&store, vec![request(&one)]).await;
    assert_eq!(store.request(one.id).await, Ok(Some(RequestState::Waits)));
    commit(&store, vec![handled(&one, Some("{}"))]).await;
    assert_eq!(store.request(one.id).await, Ok(Some(RequestState::Refused("{}".to_owned()))));
    assert_eq!(store.requests(OWNER).await, Ok(Vec::new()));
    commit(&store, vec![ended(1, DispatchStatus::Success, Millis(5))]).await;
    upkeep.forget(vec![id(1)]).await.unwrap();
    while !upkeep.sweep(Millis(0)).await.unwrap().is_done {}
    assert_eq!(store.request(one.id).await, Ok(None));
}

pub(in crate::stores) async fn changes_are_heard_of_once_and_none_is_missed(
    store: Store,
    _: Maintained,
) {
    commit(&store, vec![accepted(1, 1)]).await;
    let mut changes = store.changes();
    for seq in 1..=20 {
        let written = commit(&store, vec![record(1, seq, kept(0))]);
        let heard = async {
            while seqs(&store, 1, everything()).await.len() as u64 != seq {
                changes.next().await;
            }
        };
        let both = async { tokio::join!(written, heard) };
        tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    }
}

async fn tenure_of(store: &Store, number: u128) -> Tenure {
    store.dispatch(id(number)).await.unwrap().unwrap().tenure
}

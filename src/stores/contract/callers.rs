//! What every store must do about whom dispatches and plans belong to.

use std::sync::Arc;

use uuid::Uuid;

use super::{Maintained, Store, accept, accepted, commit, ended, id, numbers, tenure};
use crate::{
    model::{DispatchStatus, Millis, PlanId},
    ports::{Accept, OwnerId, StoredPlan, Write},
};

fn of(number: u128, caller: &str) -> Write {
    Write::Accept(Box::new(Accept { caller: Some(caller.into()), ..accept(number, 1) }))
}

pub(in crate::stores) async fn a_dispatch_stays_with_its_caller(store: Store, _: Maintained) {
    commit(&store, vec![of(1, "größer"), accepted(2, 1)]).await;
    let owner = OwnerId(Uuid::from_u128(9));
    commit(&store, vec![super::adopted(1, tenure(super::OWNER, 1, 0), owner)]).await;
    commit(&store, vec![ended(1, DispatchStatus::Success, Millis(5))]).await;
    let caller = async |number| store.dispatch(id(number)).await.unwrap().unwrap().caller;
    assert_eq!((caller(1).await.as_deref(), caller(2).await), (Some("größer"), None));
    let (row, _) = store.overview(id(1)).await.unwrap().unwrap();
    assert_eq!(row.caller.as_deref(), Some("größer"));
    let open = store.open_dispatches().await.unwrap();
    assert_eq!(open[0].caller, None);
}

pub(in crate::stores) async fn lists_of_one_caller_hold_nobody_elses(
    store: Store,
    upkeep: Maintained,
) {
    let callers = ["ada", "bob", "ada", "Ada", "ada", "bob"];
    commit(&store, (1..).zip(callers).map(|(number, it)| of(number, it)).collect()).await;
    commit(&store, vec![accepted(7, 1)]).await;
    let list = async |caller: &str, before: Option<u128>, limit| {
        let caller = Some(Arc::from(caller));
        numbers(&store.recent(caller, before.map(id), limit).await.unwrap())
    };
    assert_eq!(list("ada", None, 9).await, [5, 3, 1]);
    assert_eq!(list("ada", None, 2).await, [5, 3]);
    assert_eq!(list("ada", Some(3), 2).await, [1]);
    assert_eq!(list("bob", Some(6), 9).await, [2]);
    assert_eq!(list("eve", None, 9).await, [0; 0]);
    assert_eq!(list("", None, 9).await, [0; 0]);
    assert_eq!(numbers(&store.recent(None, None, 9).await.unwrap()), [7, 6, 5, 4, 3, 2, 1]);
    commit(&store, vec![ended(3, DispatchStatus::Success, Millis(5))]).await;
    upkeep.forget(vec![id(3)]).await.unwrap();
    assert_eq!(list("ada", None, 9).await, [5, 1]);
}

pub(in crate::stores) async fn a_plan_stays_with_its_caller(store: Store, _: Maintained) {
    let plan = PlanId::new(Uuid::from_u128(1));
    let caller: Option<Arc<str>> = Some("ada".into());
    let document = "one".to_owned();
    let write = Write::Plan { plan, at: Millis(1), document, caller: caller.clone() };
    commit(&store, vec![write]).await;
    let stored = StoredPlan { document: "one".to_owned(), caller };
    assert_eq!(store.plan(plan).await, Ok(Some(stored)));
}

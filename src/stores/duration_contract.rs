//! What every store must do with the durations of attempts; part of the one suite.

use std::sync::Arc;

use super::{
    contract::{Maintained, Store, accepted, commit, kept, record, refuse},
    head::KINDS_MAX,
};
use crate::{
    model::{AgentName, DurationKey, Durations, Millis},
    ports::Write,
};

/// A sample of `coder`'s work, with its time and span.
pub(super) fn took(kind: &str, size: u8, (at, took): (u64, u64)) -> Write {
    let key = DurationKey { agent: AgentName::new("coder"), kind: kind.to_owned(), size };
    Write::Duration { key: Arc::new(key), at: Millis(at), took: Millis(took) }
}

pub(super) async fn durations_add_up_by_kind(store: Store, _: Maintained) {
    let writes = vec![
        accepted(1, 1),
        took("Effect", 8, (1, 100)),
        took("Reducer", 8, (1, 7)),
        took("Effect", 8, (2, 400)),
        took("Effect", 9, (2, 900)),
    ];
    commit(&store, writes).await;
    commit(&store, vec![took("Effect", 8, (3, 1_600))]).await;
    let found = store.durations(vec![AgentName::new("coder")]).await.unwrap();
    let shown: Vec<_> =
        found.iter().map(|(key, it)| (key.kind.as_str(), key.size, it.n_samples())).collect();
    assert_eq!(shown, [("Effect", 8, 3), ("Effect", 9, 1), ("Reducer", 8, 1)]);
    let mut wanted = Durations::default();
    for it in [100, 400, 1_600] {
        wanted.add(Millis(it));
    }
    assert_eq!(found[0].1, wanted);
    assert_eq!(store.durations(vec![AgentName::new("debug")]).await, Ok(Vec::new()));
    assert_eq!(store.durations(Vec::new()).await, Ok(Vec::new()));
}

pub(super) async fn the_durations_of_a_refused_commit_do_not_count(store: Store, _: Maintained) {
    refuse(&store, vec![took("Effect", 8, (1, 100)), record(1, 1, kept(0))]).await;
    assert_eq!(store.durations(vec![AgentName::new("coder")]).await, Ok(Vec::new()));
}

pub(super) async fn only_so_many_kinds_of_an_agent_are_kept(store: Store, _: Maintained) {
    let kinds = 0..KINDS_MAX as u64 + 5;
    let sample = |it: u64| took(&format!("kind-{it:04}"), 8, (it, 100));
    commit(&store, kinds.clone().map(sample).collect()).await;
    let found = store.durations(vec![AgentName::new("coder")]).await.unwrap();
    assert_eq!(found.len(), KINDS_MAX);
    assert!(found.iter().all(|it| it.0.kind.as_str() >= "kind-0005"), "the oldest must go first");
}

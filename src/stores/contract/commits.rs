//! What every store must do about commits as such.

use super::{
    Maintained, Store, accepted, commit, everything, id, kept, output, record, seqs, task,
};
use crate::ports::Committed;

pub(in crate::stores) async fn concurrent_commits_are_all_answered_and_readable(
    store: Store,
    _: Maintained,
) {
    let mut commits = tokio::task::JoinSet::new();
    for number in 1..=64 {
        let writes = vec![accepted(number, 1), record(number, 1, kept(0)), output(number, 0, "1")];
        commits.spawn(store.commit(writes.into()));
    }
    for answer in commits.join_all().await {
        assert_eq!(answer, Ok(Committed::default()));
    }
    for number in 1..=64 {
        assert_eq!(seqs(&store, number, everything()).await, [1]);
        let found = store.outputs(id(number), vec![task(0)]).await;
        assert_eq!(found, Ok(vec![Some("1".to_owned())]));
    }
}

pub(in crate::stores) async fn an_empty_commit_is_answered(store: Store, _: Maintained) {
    commit(&store, Vec::new()).await;
    assert_eq!(store.recent(None, None, 1).await, Ok(Vec::new()));
}

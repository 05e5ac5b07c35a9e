//! Word of changes in the resources that one client subscribed to.

use std::time::Duration;

use futures::{
    StreamExt as _, future,
    stream::{self, BoxStream},
};
use tokio::time::Instant;
use tokio_stream::StreamMap;

use super::uri::ResourceUri;
use crate::{
    model::Refusal,
    runtime::{DispatcherHandle, Newest, Watch},
};

/// The lists are looked at once in this time, and what changes meanwhile is told as one change.
const LISTS_INTERVAL: Duration = Duration::from_secs(1);

/// The changes of one resource.
pub(super) type Changes = BoxStream<'static, ()>;

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The resource of this URI has changed.
    Updated(String),
    /// Other resources are listed now, or they are described otherwise.
    ListChanged,
}

/// All that one client subscribed to.
#[derive(Default)]
pub(super) struct Feed {
    resources: StreamMap<String, Changes>,
    lists: Option<Changes>,
}

impl Feed {
    pub(super) fn add(&mut self, uri: String, changes: Changes) {
        self.resources.insert(uri, changes);
    }

    pub(super) fn remove(&mut self, uri: &str) {
        self.resources.remove(uri);
    }

    pub(super) fn has(&self, uri: &str) -> bool {
        self.resources.contains_key(uri)
    }

    /// How many resources are subscribed to.
    pub(super) fn len(&self) -> usize {
        self.resources.len()
    }

    /// Follows the lists from now on; twice is once.
    pub(super) async fn follow_lists(&mut self, handle: DispatcherHandle) {
        if self.lists.is_none() {
            let watch = handle.watch_lists().await;
            let seen = handle.newest().await.unwrap_or_default();
            let lists = Lists { handle, watch, seen, looked_at: None, is_unread: false };
            self.lists = Some(stream::unfold(lists, Lists::next).boxed());
        }
    }

    /// What is new; waits for ever where nothing is subscribed to. Dropping the future loses
    /// nothing.
    pub(super) async fn next(&mut self) -> News {
        let Self { resources, lists } = self;
        let lists = async {
            match lists {
                Some(lists) => lists.next().await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            Some((uri, ())) = resources.next() => News::Updated(uri),
            Some(()) = lists => News::ListChanged,
            else => future::pending().await,
        }
    }
}

/// The changes of a resource, if it is there.
pub(super) async fn changes_of(
    handle: &DispatcherHandle,
    uri: &ResourceUri,
) -> Result<Changes, Refusal> {
    match uri {
        ResourceUri::Agents => Ok(stream::pending().boxed()),
        // A plan stays as it is.
        ResourceUri::Plan(id) => handle.check_plan(*id).await.map(|()| stream::pending().boxed()),
        ResourceUri::Dispatch(id) => handle.watch_dispatch(*id).await.map(changes),
        ResourceUri::Task(id, task) | ResourceUri::Trace(id, task) => {
            handle.watch_task(*id, task).await.map(changes)
        }
    }
}

fn changes(watch: Watch) -> Changes {
    let next = |mut watch: Watch| async {
        watch.changed().await;
        Some(((), watch))
    };
    stream::unfold(watch, next).boxed()
}

/// The lists as one client sees them.
struct Lists {
    handle: DispatcherHandle,
    watch: Watch,
    seen: Newest,
    looked_at: Option<Instant>,
    /// Whether a change was heard of that could not be looked at.
    is_unread: bool,
}

impl Lists {
    async fn next(mut self) -> Option<((), Self)> {
        loop {
            if !self.is_unread {
                self.watch.changed().await;
            }
            if let Some(at) = self.looked_at {
                tokio::time::sleep_until(at + LISTS_INTERVAL).await;
            }
            // What others dispatched is nothing new for whoever does not see it.
            self.looked_at = Some(Instant::now());
            let newest = self.handle.newest().await;
            self.is_unread = newest.is_err();
            let Ok(newest) = newest else { continue };
            if newest != self.seen {
                self.seen = newest;
                return Some(((), self));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::testing::{World, document, pass};

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_lists_that_cannot_be_looked_at_is_told_later() {
        let [ours, theirs] = World::two();
        let mut feed = Feed::default();
        feed.follow_lists(ours.handle.clone()).await;
        // The one who looks for all reads twice, and then nobody can for a while.
        ours.fail_reads_after(2);
        theirs.dispatch(&document("a !hang")).await.unwrap();
        let quiet = tokio::time::timeout(LISTS_INTERVAL * 5, feed.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        ours.break_reads(false);
        pass(LISTS_INTERVAL * 60).await;
        let told = tokio::time::timeout(LISTS_INTERVAL * 5, feed.next()).await;
        assert_eq!(told, Ok(News::ListChanged));
    }
}

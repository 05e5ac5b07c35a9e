//! `resources/subscribe` of the revisions with sessions: one task for each session tells its news.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use rmcp::{
    ErrorData, Peer, RoleServer, model::ResourceUpdatedNotificationParam, service::ServiceError,
};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::{
    fault::to_error,
    feed::{Changes, Feed, News, changes_of},
    uri::ResourceUri,
};
use crate::runtime::DispatcherHandle;

/// How many resources one session, or one `subscriptions/listen`, may subscribe to.
pub(super) const SUBSCRIPTIONS_MAX: usize = 100;
/// How many `subscriptions/listen` one session may have at once. Over HTTP, where every call is a
/// session of its own, each of them holds a connection, and of those there are so many as settings
/// allow.
const LISTENS_MAX: usize = 16;
/// How many wishes of one session wait at most.
const ORDERS_MAX: usize = 16;

/// What one session subscribed to; all of it ends with the last clone.
#[derive(Clone, Debug)]
pub(in crate::mcp) struct Subscriptions {
    desk: Arc<OnceLock<Desk>>,
    listens: Arc<Semaphore>,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self { desk: Arc::default(), listens: Arc::new(Semaphore::new(LISTENS_MAX)) }
    }
}

impl Subscriptions {
    /// Tells the session from now on when the resource changes; twice is once.
    pub(in crate::mcp) async fn subscribe(
        &self,
        handle: &DispatcherHandle,
        uri: String,
        peer: &Peer<RoleServer>,
    ) -> Result<(), ErrorData> {
        let named = ResourceUri::parse(&uri)?;
        let changes = changes_of(handle, &named).await.map_err(|it| to_error(&it))?;
        let (reply, answer) = oneshot::channel();
        self.order(peer, Order::Subscribe { uri, changes, reply }).await;
        if answer.await.unwrap_or(Taken::Is) == Taken::IsFull {
            let message = format!(
                "the session has {SUBSCRIPTIONS_MAX} subscriptions, as many as there may be: \
                 unsubscribe from some"
            );
            return Err(ErrorData::invalid_request(message, None));
        }
        Ok(())
    }

    /// Tells the session no more of the resource; it need not have been subscribed to.
    pub(in crate::mcp) async fn unsubscribe(&self, uri: String, peer: &Peer<RoleServer>) {
        if self.desk.get().is_some() {
            let (reply, done) = oneshot::channel();
            self.order(peer, Order::Unsubscribe { uri, reply }).await;
            let _gone = done.await;
        }
    }

    /// Tells the session from now on when the lists change: it has shown that it looks at them.
    pub(in crate::mcp) async fn follow_lists(
        &self,
        handle: DispatcherHandle,
        peer: &Peer<RoleServer>,
    ) {
        let (reply, done) = oneshot::channel();
        self.order(peer, Order::FollowLists { handle: Box::new(handle), reply }).await;
        let _gone = done.await;
    }

    /// A place for one `subscriptions/listen`, if there is one left.
    pub(super) fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.listens.try_acquire().ok()
    }

    async fn order(&self, peer: &Peer<RoleServer>, order: Order) {
        let desk = self.desk.get_or_init(|| Desk::open(peer.clone()));
        // A session that is gone hears nothing, whatever it subscribes to.
        let _gone = desk.orders.send(order).await;
    }
}

/// The task that tells a session its news.
struct Desk {
    orders: mpsc::Sender<Order>,
    _task: AbortOnDropHandle<()>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// What a session wants; each wish is answered once it holds.
enum Order {
    Subscribe { uri: String, changes: Changes, reply: oneshot::Sender<Taken> },
    Unsubscribe { uri: String, reply: oneshot::Sender<()> },
    FollowLists { handle: Box<DispatcherHandle>, reply: oneshot::Sender<()> },
}

/// Whether a subscription was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Is,
    IsFull,
}

impl Desk {
    fn open(peer: Peer<RoleServer>) -> Self {
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let task = tokio::spawn(serve(peer, inbox));
        Self { orders, _task: AbortOnDropHandle::new(task) }
    }
}

/// Tells the news until the session is gone.
async fn serve(peer: Peer<RoleServer>, mut orders: mpsc::Receiver<Order>) {
    let mut feed = Feed::default();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => obey(&mut feed, order).await,
                None => return,
            },
            news = feed.next() => if tell(&peer, news).await.is_err() { return },
        }
    }
}

async fn obey(feed: &mut Feed, order: Order) {
    match order {
        Order::Subscribe { uri, changes, reply } => {
            let is_full = feed.len() >= SUBSCRIPTIONS_MAX && !feed.has(&uri);
            if !is_full {
                feed.add(uri, changes);
            }
            let _gone = reply.send(if is_full { Taken::IsFull } else { Taken::Is });
        }
        Order::Unsubscribe { uri, reply } => {
            feed.remove(&uri);
            let _gone = reply.send(());
        }
        Order::FollowLists { handle, reply } => {
            feed.follow_lists(*handle).await;
            let _gone = reply.send(());
        }
    }
}

/// Tells a session whose handler is new, and which was told nothing for a while, that a resource
/// may have changed, or the list of them.
pub(in crate::mcp) async fn tell_again(uri: Option<String>, peer: &Peer<RoleServer>) {
    // A session that is gone hears nothing.
    let _gone = tell(peer, uri.map_or(News::ListChanged, News::Updated)).await;
}

async fn tell(peer: &Peer<RoleServer>, news: News) -> Result<(), ServiceError> {
    match news {
        News::Updated(uri) => {
            peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri)).await
        }
        News::ListChanged => peer.notify_resource_list_changed().await,
    }
}

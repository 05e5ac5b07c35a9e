//! `subscriptions/listen` of the revisions without sessions: one call tells the news until it ends.

use rmcp::{
    ErrorData,
    model::SubscriptionFilter,
    service::{SubscriptionContext, SubscriptionSendError, SubscriptionSink},
};

use super::{
    feed::{Feed, News, changes_of},
    subscriptions::{SUBSCRIPTIONS_MAX, Subscriptions},
    uri::ResourceUri,
};
use crate::{model::DispatchStatus, runtime::DispatcherHandle};

/// What of a filter is served: lists of resources, and the first 100 URIs that can be ours.
pub(in crate::mcp) fn accepted(requested: &SubscriptionFilter) -> SubscriptionFilter {
    let mut accepted = SubscriptionFilter::default();
    accepted.resources_list_changed = requested.resources_list_changed;
    let uris = requested.resource_subscriptions.iter().flatten();
    let uris = uris.filter(|it| ResourceUri::parse(it).is_ok()).take(SUBSCRIPTIONS_MAX);
    accepted.resource_subscriptions = Some(uris.cloned().collect());
    accepted
}

/// Tells the news until the call is cancelled, or `closed`.
pub(in crate::mcp) async fn listen(
    handle: DispatcherHandle,
    subscriptions: &Subscriptions,
    closed: impl Future<Output = ()>,
    context: SubscriptionContext,
) -> Result<(), ErrorData> {
    let Some(_place) = subscriptions.place() else {
        let message = "the session listens as often as it may: end one of the calls first";
        return Err(ErrorData::invalid_request(message, None));
    };
    let telling = async {
        let mut feed = feed(&handle, context.accepted(), context.sink()).await;
        loop {
            let news = feed.next().await;
            if tell(context.sink(), news).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = context.cancelled() => (),
        () = closed => (),
        () = telling => (),
    }
    Ok(())
}

/// Subscribes to what was accepted; of what is not there, nothing will be told.
async fn feed(
    handle: &DispatcherHandle,
    accepted: &SubscriptionFilter,
    sink: &SubscriptionSink,
) -> Feed {
    let mut feed = Feed::default();
    if accepted.resources_list_changed == Some(true) {
        feed.follow_lists(handle.clone()).await;
    }
    for uri in accepted.resource_subscriptions.iter().flatten() {
        let Ok(named) = ResourceUri::parse(uri) else { continue };
        let Ok(changes) = changes_of(handle, &named).await else { continue };
        feed.add(uri.clone(), changes);
        // It was acknowledged before somebody watched, so a change in between is told, too.
        if is_open(handle, &named).await && sink.notify_resource_updated(uri).await.is_err() {
            break;
        }
    }
    feed
}

/// Whether the dispatch of a resource may still change.
async fn is_open(handle: &DispatcherHandle, uri: &ResourceUri) -> bool {
    let (ResourceUri::Dispatch(id) | ResourceUri::Task(id, _) | ResourceUri::Trace(id, _)) = uri
    else {
        return false;
    };
    handle.status(*id).await.is_ok_and(|it| it == DispatchStatus::Running)
}

async fn tell(sink: &SubscriptionSink, news: News) -> Result<(), SubscriptionSendError> {
    match news {
        News::Updated(uri) => sink.notify_resource_updated(uri).await,
        News::ListChanged => sink.notify_resource_list_changed().await,
    }
}

//! What a session subscribed to ends with it, and there is never too much of it.

use std::time::Duration;

use rmcp::{
    ClientLifecycleMode, RoleClient, RoleServer, ServiceExt as _,
    model::{
        ClientCapabilities, ClientConfig, Implementation, ProtocolVersion, SubscribeRequestParams,
        SubscriptionFilter,
    },
    serve_client, serve_client_with_lifecycle,
    service::{RunningService, ServiceError},
};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::subscriptions::SUBSCRIPTIONS_MAX;
use crate::{
    mcp::{DispatchServer, testing::seal},
    model::{DispatchId, json::Json},
    runtime::{DispatcherHandle, testing},
};

/// The longest that anything here may take.
const ANYTHING_MAX: Duration = Duration::from_secs(20);

struct Session {
    client: RunningService<RoleClient, ClientConfig>,
    server: JoinHandle<()>,
    closing: CancellationToken,
}

async fn open(handle: &DispatcherHandle, version: ProtocolVersion) -> Session {
    let (theirs, ours) = tokio::io::duplex(64 * 1024);
    let closing = CancellationToken::new();
    let server = DispatchServer::new(handle.clone(), closing.clone(), 1 << 20, seal());
    let server = tokio::spawn(async move {
        let session: RunningService<RoleServer, DispatchServer> =
            Box::pin(server.serve(ours)).await.unwrap();
        session.waiting().await.unwrap();
    });
    let who = Implementation::new("test", "1");
    let mut config = ClientConfig::new(ClientCapabilities::default(), who);
    config.protocol_version = version.clone();
    let client = if version == ProtocolVersion::V_2026_07_28 {
        let discover = ClientLifecycleMode::Discover { preferred_versions: vec![version] };
        Box::pin(serve_client_with_lifecycle(config, theirs, discover)).await.unwrap()
    } else {
        Box::pin(serve_client(config, theirs)).await.unwrap()
    };
    Session { client, server, closing }
}

impl Session {
    async fn subscribe(&self, uri: String) -> Result<(), ServiceError> {
        #[expect(deprecated, reason = "it is what the old revisions have")]
        self.client.subscribe(SubscribeRequestParams::new(uri)).await
    }

    async fn close(self) {
        self.client.cancel().await.unwrap();
        self.server.await.unwrap();
    }
}

/// A dispatch of so many tasks that never end.
async fn dispatch(handle: &DispatcherHandle, n_tasks: usize) -> DispatchId {
    let task = |it| {
        json!({
            "task_id": format!("t{it}"),
            "agent": "robot",
            "description": "hang",
            "input_data": { "fate": "hang" },
        })
    };
    let document = json!({ "tasks": (0..n_tasks).map(task).collect::<Vec<_>>() });
    handle.dispatch_document(&Json::from_value(&document).unwrap()).await.unwrap()
}

/// Waits until so many watches are left.
async fn has_watches(handle: &DispatcherHandle, n: usize) {
    let wait = async {
        while handle.n_watches().await != n {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(ANYTHING_MAX, wait).await.expect("watches are left over, or missing");
}

#[tokio::test]
async fn subscriptions_end_with_their_session() {
    let handle = testing::a_handle();
    let id = dispatch(&handle, 1).await;
    for _ in 0..3 {
        let session = open(&handle, ProtocolVersion::V_2025_11_25).await;
        for uri in [format!("dispatch://{id}"), format!("trace://{id}/t0")] {
            session.subscribe(uri).await.unwrap();
        }
        session.client.list_resources(None).await.unwrap();
        session.client.list_resources(None).await.unwrap();
        has_watches(&handle, 3).await;
        session.close().await;
        has_watches(&handle, 0).await;
    }
}

#[tokio::test]
async fn a_session_subscribes_to_so_much_and_no_more() {
    let handle = testing::a_handle();
    let id = dispatch(&handle, SUBSCRIPTIONS_MAX + 1).await;
    let session = open(&handle, ProtocolVersion::V_2025_11_25).await;
    let uri = |it: usize| format!("dispatch://{id}/tasks/t{it}");
    for it in 0..SUBSCRIPTIONS_MAX {
        session.subscribe(uri(it)).await.unwrap();
    }
    let error = session.subscribe(uri(SUBSCRIPTIONS_MAX)).await.unwrap_err();
    assert!(error.to_string().contains("100 subscriptions"), "{error}");
    session.subscribe(uri(0)).await.unwrap();
    has_watches(&handle, SUBSCRIPTIONS_MAX).await;
    session.close().await;
    has_watches(&handle, 0).await;
}

#[tokio::test]
async fn what_is_listened_to_ends_with_the_call() {
    let handle = testing::a_handle();
    let id = dispatch(&handle, 1).await;
    let session = open(&handle, ProtocolVersion::V_2026_07_28).await;
    let uris = [format!("dispatch://{id}"), "file:///etc/passwd".to_owned()];
    let filter = SubscriptionFilter::builder().resources_list_changed().tools_list_changed();
    let filter = filter.resource_subscriptions(uris.clone()).build();
    let subscription = session.client.listen(filter.clone()).await.unwrap();
    let accepted = subscription.acknowledged();
    assert_eq!(accepted.resource_subscriptions.as_deref(), Some(&uris[..1]));
    assert_eq!(accepted.tools_list_changed, None);
    has_watches(&handle, 2).await;
    drop(subscription);
    has_watches(&handle, 0).await;

    let mut subscription = session.client.listen(filter).await.unwrap();
    has_watches(&handle, 2).await;
    session.closing.cancel();
    while subscription.next().await.unwrap().is_some() {}
    has_watches(&handle, 0).await;
    session.close().await;
}

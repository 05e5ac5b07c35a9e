//! What an upstream says while it works, and when it wants to be left alone.

use std::{sync::Arc, time::Duration};

use rmcp::model::{CallToolResult, ProgressNotificationParam, ProgressToken};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    testing::{
        HttpHost, Reply, Rogue, TestServer, call, fields, http_upstream, memory_upstream, meta,
    },
    *,
};
use crate::{
    model::{Failure, FailureCode},
    ports::Heartbeat,
};

/// Answers a call only after the caller has noticed its progress.
fn slow_server(noticed: Arc<Notify>) -> TestServer {
    TestServer::new(&["coder"], move |call| {
        let noticed = Arc::clone(&noticed);
        async move {
            let token = serde_json::from_value::<ProgressToken>(call.meta["progressToken"].clone());
            let progress = ProgressNotificationParam::new(token.unwrap(), 1.0);
            call.peer.notify_progress(progress).await.unwrap();
            noticed.notified().await;
            Ok(CallToolResult::structured(json!({})))
        }
    })
}

async fn check_progress(upstream: &Upstream, noticed: &Notify) {
    let heartbeat = Heartbeat::heard();
    let meta = CallMeta { heartbeat: heartbeat.clone(), ..meta() };
    let (limit, never) = (Duration::from_secs(20), CancellationToken::new());
    let call = upstream.call("coder", fields(json!({})), meta, limit, &never);
    let notice = async {
        heartbeat.beaten().await;
        noticed.notify_one();
    };
    let (outcome, ()) = tokio::join!(call, notice);
    assert!(outcome.result.is_ok(), "{outcome:?}");
}

#[tokio::test]
async fn progress_of_a_call_in_this_process_is_heard() {
    let noticed = Arc::<Notify>::default();
    let upstream = memory_upstream(slow_server(Arc::clone(&noticed)), Era::Legacy);
    check_progress(&upstream, &noticed).await;
}

#[tokio::test]
async fn e2e_progress_of_a_call_over_http_is_heard() {
    let noticed = Arc::<Notify>::default();
    let host = HttpHost::start(slow_server(Arc::clone(&noticed))).await;
    check_progress(&http_upstream(&host.url), &noticed).await;
}

#[tokio::test]
async fn e2e_what_a_server_asks_for_reaches_the_failure() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (status, headers, code, expected) in [
        ("429 Too Many Requests", "retry-after: 7".to_owned(), FailureCode::RateLimited, 7_000),
        (
            "503 Service Unavailable",
            "retry-after: 999999".to_owned(),
            FailureCode::RateLimited,
            3_600_000,
        ),
        (
            "529 Overloaded",
            format!("date: {date}\r\nretry-after: Sun, 06 Nov 1994 08:50:37 GMT"),
            FailureCode::RateLimited,
            60_000,
        ),
        ("500 Oops", "retry-after: 3".to_owned(), FailureCode::UpstreamUnavailable, 3_000),
    ] {
        let rogue =
            Rogue::at_calls(move |_| Reply::http(status, &format!("text/plain\r\n{headers}"), "x"))
                .await;
        let outcome = call(&http_upstream(&rogue.url), "coder").await;
        let failure = Failure::from(outcome.result.unwrap_err());
        assert_eq!((failure.code, failure.retry_after_ms), (code, Some(expected)), "{status}");
    }
}

#[tokio::test]
async fn a_tool_that_says_so_is_left_alone() {
    let server = TestServer::new(&["coder"], |_| async {
        let error = json!({"code": "rate_limited", "message": "busy", "retry_after_ms": 1_500});
        Ok(CallToolResult::structured_error(json!({ "error": error })))
    });
    let outcome = call(&memory_upstream(server, Era::Legacy), "coder").await;
    let failure = Failure::from(outcome.result.unwrap_err());
    let expected = Failure::new(FailureCode::RateLimited, "busy").retry_after(Some(1_500));
    assert_eq!(failure, expected);
}

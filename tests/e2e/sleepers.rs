//! Sessions over HTTP that sleep because there are many.

use serde_json::{Value, json};

use crate::{
    client::http,
    space::{TestSpace, within},
};

/// How many sessions that do nothing stay awake.
const AWAKE_MAX: usize = 256;

/// Posts a message, and hears what is answered to its end; answers the session and the text.
async fn post(url: &str, session: &str, method: &str, params: Value) -> (String, String) {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let request = http().post(format!("{url}/mcp")).body(body.to_string());
    let request = request.header("content-type", "application/json");
    let request = request.header("accept", "application/json, text/event-stream");
    let request = match session {
        "" => request,
        _ => request.header("mcp-session-id", session),
    };
    let response = within(request.send()).await.unwrap();
    assert_eq!(response.status(), 200);
    let id = response.headers().get("mcp-session-id").map(|it| it.to_str().unwrap().to_owned());
    (id.unwrap_or_default(), within(response.text()).await.unwrap())
}

async fn open(url: &str) -> String {
    let hello = json!({
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" },
    });
    post(url, "", "initialize", hello).await.0
}

/// Waits until so many sessions sleep.
async fn asleep(url: &str, n: usize) {
    let said = format!("dispatch_sessions_asleep {n}.0");
    let looked = async {
        loop {
            let page = http().get(format!("{url}/metrics")).send().await.unwrap();
            if page.text().await.unwrap().contains(&said) {
                return;
            }
        }
    };
    within(looked).await;
}

#[tokio::test]
async fn e2e_a_session_that_slept_hears_that_what_it_watched_may_have_changed() {
    let space = TestSpace::offline();
    let (_program, url) = space.serve_http().await;
    let session = open(&url).await;
    let uri = "settings://agents";
    for (method, params) in [
        ("resources/list", json!({})),
        ("resources/subscribe", json!({ "uri": uri })),
        ("logging/setLevel", json!({ "level": "debug" })),
    ] {
        let (_, answer) = post(&url, &session, method, params).await;
        assert!(answer.contains(r#""result""#), "{answer}");
    }
    for _ in 0..AWAKE_MAX {
        open(&url).await;
    }
    asleep(&url, 1).await;

    let stream = http().get(format!("{url}/mcp")).header("mcp-session-id", &session);
    let stream = stream.header("accept", "text/event-stream").send();
    let mut stream = within(stream).await.unwrap();
    assert_eq!(stream.status(), 200);
    asleep(&url, 0).await;
    let mut heard = String::new();
    while !heard.contains("notifications/resources/list_changed")
        || !heard.contains("notifications/resources/updated")
    {
        let chunk = within(stream.chunk()).await.unwrap();
        heard += std::str::from_utf8(&chunk.unwrap()).unwrap();
    }
    assert!(heard.contains(uri), "{heard}");
}

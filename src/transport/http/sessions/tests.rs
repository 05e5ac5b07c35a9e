//! Sessions behind the guard, by requests without a wire.
#![expect(deprecated, reason = "sessions are of the revisions that have log levels")]

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, Response, request::Parts},
};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
        SetLevelRequestParams, SubscribeRequestParams,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use tokio::{sync::Notify, task::yield_now};

use super::*;
use crate::{
    model::{KeepAwake, MadeAgain, Sees},
    transport::{Access, BearerTokens, Load, guard::Guarded, http::House},
};

const ADA: &str = "token-of-ada-0123456789";
const BOB: &str = "token-of-bob-0123456789";

/// What a test sees of the handlers, and how it steers them.
#[derive(Default)]
struct Strings {
    n_made: AtomicUsize,
    /// A `slow` call began.
    started: Notify,
    /// Lets one `slow` call end.
    release: Notify,
    /// What a `hold` call keeps.
    held: Mutex<Option<KeepAwake>>,
    /// What was made again.
    again: Mutex<Vec<String>>,
}

/// Answers `level` with the level it was told, `hold` and `slow` as the strings say.
struct Toy {
    strings: Arc<Strings>,
    level: Mutex<String>,
}

impl ServerHandler for Toy {
    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.note("level", &context);
        *self.level.lock() = format!("{:?}", request.level);
        Ok(())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.note(&request.uri, &context);
        Ok(())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if request.name == "slow" {
            self.strings.started.notify_one();
            tokio::select! {
                () = self.strings.release.notified() => {}
                () = context.ct.cancelled() => return Err(ErrorData::internal_error("", None)),
            }
        }
        if request.name == "hold" {
            let parts = context.extensions.get::<Parts>().unwrap();
            *self.strings.held.lock() = parts.extensions.get::<KeepAwake>().cloned();
        }
        let level = self.level.lock().clone();
        Ok(CallToolResult::success(vec![ContentBlock::text(level)]).into())
    }
}

impl Toy {
    fn note(&self, what: &str, context: &RequestContext<RoleServer>) {
        if context.extensions.get::<MadeAgain>().is_some() {
            self.strings.again.lock().push(what.to_owned());
        }
    }
}

/// A server, and clients of it.
struct World {
    routes: Guarded,
    load: Load,
    strings: Arc<Strings>,
    token: &'static str,
    n_asked: AtomicUsize,
}

impl World {
    fn new(options: &HttpOptions) -> Self {
        let strings = Arc::<Strings>::default();
        let theirs = Arc::clone(&strings);
        let new_handler = move || {
            theirs.n_made.fetch_add(1, Relaxed);
            Toy { strings: Arc::clone(&theirs), level: Mutex::default() }
        };
        let bound = (Ipv4Addr::LOCALHOST.into(), options);
        let house = House::new(new_handler, Router::new(), bound, &CancellationToken::new());
        Self {
            routes: house.routes(),
            load: options.load.clone(),
            strings,
            token: ADA,
            n_asked: AtomicUsize::new(10),
        }
    }

    /// One in which `n` sessions that do nothing stay awake.
    fn with_awake(n: usize) -> Self {
        Self::new(&HttpOptions { sessions_awake_max: n, ..HttpOptions::default() })
    }

    async fn send(&self, method: Method, session: &str, body: &Value) -> Response<Body> {
        let request = Request::builder().method(method).uri("/mcp").header("host", "localhost");
        let request = request.header("content-type", "application/json");
        let request = request.header("accept", "application/json, text/event-stream");
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let request = match session {
            "" => request,
            _ => request.header("mcp-session-id", session),
        };
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = request.body(body).unwrap();
        self.routes.call(request).await.unwrap()
    }

    /// Sends a request and hears the answer to its end; answers its status and text.
    async fn ask(&self, session: &str, method: &str, params: Value) -> (u16, String) {
        let id = self.n_asked.fetch_add(1, Relaxed);
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let response = self.send(Method::POST, session, &body).await;
        let status = response.status().as_u16();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&text).into_owned())
    }

    async fn ping(&self, session: &str) -> u16 {
        self.ask(session, "ping", json!({})).await.0
    }

    async fn call(&self, session: &str, tool: &str) -> (u16, String) {
        self.ask(session, "tools/call", json!({ "name": tool, "arguments": {} })).await
    }

    /// A `slow` call that has begun.
    async fn call_slowly(&self, session: &str) -> Response<Body> {
        let params = json!({ "name": "slow", "arguments": {} });
        let body = json!({ "jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": params });
        let response = self.send(Method::POST, session, &body).await;
        self.strings.started.notified().await;
        response
    }

    async fn try_open(&self) -> Result<String, u16> {
        let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        }});
        let response = self.send(Method::POST, "", &hello).await;
        let Some(id) = response.headers().get("mcp-session-id") else {
            return Err(response.status().as_u16());
        };
        let id = id.to_str().unwrap().to_owned();
        response.into_body().collect().await.unwrap();
        Ok(id)
    }

    async fn open(&self) -> String {
        self.try_open().await.unwrap()
    }

    /// Waits until so many sessions are awake, and so many asleep, and nothing happens any more.
    async fn settle(&self, awake: usize, asleep: usize) {
        let mut n_times = 0;
        for _ in 0..100_000 {
            let is_so = (self.load.sessions_awake(), self.load.sessions_asleep());
            n_times = if is_so == (awake, asleep) { n_times + 1 } else { 0 };
            if n_times == 100 {
                return;
            }
            yield_now().await;
        }
        let (awake, asleep) = (self.load.sessions_awake(), self.load.sessions_asleep());
        panic!("{awake} are awake and {asleep} asleep");
    }

    fn n_made(&self) -> usize {
        self.strings.n_made.load(Relaxed)
    }
}

fn with_tokens(options: HttpOptions) -> HttpOptions {
    let mut tokens = BearerTokens::default();
    for (name, token) in [("ada", ADA), ("bob", BOB)] {
        tokens.add(token, Identity::new(name, Sees::Own).unwrap()).unwrap();
    }
    HttpOptions { access: Access::new(tokens, None), ..options }
}

#[tokio::test]
async fn the_session_that_was_left_first_sleeps_and_its_next_request_wakes_it() {
    let world = World::with_awake(1);
    let (first, second) = (world.open().await, world.open().await);
    world.settle(1, 1).await;
    assert_eq!(world.ping(&second).await, 200);
    assert_eq!(world.n_made(), 2, "the second is awake");
    assert_eq!(world.ping(&first).await, 200);
    assert_eq!(world.n_made(), 3, "the first was not");
    world.settle(1, 1).await;
    assert_eq!(world.ping(&second).await, 200);
    assert_eq!(world.n_made(), 4);
}

#[tokio::test]
async fn a_handler_hears_again_what_the_one_before_it_heard() {
    let world = World::with_awake(0);
    let session = world.open().await;
    for level in ["debug", "error"] {
        let (status, _) = world.ask(&session, "logging/setLevel", json!({ "level": level })).await;
        assert_eq!(status, 200);
    }
    for (method, uri) in [("subscribe", "a:a"), ("subscribe", "a:b"), ("unsubscribe", "a:a")] {
        world.ask(&session, &format!("resources/{method}"), json!({ "uri": uri })).await;
    }
    world.settle(0, 1).await;
    world.strings.again.lock().clear();
    let (status, answer) = world.call(&session, "level").await;
    assert_eq!(status, 200);
    assert!(answer.contains(r#""text":"Error""#), "{answer}");
    assert_eq!(*world.strings.again.lock(), ["level", "a:b"]);
}

#[tokio::test]
async fn a_session_that_has_too_much_to_tell_again_stays_awake() {
    let world = World::with_awake(0);
    let session = world.open().await;
    for at in 0..33 {
        world.ask(&session, "resources/subscribe", json!({ "uri": format!("a:{at}") })).await;
    }
    world.settle(1, 0).await;
    assert_eq!(world.ping(&session).await, 200);
}

#[tokio::test]
async fn no_session_sleeps_while_a_call_runs_even_if_its_client_has_left() {
    let world = World::with_awake(0);
    let session = world.open().await;
    let answer = world.call_slowly(&session).await;
    world.settle(1, 0).await;
    drop(answer);
    world.settle(1, 0).await;
    world.strings.release.notify_one();
    world.settle(0, 1).await;
}

#[tokio::test]
async fn no_session_sleeps_while_its_client_listens() {
    let world = World::with_awake(0);
    let session = world.open().await;
    let stream = world.send(Method::GET, &session, &Value::Null).await;
    assert_eq!(stream.status(), 200);
    world.settle(1, 0).await;
    drop(stream);
    world.settle(0, 1).await;
    assert_eq!(world.send(Method::GET, &session, &Value::Null).await.status(), 200);
}

#[tokio::test]
async fn no_session_sleeps_while_its_handler_has_something_to_do_for_it() {
    let world = World::with_awake(0);
    let session = world.open().await;
    assert_eq!(world.call(&session, "hold").await.0, 200);
    world.settle(1, 0).await;
    assert!(world.strings.held.lock().take().is_some());
    world.settle(0, 1).await;
}

#[tokio::test]
async fn a_sleeping_session_is_of_whom_it_was_opened_by() {
    let options = HttpOptions { sessions_awake_max: 0, ..HttpOptions::default() };
    let mut world = World::new(&with_tokens(options));
    let session = world.open().await;
    world.settle(0, 1).await;
    world.token = BOB;
    assert_eq!(world.ping(&session).await, 404);
    assert_eq!(world.send(Method::DELETE, &session, &Value::Null).await.status(), 404);
    world.settle(0, 1).await;
    assert_eq!(world.n_made(), 1, "strangers wake nobody");
    world.token = ADA;
    assert_eq!(world.ping(&session).await, 200);
}

#[tokio::test]
async fn a_sleeping_session_is_ended_without_waking_it() {
    let world = World::with_awake(0);
    let session = world.open().await;
    world.settle(0, 1).await;
    assert_eq!(world.send(Method::DELETE, &session, &Value::Null).await.status(), 204);
    world.settle(0, 0).await;
    assert_eq!(world.ping(&session).await, 404);
    assert_eq!(world.n_made(), 1);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_left_alone_end_awake_or_asleep() {
    let world = World::with_awake(1);
    let (asleep, awake) = (world.open().await, world.open().await);
    world.settle(1, 1).await;
    let almost = HttpOptions::default().session_idle.saturating_sub(Duration::from_secs(1));
    time::advance(almost).await;
    assert_eq!((world.ping(&asleep).await, world.ping(&awake).await), (200, 200));
    time::advance(almost).await;
    world.settle(1, 1).await;
    assert_eq!(world.ping(&awake).await, 200);
    time::advance(Duration::from_secs(2)).await;
    world.settle(1, 0).await;
    assert_eq!((world.ping(&asleep).await, world.ping(&awake).await), (404, 200));
    time::advance(almost + Duration::from_secs(2)).await;
    world.settle(0, 0).await;
    assert_eq!(world.ping(&awake).await, 404);
}

#[tokio::test(start_paused = true)]
async fn a_session_with_a_running_call_does_not_end_as_long_as_its_client_listens() {
    let world = World::with_awake(1);
    let session = world.open().await;
    let answer = world.call_slowly(&session).await;
    time::advance(HttpOptions::default().session_idle * 2).await;
    world.settle(1, 0).await;
    world.strings.release.notify_one();
    answer.into_body().collect().await.unwrap();
    assert_eq!(world.ping(&session).await, 200);
}

#[tokio::test(start_paused = true)]
async fn who_was_away_long_makes_room_and_who_was_not_does_not() {
    let options = HttpOptions { sessions_max: 2, sessions_awake_max: 1, ..HttpOptions::default() };
    let world = World::new(&options);
    let (first, second) = (world.open().await, world.open().await);
    assert_eq!(world.try_open().await, Err(503));
    time::advance(Duration::from_mins(1)).await;
    assert_eq!(world.ping(&first).await, 200);
    let third = world.open().await;
    assert_eq!((world.ping(&first).await, world.ping(&third).await), (200, 200));
    assert_eq!(world.ping(&second).await, 404);
    assert_eq!(world.try_open().await, Err(503));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_requests_at_once_wake_a_session_once() {
    let world = World::with_awake(0);
    let session = world.open().await;
    for _ in 0..20 {
        world.settle(0, 1).await;
        let n_before = world.n_made();
        // They are there before the first of them is answered.
        let slow = world.call_slowly(&session);
        let pings = futures::future::join_all((0..20).map(|_| world.ping(&session)));
        let (slow, pings) = tokio::join!(slow, pings);
        assert_eq!(pings, [200; 20]);
        assert_eq!(world.n_made(), n_before + 1);
        world.strings.release.notify_one();
        slow.into_body().collect().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_comes_while_their_session_is_put_to_sleep_is_served() {
    let world = Arc::new(World::with_awake(0));
    let session = world.open().await;
    let clients = (0..4).map(|_| {
        let (world, session) = (Arc::clone(&world), session.clone());
        tokio::spawn(async move {
            for _ in 0..100 {
                assert_eq!(world.ping(&session).await, 200);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    assert!(world.n_made() > 2, "it slept now and then");
    world.settle(0, 1).await;
}

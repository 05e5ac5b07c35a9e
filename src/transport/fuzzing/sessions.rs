//! What holds of every sequence of streams that open and close, and of messages posted to them.

use axum::{
    body::Body,
    http::{Method, Request, Response, StatusCode},
};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;

use super::{SESSIONS_MAX, house, run};
use crate::transport::guard::Guarded;

/// How many steps are taken at most.
const STEPS_MAX: usize = 64;
/// What is posted. All of them are messages.
const MESSAGES: [&str; 4] = [
    r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
    r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    concat!(
        r#"{"jsonrpc":"2.0","id":3,"method":"initialize","params":{"capabilities":{},"#,
        r#""protocolVersion":"2025-11-25","clientInfo":{"name":"a","version":"1"}}}"#,
    ),
];

/// A client of the legacy transport, as far as the oracle goes.
struct Client {
    routes: Guarded,
    /// The streams that are open, with the address that each was told.
    open: Vec<(Response<Body>, String)>,
    /// The addresses of those that were closed.
    closed: Vec<String>,
}

/// Takes one step for each byte: opens a stream, closes one, or posts to one that is open, one that
/// was closed, or one that never was.
///
/// # Panics
/// When a promise is broken: a session takes messages after its end, or does not take them before;
/// there are more than there may be, or fewer.
#[doc(hidden)]
pub fn fuzz_sessions(bytes: &[u8]) {
    run(async {
        let mut client = Client { routes: house().routes(), open: Vec::new(), closed: Vec::new() };
        for byte in bytes.iter().take(STEPS_MAX) {
            client.step(*byte).await;
        }
    });
}

impl Client {
    async fn step(&mut self, byte: u8) {
        let which = usize::from(byte >> 3);
        match byte % 8 {
            0 | 1 => self.open().await,
            2 if !self.open.is_empty() => {
                let (stream, address) = self.open.remove(which % self.open.len());
                drop(stream);
                self.closed.push(address);
            }
            3 if !self.closed.is_empty() => {
                let address = self.closed[which % self.closed.len()].clone();
                self.post(&address, which, StatusCode::NOT_FOUND).await;
            }
            4 => self.post("/messages?session_id=none", which, StatusCode::NOT_FOUND).await,
            5 => self.post("/messages", which, StatusCode::BAD_REQUEST).await,
            _ if !self.open.is_empty() => {
                let address = self.open[which % self.open.len()].1.clone();
                self.post(&address, which, StatusCode::ACCEPTED).await;
            }
            _ => {}
        }
    }

    async fn open(&mut self) {
        let mut response = self.call(Method::GET, "/sse", Body::empty()).await;
        let is_room = self.open.len() < SESSIONS_MAX;
        let expected = if is_room { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        assert_eq!(response.status(), expected, "{} streams are open", self.open.len());
        if !is_room {
            return;
        }
        let first = response.frame().await.and_then(Result::ok).and_then(|it| it.into_data().ok());
        let first = first.map(|it| String::from_utf8_lossy(&it).into_owned()).unwrap_or_default();
        let address = first.strip_prefix("event: endpoint\ndata: ").map(str::trim);
        assert!(address.is_some(), "{first}");
        let address = address.unwrap_or_default().to_owned();
        let is_new = self.open.iter().all(|it| it.1 != address) && !self.closed.contains(&address);
        assert!(is_new, "{address} was there before");
        self.open.push((response, address));
    }

    /// Posts to `address`. Answers that nobody reads fill a session's queue only after more steps
    /// than are taken.
    async fn post(&mut self, address: &str, which: usize, expected: StatusCode) {
        let message = MESSAGES[which % MESSAGES.len()];
        let status = self.call(Method::POST, address, Body::from(message)).await.status();
        // A message that ends the session may have come before.
        let is_ended = expected == StatusCode::ACCEPTED && status == StatusCode::NOT_FOUND;
        assert!(status == expected || is_ended, "{status} for {message} to {address}");
    }

    async fn call(&mut self, method: Method, address: &str, body: Body) -> Response<Body> {
        let request = Request::builder().method(method).uri(address).header("host", "localhost");
        let request = request.header("content-type", "application/json").body(body);
        let Ok(request) = request else { std::process::abort() };
        let Ok(response) = self.routes.call(request).await;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::mutants;

    #[test]
    fn mutants_of_sessions_keep_the_promises() {
        let seeds = [
            include_str!("../../../fuzz/seeds/sessions/one"),
            include_str!("../../../fuzz/seeds/sessions/many"),
            include_str!("../../../fuzz/seeds/sessions/ended"),
        ];
        mutants(&seeds, 1_000, fuzz_sessions);
    }
}

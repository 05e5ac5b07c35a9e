//! What holds of everything that comes over a wire, whatever its bytes are; `fuzz/` feeds it.

mod envelope;
mod headers;
mod http;
mod sessions;

use std::{net::Ipv4Addr, time::Duration};

use axum::Router;
use rmcp::ServerHandler;
use tokio::{runtime::Builder, time};
use tokio_util::sync::CancellationToken;

pub use self::{
    envelope::fuzz_envelope, headers::fuzz_headers, http::fuzz_http, sessions::fuzz_sessions,
};
use super::{HttpOptions, http::House};

/// The longest that one input may take; nothing in it waits for anything.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How many sessions there may be.
const SESSIONS_MAX: usize = 3;

/// How soon a stream on which nothing is said notices that nobody listens.
const KEEP_ALIVE: Duration = Duration::from_millis(20);

/// A server that offers nothing.
#[derive(Debug)]
struct Mute;

impl ServerHandler for Mute {}

/// The routes as they are served on a loopback address.
fn house() -> House {
    let limits = HttpOptions::default();
    let options = HttpOptions { sessions_max: SESSIONS_MAX, keep_alive: KEEP_ALIVE, ..limits };
    let bound = Ipv4Addr::LOCALHOST.into();
    House::new(|| Mute, Router::new(), (bound, &options), &CancellationToken::new())
}

/// Runs `future` to its end on a runtime of its own.
///
/// # Panics
/// When it takes too long.
fn run<F: Future>(future: F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_time().build();
    let Ok(runtime) = runtime else { std::process::abort() };
    let ended = runtime.block_on(async { time::timeout(ANSWER_MAX, future).await });
    assert!(ended.is_ok(), "no end after {ANSWER_MAX:?}");
    let Ok(output) = ended else { std::process::abort() };
    output
}

//! The MCP project's conformance suite, against the transport and the handler of the product.

#![cfg(test)]

#[expect(dead_code, clippy::disallowed_methods, reason = "the benchmarks use all of it")]
#[path = "../../benches/dispatch/engine.rs"]
mod engine;
mod fixture;
#[path = "../support/node.rs"]
mod node;
mod suite;

use std::sync::Arc;

use axum::Router;
use parallel_dispatch::{
    mcp::{DispatchServer, Seal},
    transport::{HttpOptions, HttpServer},
};
use tokio_util::sync::CancellationToken;

use self::{
    engine::Engine,
    fixture::{Fixture, Shared},
};

/// The longest document that the real handler takes, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn e2e_conformance_2026_07_28() {
    check("2026-07-28").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e2e_conformance_2025_11_25() {
    check("2025-11-25").await;
}

/// Runs what the revision requires; what fails must stand in its baseline, and only that.
async fn check(revision: &str) {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start_in_memory(dir.path()).unwrap();
    let server =
        HttpServer::bind("127.0.0.1:0".parse().unwrap(), HttpOptions::default()).await.unwrap();
    let url = format!("http://{}/mcp", server.local_addr());
    let shutdown = CancellationToken::new();
    let seal = Seal::new(&[7; Seal::SECRET_BYTES]);
    let real =
        DispatchServer::new(engine.handle.clone(), shutdown.clone(), DOCUMENT_BYTES_MAX, seal);
    let shared = Arc::new(Shared::default());
    let new_handler = move || Fixture::new(real.for_session(), Arc::clone(&shared));
    let serving = tokio::spawn(server.serve(new_handler, Router::new(), shutdown.clone()));
    let report = suite::run(revision, &url).await;
    shutdown.cancel();
    serving.await.unwrap().unwrap();
    engine.stop().await.unwrap();
    report.check();
}

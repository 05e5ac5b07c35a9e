//! Real clients and raw bytes against the three transports, with a toy handler behind them.

#![cfg(test)]

mod e2e_access;
mod e2e_clients;
mod e2e_http;
mod e2e_limits;
mod e2e_sse;
mod forged;
#[path = "../support/jwt.rs"]
mod jwt;
mod raw;
#[path = "../support/sse.rs"]
mod sse;
mod stdio;
mod toy;

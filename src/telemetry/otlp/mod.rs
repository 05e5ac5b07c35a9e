//! Traces by OTLP over HTTP: spans wait in a bounded queue, and go to the collector in batches.
//!
//! A collector that is down or slow costs nothing but spans: nobody ever waits for it, and the log
//! says once that it is down and once that it is back.

mod attributes;
mod collector;
mod export;
mod known;

pub use export::{Exporter, look};
pub use known::Known;

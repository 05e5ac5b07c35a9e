//! `/metrics`: what is counted, for scrapers.

use axum::response::Response;

use super::monitor::{Monitored, answer};

pub(super) fn metrics(monitored: &dyn Monitored) -> Response {
    answer(200, "application/openmetrics-text; version=1.0.0; charset=utf-8", monitored.metrics())
}

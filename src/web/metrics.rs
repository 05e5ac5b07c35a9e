//! `/metrics`: what is counted, for scrapers.

use axum::response::Response;

use super::monitor::{Detail, Monitored, answer};

pub(super) fn metrics(monitored: &dyn Monitored, detail: Detail) -> Response {
    match detail {
        Detail::Full => {
            answer(200, "text/plain; version=0.0.4; charset=utf-8", monitored.metrics())
        }
        Detail::Short => answer(403, "text/plain; charset=utf-8", "not for strangers\n".to_owned()),
    }
}

//! `/metrics`: what is counted, for scrapers.

use axum::response::Response;
use serde_json::json;

use super::monitor::{Monitored, answer};
use crate::model::{ErrorCode, Identity, Refusal, Sees};

/// The page, in the text format of `OpenMetrics`; all scrapers of Prometheus read it. It tells of
/// everybody's work, so whoever sees only their own does not get it.
pub(super) fn metrics(caller: Option<&Identity>, monitored: &dyn Monitored) -> Response {
    if caller.is_some_and(|it| it.sees() != Sees::All) {
        let message = "counts are for callers that see all dispatches";
        let hint = "use a token that the settings let see all";
        let refusal = Refusal::of(ErrorCode::NotAllowed, "", message, hint);
        return answer(403, "application/json", json!(refusal.to_body()).to_string());
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    answer(200, content_type, monitored.metrics())
}

//! Lets pages that the guard lets in read what they are answered (CORS), and no others.

use std::time::Duration;

use axum::http::{HeaderName, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, Cors};

use super::{PROTOCOL_VERSION, SESSION_ID, origin};

/// What clients in browsers read besides the body.
const EXPOSED: [HeaderName; 4] =
    [SESSION_ID, PROTOCOL_VERSION, header::WWW_AUTHENTICATE, header::RETRY_AFTER];

/// For how long a browser need not ask again.
const MAX_AGE: Duration = Duration::from_mins(10);

/// Answers what browsers ask before a page's request, and says on each answer of `inner` that the
/// page may read it. No cookies are asked for: a page that calls shows its token itself.
pub(super) fn around<S>(inner: S, allowed: &[String]) -> Cors<S> {
    let allowed = allowed.to_vec();
    Cors::new(inner)
        .allow_origin(AllowOrigin::predicate(move |it, _| origin::is_let_in(it, &allowed)))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        // Those of MCP end in names of arguments, and clients add their own.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(MAX_AGE)
}

//! Reads a request's body, within a size and a time.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes};
use tokio::time;

use super::Refused;
use crate::transport::{MESSAGE_BYTES_MAX, envelope};

/// How much of a body that is too large is read all the same, in bytes, before it is refused. A
/// client that is cut off while it still writes often never reads the answer.
const DISCARD_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;

/// Reads a body of at most [`MESSAGE_BYTES_MAX`].
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    timeout: Duration,
) -> Result<Bytes, Refused> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let is_too_large = body.size_hint().lower() > MESSAGE_BYTES_MAX as u64;
    // A client that asks first has sent nothing yet.
    if is_too_large && headers.contains_key(header::EXPECT) {
        return Err(too_large());
    }
    match time::timeout(timeout, collect(body, is_too_large)).await {
        Ok(read) => read,
        Err(_) if is_too_large => Err(too_large()),
        Err(_) => Err(Refused::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            &format!("the body did not arrive within {} ms", timeout.as_millis()),
            "",
            "send the whole body at once",
        )),
    }
}

async fn collect(mut body: Body, mut is_too_large: bool) -> Result<Bytes, Refused> {
    let (mut kept, mut n_bytes) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(broken()) };
        let Ok(data) = frame.into_data() else { continue };
        n_bytes += data.len();
        is_too_large |= n_bytes > MESSAGE_BYTES_MAX;
        if n_bytes > DISCARD_BYTES_MAX {
            break;
        }
        if is_too_large {
            kept = Vec::new();
        } else {
            kept.extend_from_slice(&data);
        }
    }
    if is_too_large { Err(too_large()) } else { Ok(Bytes::from(kept)) }
}

fn too_large() -> Refused {
    Refused::fault(StatusCode::PAYLOAD_TOO_LARGE, &envelope::oversized())
}

fn broken() -> Refused {
    let message = "the body broke off";
    Refused::new(StatusCode::BAD_REQUEST, "bad_request", message, "", "send the request again")
}

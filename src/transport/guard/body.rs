//! Reads a request's body, within a size and a time.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time,
};

use super::{Refused, busy};
use crate::transport::{MESSAGE_BYTES_MAX, envelope};

/// How much of a body that is too large is read all the same, in bytes, before it is refused. A
/// client that is cut off while it still writes often never reads the answer.
const DISCARD_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;

/// How many bytes all bodies together may have that are being read: those of 64 large ones. What
/// has not arrived takes no room, so nobody takes any without sending it.
const BYTES_MAX: usize = 64 * MESSAGE_BYTES_MAX;
/// What room is counted in, in bytes.
const UNIT: usize = 1 << 10;
/// When a client that found no room should come back, in milliseconds.
const RETRY_AFTER_MS: u64 = 1_000;

/// Room for the bodies of one server.
#[derive(Debug)]
pub(super) struct Room(Semaphore);

/// The room that one body takes.
#[derive(Debug)]
pub(super) struct Taken<'r> {
    room: &'r Room,
    units: Option<SemaphorePermit<'r>>,
}

impl Room {
    fn of(bytes: usize) -> Self {
        Self(Semaphore::new(bytes / UNIT))
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::of(BYTES_MAX)
    }
}

impl Taken<'_> {
    /// Takes as much as `n_bytes` need in all.
    fn grow(&mut self, n_bytes: usize) -> Result<(), Refused> {
        let has = self.units.as_ref().map_or(0, SemaphorePermit::num_permits);
        let wants = n_bytes.div_ceil(UNIT).saturating_sub(has);
        let more = u32::try_from(wants).ok().and_then(|it| self.room.0.try_acquire_many(it).ok());
        let more = more.ok_or_else(|| busy("too much is being sent at once", RETRY_AFTER_MS))?;
        match &mut self.units {
            Some(units) => units.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

/// Reads a body of at most [`MESSAGE_BYTES_MAX`]; it takes room until the second value is dropped.
pub(super) async fn read<'r>(
    headers: &HeaderMap,
    body: Body,
    timeout: Duration,
    room: &'r Room,
) -> Result<(Bytes, Taken<'r>), Refused> {
    let taken = Taken { room, units: None };
    if body.is_end_stream() {
        return Ok((Bytes::new(), taken));
    }
    let is_too_large = body.size_hint().lower() > MESSAGE_BYTES_MAX as u64;
    // A client that asks first has sent nothing yet.
    if is_too_large && headers.contains_key(header::EXPECT) {
        return Err(too_large());
    }
    match time::timeout(timeout, collect(body, is_too_large, taken)).await {
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

async fn collect(
    mut body: Body,
    mut is_too_large: bool,
    mut taken: Taken<'_>,
) -> Result<(Bytes, Taken<'_>), Refused> {
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
            taken.units = None;
        } else {
            taken.grow(n_bytes)?;
            kept.extend_from_slice(&data);
        }
    }
    if is_too_large { Err(too_large()) } else { Ok((Bytes::from(kept), taken)) }
}

fn too_large() -> Refused {
    Refused::fault(StatusCode::PAYLOAD_TOO_LARGE, &envelope::oversized())
}

fn broken() -> Refused {
    let message = "the body broke off";
    Refused::new(StatusCode::BAD_REQUEST, "bad_request", message, "", "send the request again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_take_room_while_they_are_held_and_no_longer() {
        let room = Room::of(3 * UNIT);
        let post = async |bytes: usize| {
            let body = Body::from(vec![b' '; bytes]);
            read(&HeaderMap::new(), body, Duration::from_secs(1), &room).await
        };
        let first = post(UNIT + 1).await.unwrap();
        assert_eq!(first.0.len(), UNIT + 1);
        let second = post(UNIT).await.unwrap();
        let refused = post(1).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        post(2 * UNIT).await.unwrap();
        drop(second);
        post(3 * UNIT).await.unwrap();
    }
}

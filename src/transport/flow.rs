//! How much of one session may be under way: requests that run, and answers that nobody reads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rmcp::model::{ClientJsonRpcMessage, GetExtensions as _};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time,
};

use super::envelope::{self, Rejection};

/// How many requests of one session run at once.
const RUNNING_MAX: usize = 256;

/// How long one more waits for a place. Most requests are answered in less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much is kept of answers that the client does not read before it is heard no more, in bytes.
const UNREAD_BYTES_MAX: usize = 4 << 20;

/// What an answer costs besides its text, in bytes.
const ANSWER_BYTES: usize = 1 << 10;

/// The places of one session's requests.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Semaphore>);

/// A place, given back when nobody knows of the request any more.
#[derive(Clone, Debug)]
struct Place(#[expect(dead_code, reason = "it is held")] Arc<OwnedSemaphorePermit>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(RUNNING_MAX)))
    }
}

impl Places {
    /// Gives a request its place; other messages need none.
    pub(super) async fn admit(
        self,
        mut message: ClientJsonRpcMessage,
    ) -> Result<ClientJsonRpcMessage, Rejection> {
        let ClientJsonRpcMessage::Request(request) = &mut message else { return Ok(message) };
        match time::timeout(PATIENCE, self.0.acquire_owned()).await {
            Ok(Ok(place)) => {
                request.request.extensions_mut().insert(Place(Arc::new(place)));
                Ok(message)
            }
            _ => Err(envelope::refuse_busy(request.id.clone(), RUNNING_MAX)),
        }
    }
}

/// The answers of one session that were not written yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Arc<Answers>);

#[derive(Debug, Default)]
struct Answers {
    bytes: AtomicUsize,
    fewer: Notify,
}

/// An answer that is counted until it was written, or is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    unread: Unread,
    bytes: usize,
}

impl Unread {
    /// Counts an answer of `n_bytes`.
    pub(super) fn count(&self, n_bytes: usize) -> Counted {
        let bytes = n_bytes + ANSWER_BYTES;
        self.0.bytes.fetch_add(bytes, Ordering::AcqRel);
        Counted { unread: self.clone(), bytes }
    }

    /// Waits until the client has read enough to be heard again. One may wait at a time.
    pub(super) async fn few(&self) {
        while self.0.bytes.load(Ordering::Acquire) > UNREAD_BYTES_MAX {
            self.0.fewer.notified().await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.unread.0.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.unread.0.fewer.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use serde_json::json;

    use super::*;

    fn ping(id: usize) -> ClientJsonRpcMessage {
        serde_json::from_value(json!({ "jsonrpc": "2.0", "id": id, "method": "ping" })).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_too_many_waits_for_a_place_and_not_for_ever() {
        let places = Places::default();
        let mut running = Vec::new();
        for id in 0..RUNNING_MAX {
            running.push(places.clone().admit(ping(id)).await.unwrap());
        }
        let refused = places.clone().admit(ping(9_999)).await.unwrap_err().to_json();
        assert_eq!(refused["id"], 9_999);
        assert_eq!(refused["error"]["data"]["error"]["code"], "busy");
        assert_eq!(refused["error"]["data"]["retry_after_ms"], 1_000);
        let said = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        places.clone().admit(serde_json::from_value(said).unwrap()).await.unwrap();
        let mut next = Box::pin(places.admit(ping(10_000)));
        assert!((&mut next).now_or_never().is_none());
        drop(running.pop().unwrap());
        next.await.unwrap();
    }

    #[tokio::test]
    async fn who_has_much_to_read_is_heard_when_there_is_less() {
        let unread = Unread::default();
        let small = unread.count(1);
        let large = unread.count(UNREAD_BYTES_MAX);
        let mut few = Box::pin(unread.few());
        assert!((&mut few).now_or_never().is_none());
        drop(small);
        assert!((&mut few).now_or_never().is_none());
        drop(large);
        few.await;
    }
}

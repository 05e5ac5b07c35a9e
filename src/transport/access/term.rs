//! Until when a token counts that was shown.

use std::sync::Arc;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::tokens::{BearerTokens, Digest};
use crate::model::Identity;

/// What ends a caller's time: streams end with it, as new requests are refused from then on.
#[derive(Clone, Debug)]
pub(in crate::transport) enum Term {
    /// The token says it.
    At(Instant),
    /// The token is no longer one of the settings, or is somebody else's.
    Listed(Listed),
}

/// A token of the settings.
#[derive(Clone)]
pub(in crate::transport) struct Listed {
    pub(super) token: Digest,
    pub(super) identity: Identity,
    pub(super) tokens: watch::Receiver<Arc<BearerTokens>>,
}

impl Term {
    /// Waits for the end.
    pub(in crate::transport) async fn end(self) {
        match self {
            Self::At(at) => sleep_until(at).await,
            Self::Listed(Listed { token, identity, mut tokens }) => {
                // Without a sender there is no server either.
                tokens.wait_for(|it| !it.has(&token, &identity)).await.ok();
            }
        }
    }
}

impl std::fmt::Debug for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Listed").field(&self.identity).finish()
    }
}

//! What callers see of the service: all of it, or what belongs to them.
//!
//! Whoever sees only their own has a handle whose store shows nothing else ([`OwnJournal`]); what
//! the dispatcher is asked directly is asked only of dispatches that this store shows.

use std::sync::Arc;

use super::{
    handle::DispatcherHandle, nesting::Above, own_journal::OwnJournal, query, submission::Retried,
};
use crate::model::{DispatchId, ErrorCode, Identity, Refusal, Sees};

/// Stands before the name of a caller in the store's idempotency keys; no name contains it.
const KEY_MARK: char = '\u{1f}';

/// Who holds a handle, where they showed who they are.
#[derive(Clone, Debug)]
pub(super) struct Viewer {
    identity: Identity,
    /// The store behind the handle, if it shows only what is theirs.
    own: Option<OwnJournal>,
}

impl DispatcherHandle {
    /// The service as a caller sees it: what they ask for from now on belongs to them, and where
    /// they see only their own, everything else is unknown to it. Without an identity nothing
    /// changes, and what is somebody's already stays theirs.
    #[must_use]
    pub fn seen_by(mut self, identity: Option<Identity>) -> Self {
        let Some(identity) = identity.filter(|_| self.viewer.is_none()) else { return self };
        let own = (identity.sees() == Sees::Own).then(|| {
            let own =
                OwnJournal::new(Arc::clone(&self.dependencies.journal), identity.shared_name());
            self.dependencies.journal = Arc::new(own.clone());
            own
        });
        self.viewer = Some(Box::new(Viewer { identity, own }));
        self
    }

    /// Whether the caller sees all dispatches and plans.
    pub fn sees_all(&self) -> bool {
        self.own().is_none()
    }

    /// Refuses a dispatch that belongs to somebody else, or is not there, if the caller sees only
    /// their own. For all others nothing is looked up.
    pub async fn check_seen(&self, dispatch: DispatchId) -> Result<(), Refusal> {
        let Some(own) = self.own() else { return Ok(()) };
        let is_seen = own.sees(dispatch).await?;
        if is_seen { Ok(()) } else { Err(query::unknown(dispatch)) }
    }

    /// Refuses what is not meant for callers that see only their own.
    pub(super) fn check_sees_all(&self, what: &str) -> Result<(), Refusal> {
        if self.sees_all() {
            return Ok(());
        }
        let message = format!("{what} is for callers that see all dispatches");
        let hint = "use a token that the settings let see all";
        Err(Refusal::of(ErrorCode::NotAllowed, "", &message, hint))
    }

    /// The name of the caller, if they showed who they are.
    pub(super) fn caller_name(&self) -> Option<Arc<str>> {
        self.viewer.as_ref().map(|it| it.identity.shared_name())
    }

    /// Whom a new dispatch belongs to. A retry belongs to whom the first dispatch belongs to, and
    /// what an agent asks for to whom the dispatch above belongs to; who sees only their own sees
    /// either only if it is theirs.
    pub(super) fn new_caller(
        &self,
        retried: Option<&Retried>,
        above: Option<&Above>,
    ) -> Option<Identity> {
        let first = retried.map(|it| &it.caller).or_else(|| above.map(|it| &it.caller));
        match first.filter(|_| self.sees_all()) {
            Some(caller) => caller.clone(),
            None => self.viewer.as_ref().map(|it| it.identity.clone()),
        }
    }

    /// An idempotency key as it stands in the store: each caller has keys of their own, and no key
    /// of one reads as that of another.
    pub(super) fn own_key(&self, key: String) -> String {
        match &self.viewer {
            Some(it) => format!("{KEY_MARK}{}{KEY_MARK}{key}", it.identity),
            None if key.starts_with(KEY_MARK) => format!("{KEY_MARK}{key}"),
            None => key,
        }
    }

    fn own(&self) -> Option<&OwnJournal> {
        self.viewer.as_ref()?.own.as_ref()
    }
}

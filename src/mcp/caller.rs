//! Who calls, as the transport found out, and the service as they see it.

use std::borrow::Cow;

use axum::http::request::Parts;
use rmcp::{RoleServer, model::Extensions, service::RequestContext};

use crate::{
    model::{Identity, KeepAwake, MadeAgain},
    runtime::DispatcherHandle,
};

/// The service behind the tools. Nobody gets at the whole of it: what serves a request gets what
/// its caller sees.
#[derive(Debug)]
pub(super) struct Service {
    whole: DispatcherHandle,
}

impl Service {
    pub(super) fn new(whole: DispatcherHandle) -> Self {
        Self { whole }
    }

    /// The service as the caller of this request sees it; without an identity it is the whole, and
    /// costs nothing.
    pub(super) fn seen_by(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> Cow<'_, DispatcherHandle> {
        match identity(context) {
            None => Cow::Borrowed(&self.whole),
            Some(it) => Cow::Owned(self.whole.clone().seen_by(Some(it.clone()))),
        }
    }

    /// Whether there are agents whose workers pull, whoever may be one.
    pub(super) fn has_workers(&self) -> bool {
        self.whole.has_workers()
    }
}

/// What keeps the session of a request awake, which sleeps while nothing is done for it.
pub(super) fn keep_awake(context: &RequestContext<RoleServer>) -> Option<KeepAwake> {
    found::<KeepAwake>(&context.extensions).cloned()
}

/// Whether a request was made before, of a handler whose place this one has taken. Its client was
/// told nothing since.
pub(super) fn is_made_again(context: &RequestContext<RoleServer>) -> bool {
    found::<MadeAgain>(&context.extensions).is_some()
}

/// Who makes a request, where they showed who they are.
pub(super) fn identity(context: &RequestContext<RoleServer>) -> Option<&Identity> {
    found(&context.extensions)
}

/// What the transport says of a request. The legacy transport says it of the message itself; rmcp
/// hands on what is left of the HTTP request, and the transport has put it there.
fn found<T: Send + Sync + 'static>(extensions: &Extensions) -> Option<&T> {
    let of_http = || extensions.get::<Parts>()?.extensions.get();
    extensions.get().or_else(of_http)
}

//! Who calls, as the transport found out, and the service as they see it.

use std::borrow::Cow;

use axum::http::request::Parts;
use rmcp::{RoleServer, model::Extensions, service::RequestContext};

use crate::{model::Identity, runtime::DispatcherHandle};

/// The service behind the tools. Nobody gets at the whole of it: what serves a request gets what
/// its caller sees.
#[derive(Clone, Debug)]
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
        match identity(&context.extensions) {
            None => Cow::Borrowed(&self.whole),
            Some(it) => Cow::Owned(self.whole.clone().seen_by(Some(it.clone()))),
        }
    }

    /// Whether there are agents whose workers pull, whoever may be one.
    pub(super) fn has_workers(&self) -> bool {
        self.whole.has_workers()
    }
}

/// Who makes a request. The legacy transport says so of the message itself; rmcp hands on what is
/// left of the HTTP request, and the guard has put it there.
pub(super) fn identity(extensions: &Extensions) -> Option<&Identity> {
    let of_http = || extensions.get::<Parts>()?.extensions.get();
    extensions.get().or_else(of_http)
}

//! Who a call is made for: an agent says in `_meta` at which task it works.

use rmcp::{RoleServer, service::RequestContext};

use crate::{
    model::{ErrorCode, ParentTask, Refusal},
    runtime::DispatcherHandle,
};

/// The task whose agent calls. A `parallel-dispatch` that serves as an upstream of another one is
/// told by the key that every call of an agent carries. Whoever sees only their own dispatches may
/// name tasks of these only; a key of others says nothing to them.
pub(super) async fn parent(
    context: &RequestContext<RoleServer>,
    handle: &DispatcherHandle,
) -> Result<Option<ParentTask>, Refusal> {
    let (parent, is_named) = find(context)?;
    if let Some(it) = parent.as_ref().filter(|_| is_named) {
        let seen = handle.check_seen(it.dispatch_id).await;
        seen.map_err(|it| it.moved("/dispatch_id", "/_meta"))?;
    }
    Ok(parent)
}

/// The same, whoever may name it, and whether it was named for this.
fn find(context: &RequestContext<RoleServer>) -> Result<(Option<ParentTask>, bool), Refusal> {
    let text = |name: &str| context.meta.get(name)?.as_str();
    if context.meta.get(ParentTask::PARENT).is_none() {
        // Somebody else's key says nothing.
        return Ok((text(ParentTask::KEY).and_then(|it| it.parse().ok()), false));
    }
    let named = text(ParentTask::PARENT).and_then(|it| it.parse().ok());
    named.map(|it| (Some(it), true)).ok_or_else(|| {
        let message = format!("\"{}\" in _meta is not DISPATCH_ID/TASK_ID", ParentTask::PARENT);
        let hint = "pass on \"parallel-dispatch/key\" of the call that the task came with";
        Refusal::of(ErrorCode::InvalidType, "/_meta", &message, hint)
    })
}

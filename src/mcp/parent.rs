//! Who a call is made for: an agent says in `_meta` at which task it works.

use rmcp::{RoleServer, service::RequestContext};

use crate::model::{ErrorCode, ParentTask, Refusal};

/// The task whose agent calls. A `parallel-dispatch` that serves as an upstream of another one is
/// told by the key that every call of an agent carries.
pub(super) fn parent(context: &RequestContext<RoleServer>) -> Result<Option<ParentTask>, Refusal> {
    let text = |name: &str| context.meta.get(name)?.as_str();
    if context.meta.get(ParentTask::PARENT).is_none() {
        // Somebody else's key says nothing.
        return Ok(text(ParentTask::KEY).and_then(|it| it.parse().ok()));
    }
    let named = text(ParentTask::PARENT).and_then(|it| it.parse().ok());
    named.map(Some).ok_or_else(|| {
        let message = format!("\"{}\" in _meta is not DISPATCH_ID/TASK_ID", ParentTask::PARENT);
        let hint = "pass on \"parallel-dispatch/key\" of the call that the task came with";
        Refusal::of(ErrorCode::InvalidType, "/_meta", &message, hint)
    })
}

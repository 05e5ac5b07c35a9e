//! Why a resource cannot be had, as an error of the protocol.

use rmcp::ErrorData;
use serde_json::json;

use super::uri::UriFault;
use crate::model::{ErrorCode, Refusal};

/// A refusal as an error of the protocol. Clients show only its message, so the hint is in it.
pub(in crate::mcp) fn to_error(refusal: &Refusal) -> ErrorData {
    let body = refusal.to_body();
    let message = format!("{}: {}", body.error.message, body.error.hint);
    let data = serde_json::to_value(&body).ok();
    let unknown = [ErrorCode::UnknownDispatch, ErrorCode::UnknownTask, ErrorCode::UnknownPlan];
    let ours = [ErrorCode::StorageUnavailable, ErrorCode::Internal, ErrorCode::Busy];
    if unknown.contains(&refusal.code()) {
        ErrorData::resource_not_found(message, data)
    } else if ours.contains(&refusal.code()) {
        ErrorData::internal_error(message, data)
    } else {
        ErrorData::invalid_params(message, data)
    }
}

impl From<UriFault> for ErrorData {
    fn from(fault: UriFault) -> Self {
        let message = format!("{fault}: resources/list and resources/templates/list say what is");
        match fault {
            UriFault::Unknown(uri) => {
                Self::resource_not_found(message, Some(json!({ "uri": uri })))
            }
            UriFault::Malformed { .. } => Self::invalid_params(message, None),
        }
    }
}

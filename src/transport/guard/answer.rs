//! Answers to requests that are not served: JSON bodies, whoever refused.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};

use crate::{
    model::{ErrorCode, Refusal, text},
    transport::envelope::Rejection,
};

/// The longest plain text of an inner error that is passed on, in bytes.
const TEXT_BYTES_MAX: usize = 2_048;

/// A request that is not served.
#[derive(Debug)]
pub(in crate::transport) struct Refused {
    status: StatusCode,
    body: Value,
    retry_after_ms: Option<u64>,
    challenge: Option<Box<HeaderValue>>,
}

/// Refuses for want of room; the client is asked to come back in `retry_after_ms`.
pub(in crate::transport) fn busy(message: &str, retry_after_ms: u64) -> Refused {
    let refusal = Refusal::of(ErrorCode::Busy, "", message, "come back later");
    let mut refused =
        Refused::fault(StatusCode::SERVICE_UNAVAILABLE, &refusal.retry_after(retry_after_ms));
    refused.retry_after_ms = Some(retry_after_ms);
    refused
}

/// Puts the plain-text errors of inner services into the JSON shape of all errors.
pub(super) async fn in_json(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || !is_plain(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let said = Limited::new(body, TEXT_BYTES_MAX).collect().await;
    let said = said.map(|it| String::from_utf8_lossy(&it.to_bytes()).into_owned());
    let said = said.ok().filter(|it| !it.is_empty());
    let reason = status.canonical_reason().unwrap_or("error");
    let refused = Refused::new(status, code_of(status), said.as_deref().unwrap_or(reason), "", "");
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, Body::from(refused.body.to_string()))
}

/// Adds the headers that every answer carries.
pub(super) fn with_security_headers(mut response: Response) -> Response {
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

impl Refused {
    /// Refuses for a reason that HTTP has and documents have not.
    pub(in crate::transport) fn new(
        status: StatusCode,
        code: &str,
        message: &str,
        path: &str,
        hint: &str,
    ) -> Self {
        let message = text::escape(&text::cut(message, 400));
        let error = json!({"code": code, "message": message, "path": path, "hint": hint});
        Self { status, body: json!({"error": error}), retry_after_ms: None, challenge: None }
    }

    /// Refuses for a fault of the contract's list.
    pub(in crate::transport) fn fault(status: StatusCode, refusal: &Refusal) -> Self {
        Self { status, body: json!(refusal.to_body()), retry_after_ms: None, challenge: None }
    }

    /// Refuses a body that is no JSON-RPC message.
    pub(super) fn unreadable(rejection: &Rejection) -> Self {
        let body = rejection.to_json();
        Self { status: StatusCode::BAD_REQUEST, body, retry_after_ms: None, challenge: None }
    }

    /// The same, saying in `WWW-Authenticate` how a caller is let in.
    pub(super) fn challenged(self, challenge: &str) -> Self {
        Self { challenge: HeaderValue::from_str(challenge).ok().map(Box::new), ..self }
    }

    /// The status it is refused with.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// Writes the answer.
    pub(in crate::transport) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(millis) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1_000)));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, *challenge);
        }
        response
    }
}

fn is_plain(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_none_or(|it| it.as_bytes().starts_with(b"text/plain"))
}

fn code_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::NOT_ACCEPTABLE => "not_acceptable",
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::RequestTooLarge.as_str(),
        _ if status.is_server_error() => ErrorCode::Internal.as_str(),
        _ => "bad_request",
    }
}

//! Finds out who calls, before the body is read; strangers are shown a glimpse at most.

use axum::{
    body::Body,
    http::{Method, header, request::Parts},
    response::Response,
};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Map, Value};

use super::{Refused, busy};
use crate::transport::access::{Access, Denied, Term};

/// The longest answer that a glimpse is taken of, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// When the keys of an authorization server that could not be read are worth another try, in
/// milliseconds.
const KEYS_AFTER_MS: u64 = 5_000;

/// What those who show no token see of a route's JSON answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// The path of the route.
    pub path: &'static str,
    /// The fields that are shown.
    pub fields: &'static [&'static str],
}

/// How much of the answer the caller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// All of it.
    Whole,
    /// Some fields.
    Only(&'static [&'static str]),
}

/// Who was let in.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    pub(super) shown: Shown,
    /// Until when the caller's token counts, where one was shown.
    pub(super) term: Option<Term>,
}

/// The routes for which it is not asked who calls, or not with that consequence.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Paths that are for everybody.
    pub(super) paths: Vec<String>,
    /// What strangers see of others.
    pub(super) glimpses: Vec<Glimpse>,
}

/// Takes the token out of the request and puts the identity of its owner in, if callers must have
/// one.
pub(super) async fn admit(
    parts: &mut Parts,
    access: &Access,
    open: &Open,
) -> Result<Admission, Refused> {
    let identified = if access.is_restricted() && !open.is_for_everybody(parts) {
        Some(access.identify(&parts.headers).await)
    } else {
        None
    };
    parts.headers.remove(header::AUTHORIZATION);
    match identified {
        None => Ok(Admission { shown: Shown::Whole, term: None }),
        Some(Ok((identity, term))) => {
            parts.extensions.insert(identity);
            Ok(Admission { shown: Shown::Whole, term: Some(term) })
        }
        Some(Err(denied)) => match open.glimpse(parts) {
            Some(fields) if denied == Denied::Missing => {
                Ok(Admission { shown: Shown::Only(fields), term: None })
            }
            _ => Err(refuse(access, &denied)),
        },
    }
}

impl Open {
    fn is_for_everybody(&self, parts: &Parts) -> bool {
        self.paths.iter().any(|it| it == parts.uri.path())
    }

    fn glimpse(&self, parts: &Parts) -> Option<&'static [&'static str]> {
        let is_read = matches!(parts.method, Method::GET | Method::HEAD);
        let glimpse = self.glimpses.iter().find(|it| it.path == parts.uri.path());
        glimpse.filter(|_| is_read).map(|it| it.fields)
    }
}

impl Shown {
    /// Leaves of the answer what may be seen.
    pub(super) async fn of(self, response: Response) -> Response {
        let Self::Only(fields) = self else { return response };
        let (mut parts, body) = response.into_parts();
        let whole = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let whole = whole.ok().and_then(|it| serde_json::from_slice(&it.to_bytes()).ok());
        let whole: Map<String, Value> = whole.unwrap_or_default();
        let seen = whole.into_iter().filter(|it| fields.contains(&it.0.as_str()));
        parts.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(parts, Body::from(Value::Object(seen.collect()).to_string()))
    }
}

fn refuse(access: &Access, denied: &Denied) -> Refused {
    if *denied == Denied::Unready {
        // A challenge would have the client throw a good token away.
        return busy(denied.message(), KEYS_AFTER_MS);
    }
    let (code, message) = (denied.code(), denied.message());
    Refused::new(denied.status(), code, message, "", denied.hint())
        .challenged(&access.challenge(denied))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_glimpse_has_the_named_fields_and_no_others() {
        let shown = Shown::Only(&["status", "version"]);
        for (whole, seen) in [
            (
                r#"{"status":"healthy","agents":["coder"],"version":"1"}"#,
                r#"{"status":"healthy","version":"1"}"#,
            ),
            (r#"{"agents":{"status":1}}"#, "{}"),
            ("no JSON", "{}"),
        ] {
            let answer = shown.of(Response::new(Body::from(whole))).await;
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(String::from_utf8_lossy(&bytes), seen);
        }
    }
}

//! Why a caller is not let in, and what they are told.

use axum::http::StatusCode;

use super::{jwt::OAuthOptions, metadata::Metadata};

/// Why a caller is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Denied {
    /// No token was shown.
    Missing,
    /// The request does not say one thing.
    Malformed(&'static str),
    /// A token was shown that does not count; why not, for its owner.
    Invalid(String),
    /// The token counts, but not for this.
    Scope,
    /// It cannot be told now whether the token counts.
    Unready,
}

impl Denied {
    /// Denies a token for a reason that is always said in the same words.
    pub(super) fn invalid(message: &str) -> Self {
        Self::Invalid(message.to_owned())
    }

    /// The status of the answer.
    pub(in crate::transport) fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Invalid(_) => StatusCode::UNAUTHORIZED,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Scope => StatusCode::FORBIDDEN,
            Self::Unready => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The code of the answer; where a token was shown, that of RFC 6750.
    pub(in crate::transport) fn code(&self) -> &'static str {
        match self {
            Self::Missing => "unauthorized",
            Self::Malformed(_) => "invalid_request",
            Self::Invalid(_) => "invalid_token",
            Self::Scope => "insufficient_scope",
            Self::Unready => "busy",
        }
    }

    /// What is wrong.
    pub(in crate::transport) fn message(&self) -> &str {
        match self {
            Self::Missing => "this server wants to know who calls",
            Self::Malformed(message) => message,
            Self::Invalid(message) => message,
            Self::Scope => "the token lacks a scope that this server needs",
            Self::Unready => "the keys of the authorization server cannot be read now",
        }
    }

    /// What to do about it.
    pub(in crate::transport) fn hint(&self) -> &'static str {
        match self {
            Self::Missing => "send the header Authorization: Bearer TOKEN",
            Self::Malformed(_) => "send one header Authorization: Bearer TOKEN",
            Self::Invalid(_) => "get another token",
            Self::Scope => {
                "ask the authorization server for the scopes that WWW-Authenticate names"
            }
            Self::Unready => "come back later with the same token",
        }
    }

    /// The challenge in `WWW-Authenticate`, with what a client needs to get a token.
    pub(super) fn challenge(&self, oauth: Option<&OAuthOptions>) -> String {
        let mut said = Vec::new();
        match oauth {
            None => said.push("realm=\"parallel-dispatch\"".to_owned()),
            Some(options) => {
                said.push(format!("resource_metadata=\"{}\"", Metadata::of(options).url()));
                if !options.scopes.is_empty() {
                    said.push(format!("scope=\"{}\"", options.scopes.join(" ")));
                }
            }
        }
        // Who showed nothing has made no mistake yet.
        if *self != Self::Missing {
            said.push(format!("error=\"{}\"", self.code()));
        }
        format!("Bearer {}", said.join(", "))
    }
}

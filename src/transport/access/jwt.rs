//! The tokens of an authorization server: JWTs that are for this server, from that one, and in time.

use std::time::Duration;

use jsonwebtoken::{Header, Validation, decode, decode_header, errors::ErrorKind};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Denied,
    keys::{KeySource, Keys, KeysError},
    signature,
};
use crate::model::{Identity, Sees};

/// By how much the clocks of this machine and of the authorization server may differ.
const LEEWAY: Duration = Duration::from_secs(60);

/// What this server knows about the authorization server.
#[derive(Clone, Debug)]
pub struct OAuthOptions {
    /// The `iss` of its tokens, exactly.
    pub issuer: String,
    /// What must be among the `aud` of a token.
    pub audience: String,
    /// The address at which clients reach this server, which they are told in the metadata.
    pub resource: String,
    /// Where clients get tokens.
    pub authorization_servers: Vec<String>,
    /// The scopes that every token must have.
    pub scopes: Vec<String>,
    /// The scope that lets a caller see everything.
    pub all_scope: Option<String>,
    /// What callers without that scope see.
    pub sees: Sees,
}

/// A resource server in the sense of OAuth: checks tokens, and gives out none.
#[derive(Debug)]
pub struct OAuth {
    options: OAuthOptions,
    keys: Keys,
}

/// What is read of a token; the rest is checked by the library.
#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    /// Names, with spaces between them.
    #[serde(default)]
    scope: Option<Value>,
    /// The same by another name, sometimes a list.
    #[serde(default)]
    scp: Option<Value>,
}

impl Default for OAuthOptions {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            resource: String::new(),
            authorization_servers: Vec::new(),
            scopes: Vec::new(),
            all_scope: None,
            sees: Sees::Own,
        }
    }
}

impl OAuth {
    /// Checks tokens by the keys of `source`, which is read when the first token comes.
    pub fn new(options: OAuthOptions, source: KeySource) -> Result<Self, KeysError> {
        signature::install();
        Ok(Self { options, keys: Keys::new(source)? })
    }

    /// Reads the keys; answers how many of them can be used.
    pub async fn look(&self) -> Result<usize, KeysError> {
        self.keys.look().await
    }

    pub(super) fn options(&self) -> &OAuthOptions {
        &self.options
    }

    /// Finds out who calls.
    pub(super) async fn identify(&self, token: &str) -> Result<Identity, Denied> {
        let header = decode_header(token).map_err(|it| invalid(it.kind()))?;
        if !signature::ALGORITHMS.contains(&header.alg) {
            return Err(invalid(&ErrorKind::InvalidAlgorithm));
        }
        if header.crit.is_some() {
            return Err(Denied::Invalid("the token has extensions (`crit`)".to_owned()));
        }
        let Some(key) = self.keys.find(header.kid.as_deref(), header.alg).await else {
            return Err(Denied::Invalid("the token is signed by an unknown key".to_owned()));
        };
        let claims = decode::<Claims>(token, &key, &self.validation(&header));
        self.accept(&claims.map_err(|it| invalid(it.kind()))?.claims)
    }

    fn validation(&self, header: &Header) -> Validation {
        let mut validation = Validation::new(header.alg);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.options.issuer]);
        validation.set_audience(&[&self.options.audience]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY.as_secs();
        validation
    }

    fn accept(&self, claims: &Claims) -> Result<Identity, Denied> {
        let has = |wanted: &String| claims.scopes().any(|it| it == wanted);
        if !self.options.scopes.iter().all(has) {
            return Err(Denied::Scope);
        }
        let sees = match &self.options.all_scope {
            Some(scope) if has(scope) => Sees::All,
            _ => self.options.sees,
        };
        // No token of the settings has such a name, and no issuer has a fragment.
        let name = format!("{}#{}", self.options.issuer, claims.sub);
        let is_somebody = !claims.sub.is_empty();
        Identity::new(&name, sees)
            .filter(|_| is_somebody)
            .ok_or_else(|| Denied::Invalid("the token's `sub` cannot name anybody".to_owned()))
    }
}

impl Claims {
    fn scopes(&self) -> impl Iterator<Item = &str> {
        let said = [&self.scope, &self.scp].into_iter().flatten();
        said.flat_map(|it| match it {
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            other => other.as_str().map(|it| it.split(' ').collect()).unwrap_or_else(Vec::new),
        })
    }
}

/// What the owner of a token is told.
#[expect(clippy::wildcard_enum_match_arm, reason = "the rest says how the bytes are wrong")]
fn invalid(kind: &ErrorKind) -> Denied {
    let message = match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::MissingRequiredClaim(claim) => {
            return Denied::Invalid(format!("the token has no usable `{claim}`"));
        }
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::UnsupportedAlgorithm => "the token is signed in a way that is not taken",
        _ => "the token is not known, and is no JWT that can be read",
    };
    Denied::Invalid(message.to_owned())
}

//! Tokens as an authorization server makes them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://login.example/";
pub(crate) const AUDIENCE: &str = "https://pd.example/mcp";

/// A key pair with its id.
pub(crate) struct Signer {
    id: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    pub(crate) fn new(id: &'static str) -> Self {
        let (by, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(by, &random).unwrap();
        Self { id, pair: EcdsaKeyPair::from_pkcs8(by, pkcs8.as_ref(), &random).unwrap() }
    }

    /// Its public key.
    pub(crate) fn jwk(&self) -> Value {
        let (x, y) = self.public()[1..].split_at(32);
        let (x, y) = (base64url(x), base64url(y));
        json!({ "kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "x": x, "y": y })
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({ "alg": "ES256", "kid": self.id }), claims)
    }

    pub(crate) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let text = unsigned(header, claims);
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", base64url(signature.as_ref()))
    }

    /// The point of its public key.
    pub(crate) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }
}

/// Keys as they are published.
pub(crate) fn key_set(keys: &[Value]) -> String {
    // What cannot be read is of no concern to those who look for another one.
    let mut all = vec![json!({ "kty": "new", "kid": "?" })];
    all.extend_from_slice(keys);
    json!({ "keys": all }).to_string()
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The claims of somebody who may call.
pub(crate) fn claims(who: &str) -> Value {
    let (from, until) = (now(), now() + 600);
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": who, "exp": until, "nbf": from, "scope": "a" })
}

/// A token without a signature.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |it: &Value| base64url(it.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

/// Bytes as tokens have them.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

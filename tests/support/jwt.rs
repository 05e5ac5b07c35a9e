//! Tokens as an authorization server makes them, and as nobody should.

use ring::{
    hmac,
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PSS_SHA512, RsaKeyPair,
    },
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
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
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
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

    /// Signed by its public key as if that were a secret.
    pub(crate) fn confused_token(&self, claims: &Value) -> String {
        let text = unsigned(&json!({ "alg": "HS256", "kid": self.id }), claims);
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.pair.public_key().as_ref());
        format!("{text}.{}", base64url(hmac::sign(&key, text.as_bytes()).as_ref()))
    }
}

/// Keys as they are published.
pub(crate) fn key_set(keys: &[Value]) -> String {
    // What cannot be read is of no concern to those who look for another one.
    let keys = [&[json!({ "kty": "new", "kid": "?" })], keys].concat();
    json!({ "keys": keys }).to_string()
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The claims of somebody who may call.
pub(crate) fn claims(who: &str) -> Value {
    let now = now();
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": who, "exp": now + 600, "nbf": now, "scope": "a" })
}

/// The same, but for one of them.
pub(crate) fn claims_but(name: &str, value: Value) -> Value {
    let mut claims = claims("ada");
    claims[name] = value;
    claims
}

/// A token without a signature.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |it: &Value| base64url(it.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

/// An RSA key made for tests, and a token signed by it in each of two ways.
pub(crate) fn rsa(claims: &Value) -> (Value, [String; 2]) {
    let pem = include_bytes!("../keys/rsa.key");
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap();
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let public = pair.public();
    let parts: PublicKeyComponents<Vec<u8>> = public.into();
    let (n, e) = (base64url(&parts.n), base64url(&parts.e));
    let token = |name: &str, by: &'static dyn ring::signature::RsaEncoding| {
        let text = unsigned(&json!({ "alg": name, "kid": "rsa" }), claims);
        let mut signature = vec![0; public.modulus_len()];
        pair.sign(by, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        format!("{text}.{}", base64url(&signature))
    };
    let jwk = json!({ "kty": "RSA", "kid": "rsa", "n": n, "e": e });
    (jwk, [token("RS256", &RSA_PKCS1_SHA256), token("PS512", &RSA_PSS_SHA512)])
}

fn base64url(bytes: &[u8]) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=chunk.len() {
            text.push(char::from(letters[(group >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}

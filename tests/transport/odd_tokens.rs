//! Tokens as few authorization servers make them, and as nobody should.

use ring::{
    hmac,
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA512, RsaKeyPair},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::jwt::{Signer, base64url, claims, unsigned};

/// Signed by its public key as if that were a secret.
pub(crate) fn confused(signer: &Signer, claims: &Value) -> String {
    let text = unsigned(&json!({ "alg": "HS256", "kid": signer.id }), claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, signer.pair.public_key().as_ref());
    format!("{text}.{}", base64url(hmac::sign(&key, text.as_bytes()).as_ref()))
}

/// The claims of somebody who may call, but for one of them.
pub(crate) fn claims_but(name: &str, value: Value) -> Value {
    let mut claims = claims("ada");
    claims[name] = value;
    claims
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

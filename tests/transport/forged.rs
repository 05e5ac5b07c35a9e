//! Tokens as few authorization servers make them, and as none should.

use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        RSA_PKCS1_SHA256, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::jwt::{Signer, base64url, claims, unsigned};

/// The claims of somebody who may call, but for one of them.
pub(crate) fn claims_but(name: &str, value: Value) -> Value {
    let mut claims = claims("ada");
    claims[name] = value;
    claims
}

/// Signed by a public key as if that were a secret.
pub(crate) fn confused_token(signer: &Signer, claims: &Value) -> String {
    let text = unsigned(&json!({ "alg": "HS256", "kid": "one" }), claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, signer.public());
    format!("{text}.{}", base64url(hmac::sign(&key, text.as_bytes()).as_ref()))
}

/// An RSA key made for tests, and a token signed by it in each of two ways.
pub(crate) fn rsa(claims: &Value) -> (Value, [String; 2]) {
    let der = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("../keys/rsa.key")).unwrap();
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let public = pair.public();
    let parts = RsaPublicKeyComponents::<Vec<u8>>::from(public);
    let (n, e) = (base64url(&parts.n), base64url(&parts.e));
    let token = |name: &str, by: &'static dyn RsaEncoding| {
        let text = unsigned(&json!({ "alg": name, "kid": "rsa" }), claims);
        let mut signature = vec![0; public.modulus_len()];
        pair.sign(by, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        format!("{text}.{}", base64url(&signature))
    };
    let jwk = json!({ "kty": "RSA", "kid": "rsa", "n": n, "e": e });
    (jwk, [token("RS256", &RSA_PKCS1_SHA256), token("PS512", &RSA_PSS_SHA512)])
}

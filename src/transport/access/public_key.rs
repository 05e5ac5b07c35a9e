//! Public keys as authorization servers publish them (RFC 7517), and signatures checked by ring.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;

/// A way of signing (RFC 7518). Those with a shared secret, or none, are unknown here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Algorithm {
    name: &'static str,
    by: By,
}

/// A public key. It serves the algorithms of its own kind only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// Modulus and exponent, without zeros before them.
    Rsa(Vec<u8>, Vec<u8>),
    /// A point on the curve of this name.
    Curve(&'static str, Vec<u8>),
}

#[derive(Clone, Copy)]
enum By {
    Rsa(&'static RsaParameters),
    Curve(&'static str, &'static dyn VerificationAlgorithm),
}

const P256: &str = "P-256";
const P384: &str = "P-384";
const ED: &str = "Ed25519";

const ALGORITHMS: [Algorithm; 9] = [
    rsa("RS256", &RSA_PKCS1_2048_8192_SHA256),
    rsa("RS384", &RSA_PKCS1_2048_8192_SHA384),
    rsa("RS512", &RSA_PKCS1_2048_8192_SHA512),
    rsa("PS256", &RSA_PSS_2048_8192_SHA256),
    rsa("PS384", &RSA_PSS_2048_8192_SHA384),
    rsa("PS512", &RSA_PSS_2048_8192_SHA512),
    Algorithm { name: "ES256", by: By::Curve(P256, &ECDSA_P256_SHA256_FIXED) },
    Algorithm { name: "ES384", by: By::Curve(P384, &ECDSA_P384_SHA384_FIXED) },
    Algorithm { name: "EdDSA", by: By::Curve(ED, &ED25519) },
];

const fn rsa(name: &'static str, parameters: &'static RsaParameters) -> Algorithm {
    Algorithm { name, by: By::Rsa(parameters) }
}

impl Algorithm {
    /// The algorithm of a name, if it is one that is taken.
    pub(super) fn named(name: &str) -> Option<Self> {
        ALGORITHMS.into_iter().find(|it| it.name == name)
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        self.name
    }

    /// Whether it signs by keys of this kind.
    pub(super) fn is_for(self, key: &PublicKey) -> bool {
        match (self.by, key) {
            (By::Rsa(_), PublicKey::Rsa(..)) => true,
            (By::Curve(wanted, _), PublicKey::Curve(name, _)) => wanted == *name,
            (By::Rsa(_) | By::Curve(..), _) => false,
        }
    }
}

impl PublicKey {
    /// Reads the key of a JWK; nothing if it is of another kind, or not whole.
    pub(super) fn of(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| decode(text(name)?);
        match (text("kty")?, text("crv")) {
            ("RSA", _) => Some(Self::Rsa(without_zeros(bytes("n")?), without_zeros(bytes("e")?))),
            ("EC", Some(P256)) => Some(Self::Curve(P256, point(&bytes("x")?, &bytes("y")?, 32)?)),
            ("EC", Some(P384)) => Some(Self::Curve(P384, point(&bytes("x")?, &bytes("y")?, 48)?)),
            ("OKP", Some(ED)) => Some(Self::Curve(ED, bytes("x")?)),
            _ => None,
        }
    }

    /// Whether the owner of this key signed the message in that way.
    pub(super) fn has_signed(&self, algorithm: Algorithm, message: &[u8], by: &[u8]) -> bool {
        if !algorithm.is_for(self) {
            return false;
        }
        match (self, algorithm.by) {
            (Self::Rsa(n, e), By::Rsa(parameters)) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, by).is_ok()
            }
            (Self::Curve(_, point), By::Curve(_, algorithm)) => {
                UnparsedPublicKey::new(algorithm, point).verify(message, by).is_ok()
            }
            (Self::Rsa(..) | Self::Curve(..), _) => false,
        }
    }
}

impl std::fmt::Debug for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rsa(_) => "RSA",
            Self::Curve(name, _) => name,
        })
    }
}

/// The bytes of base64url without padding.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Some write a sign before the number, which ring does not take.
fn without_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let n_zeros = number.iter().take_while(|it| **it == 0).count();
    number.drain(..n_zeros);
    number
}

/// A point in its uncompressed form.
fn point(x: &[u8], y: &[u8], n_bytes: usize) -> Option<Vec<u8>> {
    (x.len() == n_bytes && y.len() == n_bytes).then(|| [&[4], x, y].concat())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn algorithms_with_a_shared_secret_or_none_are_unknown() {
        for name in ["none", "None", "", "HS256", "HS384", "HS512", "rs256", "RS1", "ES256K"] {
            assert!(Algorithm::named(name).is_none(), "{name}");
        }
        assert_eq!(Algorithm::named("PS384").unwrap().name(), "PS384");
    }

    #[test]
    fn a_key_serves_the_algorithms_of_its_kind() {
        let (x, y) = ("A".repeat(43), "B".repeat(42) + "A");
        let serves = |jwk: Value| {
            let key = PublicKey::of(&jwk)?;
            let names = ALGORITHMS.iter().filter(|it| it.is_for(&key)).map(|it| it.name);
            Some(names.collect::<Vec<_>>().join(" "))
        };
        let rsa = json!({ "kty": "RSA", "n": "AAEC", "e": "AQAB" });
        assert_eq!(PublicKey::of(&rsa), Some(PublicKey::Rsa(vec![1, 2], vec![1, 0, 1])));
        assert_eq!(serves(rsa).unwrap(), "RS256 RS384 RS512 PS256 PS384 PS512");
        let p256 = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
        assert_eq!(serves(p256).unwrap(), "ES256");
        let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        assert_eq!(serves(ed).unwrap(), "EdDSA");
        for wrong in [
            json!({ "kty": "EC", "crv": "P-384", "x": x, "y": y }),
            json!({ "kty": "EC", "crv": "P-256", "x": x }),
            json!({ "kty": "EC", "crv": "secp256k1", "x": x, "y": y }),
            json!({ "kty": "oct", "k": x }),
            json!({ "kty": "RSA", "n": "A+/=", "e": "AQAB" }),
            json!({ "n": "AAEC", "e": "AQAB" }),
            json!(5),
        ] {
            assert_eq!(serves(wrong.clone()), None, "{wrong}");
        }
    }
}

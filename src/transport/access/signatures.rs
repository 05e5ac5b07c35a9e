//! What jsonwebtoken leaves to others: the signatures of tokens, which ring checks.
//!
//! A key decides itself which ways of signing it is for, so a token cannot make it serve another
//! one; those with a shared secret, or none, are not there at all.

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    jwk::{
        AlgorithmParameters, EllipticCurve, EllipticCurveKeyParameters, Jwk, OctetKeyPairParameters,
    },
    signature::{self, Verifier},
};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

/// Checks signatures, and makes none.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| Ok(Box::new(RingVerifier::new(*algorithm, key)?)),
    // For whoever makes keys; nobody does here.
    key_utils: KeyUtils::new_unimplemented(),
};

/// The ways of signing that are taken (RFC 7518), each with what it needs of a key.
const WAYS: [(Algorithm, Way); 9] = [
    (Algorithm::RS256, Way::Rsa(&RSA_PKCS1_2048_8192_SHA256)),
    (Algorithm::RS384, Way::Rsa(&RSA_PKCS1_2048_8192_SHA384)),
    (Algorithm::RS512, Way::Rsa(&RSA_PKCS1_2048_8192_SHA512)),
    (Algorithm::PS256, Way::Rsa(&RSA_PSS_2048_8192_SHA256)),
    (Algorithm::PS384, Way::Rsa(&RSA_PSS_2048_8192_SHA384)),
    (Algorithm::PS512, Way::Rsa(&RSA_PSS_2048_8192_SHA512)),
    (Algorithm::ES256, Way::Curve(EllipticCurve::P256, 65, &ECDSA_P256_SHA256_FIXED)),
    (Algorithm::ES384, Way::Curve(EllipticCurve::P384, 97, &ECDSA_P384_SHA384_FIXED)),
    (Algorithm::EdDSA, Way::Curve(EllipticCurve::Ed25519, 32, &ED25519)),
];

#[derive(Clone)]
enum Way {
    Rsa(&'static RsaParameters),
    /// By a point on a curve that is written in so many bytes.
    Curve(EllipticCurve, usize, &'static dyn VerificationAlgorithm),
}

/// Makes ring the one who checks signatures for this process.
pub(super) fn install() {
    if PROVIDER.install_default().is_err() {
        tracing::trace!("who checks signatures of tokens was chosen before");
    }
}

/// Whether tokens may be signed in that way.
pub(super) fn is_taken(algorithm: Algorithm) -> bool {
    way(algorithm).is_some()
}

/// The ways of signing that a published key is for; none if it is of another kind, or not whole.
pub(super) fn algorithms(jwk: &Jwk, key: &DecodingKey) -> Vec<Algorithm> {
    let n_bytes = key.try_get_as_bytes().map_or(0, <[u8]>::len);
    let is_for = |way: &Way| match (&jwk.algorithm, way) {
        (AlgorithmParameters::RSA(_), Way::Rsa(_)) => true,
        (
            AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters { curve, .. })
            | AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters { curve, .. }),
            Way::Curve(wanted, n_bytes_wanted, _),
        ) => curve == wanted && n_bytes == *n_bytes_wanted,
        _ => false,
    };
    WAYS.iter().filter(|it| is_for(&it.1)).map(|it| it.0).collect()
}

fn way(algorithm: Algorithm) -> Option<Way> {
    WAYS.iter().find(|it| it.0 == algorithm).map(|it| it.1.clone())
}

struct RingVerifier {
    algorithm: Algorithm,
    way: Way,
    key: DecodingKey,
}

impl RingVerifier {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self, Error> {
        let way = way(algorithm).filter(|_| algorithm.family() == key.family());
        let way = way.ok_or(ErrorKind::InvalidAlgorithm)?;
        Ok(Self { algorithm, way, key: key.clone() })
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], by: &Vec<u8>) -> Result<(), signature::Error> {
        let checked = match (self.key.kind(), &self.way) {
            (DecodingKeyKind::RsaModulusExponent { n, e }, Way::Rsa(parameters)) => {
                let key = RsaPublicKeyComponents { n: without_zeros(n), e: without_zeros(e) };
                key.verify(parameters, message, by)
            }
            (DecodingKeyKind::SecretOrDer(point), Way::Curve(_, _, algorithm)) => {
                UnparsedPublicKey::new(*algorithm, point).verify(message, by)
            }
            _ => Err(ring::error::Unspecified),
        };
        checked.map_err(|_| signature::Error::new())
    }
}

/// Some write a sign before the number, which ring does not take.
fn without_zeros(number: &[u8]) -> &[u8] {
    let n_zeros = number.iter().take_while(|it| **it == 0).count();
    &number[n_zeros..]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn algorithms_with_a_shared_secret_or_none_are_unknown() {
        for name in ["none", "None", "", "HS256", "HS384", "HS512", "rs256", "RS1", "ES256K"] {
            assert!(!name.parse().is_ok_and(is_taken), "{name}");
        }
        assert!(is_taken(Algorithm::PS384));
        let secret = DecodingKey::from_secret(b"public");
        for (algorithm, _) in WAYS {
            assert!(RingVerifier::new(algorithm, &secret).is_err(), "{algorithm:?}");
        }
        assert!(RingVerifier::new(Algorithm::HS256, &secret).is_err());
    }

    #[test]
    fn a_key_serves_the_algorithms_of_its_kind() {
        let (x, y) = ("A".repeat(43), "B".repeat(42) + "A");
        let serves = |jwk: Value| {
            let jwk: Jwk = serde_json::from_value(jwk).ok()?;
            let names = algorithms(&jwk, &DecodingKey::from_jwk(&jwk).ok()?);
            let names: Vec<_> = names.iter().map(|it| format!("{it:?}")).collect();
            (!names.is_empty()).then(|| names.join(" "))
        };
        let rsa = json!({ "kty": "RSA", "n": "AAEC", "e": "AQAB" });
        assert_eq!(serves(rsa).unwrap(), "RS256 RS384 RS512 PS256 PS384 PS512");
        assert_eq!(without_zeros(&[0, 1, 0, 2]), [1, 0, 2]);
        let p256 = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
        assert_eq!(serves(p256).unwrap(), "ES256");
        let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        assert_eq!(serves(ed).unwrap(), "EdDSA");
        for wrong in [
            json!({ "kty": "EC", "crv": "P-384", "x": x, "y": y }),
            json!({ "kty": "EC", "crv": "P-256", "x": x }),
            json!({ "kty": "EC", "crv": "secp256k1", "x": x, "y": y }),
            json!({ "kty": "OKP", "crv": "P-256", "x": x }),
            json!({ "kty": "oct", "k": x }),
            json!({ "kty": "RSA", "n": "A+/=", "e": "AQAB" }),
            json!({ "n": "AAEC", "e": "AQAB" }),
            json!(5),
        ] {
            assert_eq!(serves(wrong.clone()), None, "{wrong}");
        }
    }
}

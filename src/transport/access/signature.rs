//! Checks the signatures of tokens by ring; algorithms with a shared secret, or none, are unknown.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature::{self, Verifier},
};
use ring::signature::{self as ring_signature, RsaParameters, RsaPublicKeyComponents};

/// The algorithms that a token may be signed by.
pub(super) const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

static BY_RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| Ok(Box::new(ByRing::new(*algorithm, key)?)),
    // These would be asked about private keys, of which there are none here.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Chooses ring for the whole process.
pub(super) fn install() {
    if BY_RING.install_default().is_err() {
        tracing::trace!("it was chosen before");
    }
}

/// One algorithm with one public key.
struct ByRing {
    algorithm: Algorithm,
    key: DecodingKey,
    by: By,
}

enum By {
    Rsa(&'static RsaParameters),
    Curve(&'static dyn ring_signature::VerificationAlgorithm),
}

impl ByRing {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self, Error> {
        let by = match algorithm {
            Algorithm::RS256 => By::Rsa(&ring_signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => By::Rsa(&ring_signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => By::Rsa(&ring_signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => By::Rsa(&ring_signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => By::Rsa(&ring_signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => By::Rsa(&ring_signature::RSA_PSS_2048_8192_SHA512),
            Algorithm::ES256 => By::Curve(&ring_signature::ECDSA_P256_SHA256_FIXED),
            Algorithm::ES384 => By::Curve(&ring_signature::ECDSA_P384_SHA384_FIXED),
            Algorithm::EdDSA => By::Curve(&ring_signature::ED25519),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 | _ => {
                return Err(ErrorKind::UnsupportedAlgorithm.into());
            }
        };
        // A public key must not serve an algorithm of another kind.
        if key.family() != algorithm.family() || key.family() == AlgorithmFamily::Hmac {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        Ok(Self { algorithm, key: key.clone(), by })
    }
}

impl Verifier<Vec<u8>> for ByRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match (&self.by, self.key.kind()) {
            (By::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let key = RsaPublicKeyComponents { n: without_zeros(n), e: without_zeros(e) };
                key.verify(parameters, message, signature)
            }
            (By::Curve(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
                ring_signature::UnparsedPublicKey::new(*algorithm, key).verify(message, signature)
            }
            (By::Rsa(_) | By::Curve(_), _) => Err(ring::error::Unspecified),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// Some write a sign before the number, which ring does not take.
fn without_zeros(number: &[u8]) -> &[u8] {
    let n_zeros = number.iter().take_while(|it| **it == 0).count();
    &number[n_zeros..]
}

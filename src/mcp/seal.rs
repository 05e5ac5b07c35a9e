//! Marks what clients keep for the server, so that only what the server wrote itself comes back.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;

/// Keeps this use of a secret apart from any other one.
const PURPOSE: &[u8] = b"parallel-dispatch requestState";

/// A secret that servers share which may go on with each other's calls.
#[derive(Clone, Debug)]
pub struct Seal(hmac::Key);

impl Seal {
    /// How long a secret is, in bytes.
    pub const SECRET_BYTES: usize = 32;

    /// A seal of random bytes that nobody else knows.
    pub fn new(secret: &[u8; Self::SECRET_BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The mark of these parts, in letters, digits, `-` and `_`.
    pub(super) fn mark(&self, parts: &[&str]) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &joined(parts)))
    }

    /// Whether `mark` is the mark of these parts, found out in constant time.
    pub(super) fn is_of(&self, mark: &str, parts: &[&str]) -> bool {
        let mark = URL_SAFE_NO_PAD.decode(mark);
        mark.is_ok_and(|it| hmac::verify(&self.0, &joined(parts), &it).is_ok())
    }
}

/// Other parts are other bytes: each stands behind its length.
fn joined(parts: &[&str]) -> Vec<u8> {
    let mut bytes = PURPOSE.to_vec();
    for part in parts {
        bytes.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_secret_and_of_these_parts() {
        let seal = Seal::new(&[1; 32]);
        let mark = seal.mark(&["ab", "c"]);
        assert!(seal.is_of(&mark, &["ab", "c"]) && Seal::new(&[1; 32]).is_of(&mark, &["ab", "c"]));
        assert!(!Seal::new(&[2; 32]).is_of(&mark, &["ab", "c"]));
        for other in [&["a", "bc"][..], &["abc"], &["ab", "c", ""], &["ab", "d"]] {
            assert!(!seal.is_of(&mark, other), "{other:?}");
        }
        for other in ["", "=", &mark[1..], &format!("{mark}A"), &mark.to_lowercase()] {
            assert!(!seal.is_of(other, &["ab", "c"]), "{other}");
        }
    }
}

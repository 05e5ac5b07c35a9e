//! Marks what clients keep for the server, so that only what the server wrote itself comes back.

use std::fmt::Write as _;

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

    /// The mark of these parts, in hexadecimal digits.
    pub(super) fn mark(&self, parts: &[&str]) -> String {
        let mut mark = String::with_capacity(64);
        for byte in hmac::sign(&self.0, &joined(parts)).as_ref() {
            // Writing to a string does not fail.
            let _written = write!(mark, "{byte:02x}");
        }
        mark
    }

    /// Whether `mark` is the mark of these parts, found out in constant time.
    pub(super) fn is_of(&self, mark: &str, parts: &[&str]) -> bool {
        bytes(mark).is_some_and(|it| hmac::verify(&self.0, &joined(parts), &it).is_ok())
    }
}

/// The bytes that hexadecimal digits stand for, as they are written here.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |it: u8| match it {
        b'0'..=b'9' => Some(it - b'0'),
        b'a'..=b'f' => Some(it - b'a' + 10),
        _ => None,
    };
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|it| Some((digit(it[0])? << 4) | digit(*it.get(1)?)?)).collect()
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
        for other in
            ["", "=", &mark[1..], &format!("{mark}0"), &format!("{mark}00"), &mark.to_uppercase()]
        {
            assert!(!seal.is_of(other, &["ab", "c"]), "{other}");
        }
    }
}

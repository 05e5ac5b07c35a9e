//! Secrets that are known by their value, because the program was given them: none shows its shape
//! or its name where another program repeats it.

use std::borrow::Cow;

use parking_lot::RwLock;

use super::{
    REDACTED,
    word::{has_digit, names_secret},
};

/// The shortest secret that is looked for, in bytes: what is shorter stands in other words too.
const BYTES_MIN: usize = 8;
/// The shortest text that is taken for a secret by its looks alone.
const RANDOM_BYTES_MIN: usize = 12;
/// How many are known, at most. A process has a few for each upstream.
const KNOWN_MAX: usize = 256;

/// What this process was given; held for one look or one addition.
static KNOWN: RwLock<Vec<Box<str>>> = RwLock::new(Vec::new());

/// Takes a secret out of every text from now on, in the whole process. What is shorter than 8 bytes
/// is not looked for.
pub fn remember(secret: &str) {
    let secret = secret.trim();
    if secret.len() < BYTES_MIN || KNOWN.read().iter().any(|it| **it == *secret) {
        return;
    }
    let mut known = KNOWN.write();
    if known.len() < KNOWN_MAX {
        known.push(secret.into());
    }
}

/// The same for a value that is a secret if its name says so.
pub fn remember_named(name: &str, value: &str) {
    if names_secret(name) {
        remember(value);
    }
}

/// The same for a value of the settings that is a secret too if it looks drawn by lot.
pub fn remember_if_secret(name: &str, value: &str) {
    if names_secret(name) || looks_random(value) {
        remember(value);
    }
}

/// `text` without the secrets that are known.
pub(super) fn without(mut text: Cow<'_, str>) -> Cow<'_, str> {
    for secret in KNOWN.read().iter() {
        if text.contains(&**secret) {
            text = text.replace(&**secret, REDACTED).into();
        }
    }
    text
}

/// Whether it is one long word of letters and digits, as no path, address or plain word is.
fn looks_random(value: &str) -> bool {
    let is_inner = |it: u8| it.is_ascii_alphanumeric() || b"_-.=+~".contains(&it);
    value.len() >= RANDOM_BYTES_MIN
        && value.bytes().all(is_inner)
        && has_digit(value)
        && value.bytes().any(|it| it.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::{super::redact, *};

    #[test]
    fn what_was_given_is_taken_out_wherever_it_stands() {
        assert_eq!(redact("say KIDSECRET-qwerty aloud"), "say KIDSECRET-qwerty aloud");
        remember("KIDSECRET-qwerty");
        assert_eq!(redact("say KIDSECRET-qwerty aloud"), "say [redacted] aloud");
        assert_eq!(redact("TOK=KIDSECRET-qwerty,KIDSECRET-qwerty"), "TOK=[redacted],[redacted]");
        remember("short");
        assert_eq!(redact("a short one"), "a short one");
    }

    #[test]
    fn values_are_secrets_by_their_name_or_their_looks() {
        remember_if_secret("MODE", "production-like");
        remember_if_secret("HOME", "/home/some-user1");
        remember_if_secret("NIGHT_TOKEN", "words only, and blanks");
        remember_if_secret("KEY", "q7f-0192-zzzz-known");
        let text = "production-like /home/some-user1 words only, and blanks q7f-0192-zzzz-known";
        assert_eq!(redact(text), "production-like /home/some-user1 [redacted] [redacted]");
    }
}

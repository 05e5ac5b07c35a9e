//! What a single word says: that it names a secret, or is one by its shape.

use super::REDACTED;

/// Words that stand after `password:` or `Bearer` without being one.
pub(super) fn is_auth_word(value: &str) -> bool {
    const WORDS: [&str; 40] = [
        "and",
        "any",
        "auth",
        "authentication",
        "authorization",
        "bool",
        "boolean",
        "bytes",
        "credentials",
        "empty",
        "error",
        "expired",
        "false",
        "field",
        "header",
        "incorrect",
        "invalid",
        "missing",
        "must",
        "nil",
        "none",
        "not",
        "null",
        "object",
        "optional",
        "realm",
        "required",
        "scheme",
        "scope",
        "self",
        "str",
        "string",
        "text",
        "the",
        "token",
        "tokens",
        "true",
        "undefined",
        "unknown",
        "wrong",
    ];
    let word = value.trim_end_matches(['.', '!', '?', ':']).to_ascii_lowercase();
    word == REDACTED || WORDS.contains(&word.split('=').next().unwrap_or_default())
}

/// Whether a key, field or variable of this name holds a secret.
pub(super) fn names_secret(name: &str) -> bool {
    const ENDS: [&str; 17] = [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "apikey",
        "accesskey",
        "accountkey",
        "secretkey",
        "privatekey",
        "signingkey",
        "encryptionkey",
        "token",
        "authorization",
        "credential",
        "credentials",
        "cookie",
    ];
    const HARMLESS: [&str; 6] = [
        "progresstoken",
        "pagetoken",
        "nexttoken",
        "canceltoken",
        "cancellationtoken",
        "stoptoken",
    ];
    if name.len() > 64 {
        return false;
    }
    let ends_with = |end: &&str| {
        // Joints and case do not count: api_key, api-key and apiKey are one name.
        let letters = name.bytes().rev().filter(|it| !matches!(it, b'_' | b'-' | b'.' | b' '));
        let mut letters = letters.map(|it| it.to_ascii_lowercase());
        end.bytes().rev().all(|it| letters.next() == Some(it))
    };
    ENDS.iter().any(ends_with) && !HARMLESS.iter().any(ends_with)
}

pub(super) fn is_password(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "passphrase", "pwd"].iter().any(|it| name.ends_with(it))
}

/// Whether a word is a secret by its own shape.
pub(super) fn has_secret_shape(word: &str) -> bool {
    const PREFIXES: [(&str, usize); 28] = [
        ("sk-", 16),
        ("sk_live_", 16),
        ("sk_test_", 16),
        ("rk_live_", 16),
        ("pk_live_", 16),
        ("ghp_", 20),
        ("gho_", 20),
        ("ghu_", 20),
        ("ghs_", 20),
        ("ghr_", 20),
        ("github_pat_", 20),
        ("glpat-", 16),
        ("xoxb-", 16),
        ("xoxp-", 16),
        ("xoxa-", 16),
        ("xapp-", 16),
        ("AIza", 30),
        ("hf_", 24),
        ("npm_", 24),
        ("gsk_", 20),
        ("xai-", 20),
        ("pplx-", 20),
        ("SG.", 20),
        ("ya29.", 20),
        ("hvs.", 20),
        ("pypi-", 20),
        ("dop_v1_", 20),
        ("AGE-SECRET-KEY-", 20),
    ];
    let is_prefixed = PREFIXES.iter().any(|(prefix, length)| {
        let rest = word.strip_prefix(prefix).map(|it| it.trim_end_matches('.'));
        rest.is_some_and(|it| it.len() >= *length && is_random(it))
    });
    is_prefixed || is_aws_key_id(word) || is_web_token(word)
}

/// Tells what was drawn by lot from the name of a package or a function.
pub(super) fn is_random(text: &str) -> bool {
    let is_joined = text.contains(['_', '-']);
    let has = |is: fn(&u8) -> bool| text.as_bytes().iter().any(is);
    has_digit(text) || !is_joined && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase)
}

fn is_aws_key_id(word: &str) -> bool {
    let rest = word.strip_prefix("AKIA").or_else(|| word.strip_prefix("ASIA"));
    let rest = rest.map(|it| it.trim_end_matches('.'));
    let is_upper = |it: u8| it.is_ascii_uppercase() || it.is_ascii_digit();
    rest.is_some_and(|it| it.len() == 16 && it.bytes().all(is_upper))
}

/// A JSON web token: three parts, the first of which is the start of a JSON object in base64.
fn is_web_token(word: &str) -> bool {
    let mut parts = word.split('.');
    let is_long = |it: Option<&str>| it.is_some_and(|it| it.len() >= 10);
    word.starts_with("eyJ")
        && is_long(parts.next())
        && is_long(parts.next())
        && parts.next().is_some()
}

pub(super) fn has_digit(text: &str) -> bool {
    text.bytes().any(|it| it.is_ascii_digit())
}

//! Secrets taken out of text and JSON before either is kept or shown.
//!
//! One pass over the text, linear in its length. A secret is known by its own shape (an API key, a
//! JSON web token, a private key), by the word before it (`Bearer`), or by the name it is given
//! (`api_key=…`), or by its value, where the program was given it. Names alone touch no code: `token: CancellationToken` stays.

mod known;
mod value;
mod word;

use std::{borrow::Cow, ops::Range};

pub use known::{remember, remember_if_secret, remember_named};
pub use value::{Redacted, redact_value};
use word::{has_digit, has_secret_shape, is_auth_word, is_password, names_secret};

/// What stands where a secret was.
pub const REDACTED: &str = "[redacted]";

/// How much of a value is looked at to tell a secret from code.
const LOOK_AHEAD_MAX: usize = 256;

/// Returns `text` with each secret in it replaced by [`REDACTED`]; most texts have none, and come
/// back as they are.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let (mut at, mut copied) = (0, 0);
    while at < text.len() {
        match find_secret(text, at) {
            Some(secret) => {
                clean.push_str(&text[copied..secret.start]);
                clean.push_str(REDACTED);
                at = secret.end;
                copied = at;
            }
            None => at = step(text, at),
        }
    }
    if copied == 0 {
        return known::without(Cow::Borrowed(text));
    }
    clean.push_str(&text[copied..]);
    known::without(Cow::Owned(clean))
}

/// Passes over what cannot be a secret's start: a whole word, or one character.
fn step(text: &str, at: usize) -> usize {
    match word_end(text, at) {
        end if end > at => end,
        _ => at + text[at..].chars().next().map_or(1, char::len_utf8),
    }
}

/// Where the secret is that begins at, or is announced by, the word at `at`.
fn find_secret(text: &str, at: usize) -> Option<Range<usize>> {
    match text.as_bytes()[at] {
        b'-' if text[at..].starts_with("-----BEGIN ") => find_private_key(text, at),
        b':' if text[at..].starts_with("://") => {
            find_user_info(text, at + 3).or_else(|| find_webhook(text, at + 3))
        }
        it if is_word(it) => {
            let word = &text[at..word_end(text, at)];
            find_named(text, at + word.len(), word)
                .or_else(|| find_bearer(text, at + word.len(), word))
                .or_else(|| has_secret_shape(word).then(|| at..at + word.len()))
        }
        _ => None,
    }
}

/// A private key in PEM: to its end line, or to the end of the text if that is missing.
fn find_private_key(text: &str, at: usize) -> Option<Range<usize>> {
    let head = text[at + 11..].bytes().take(64).position(|it| it == b'-')? + at + 11;
    if !text[at..head].contains("PRIVATE KEY") {
        return None;
    }
    let end = text[head..].find("-----END ").map(|it| it + head + 9);
    let end = end.and_then(|it| text[it..].find("-----").map(|tail| it + tail + 5));
    Some(at..end.unwrap_or(text.len()))
}

/// The `user:password` of a URL.
fn find_user_info(text: &str, start: usize) -> Option<Range<usize>> {
    let is_end = |it: u8| it.is_ascii_whitespace() || matches!(it, b'/' | b'?' | b'#' | b'"');
    let authority = text[start..].bytes().take(LOOK_AHEAD_MAX).take_while(|it| !is_end(*it));
    let sign = authority.enumerate().filter(|(_, it)| *it == b'@').last()?.0;
    (sign > 0).then(|| start..start + sign)
}

/// The path of an address by which whoever knows it may post to a channel.
fn find_webhook(text: &str, start: usize) -> Option<Range<usize>> {
    const WEBHOOKS: [&str; 3] =
        ["hooks.slack.com/services/", "discord.com/api/webhooks/", "discordapp.com/api/webhooks/"];
    let before = WEBHOOKS.iter().find(|it| text[start..].starts_with(**it))?;
    let path = start + before.len();
    let length = text[path..].bytes().take_while(|it| is_credential(*it)).count();
    (length > 0).then(|| path..path + length)
}

/// What follows `Bearer` or `Basic`.
fn find_bearer(text: &str, word_end: usize, word: &str) -> Option<Range<usize>> {
    if !["bearer", "basic"].iter().any(|it| word.eq_ignore_ascii_case(it)) {
        return None;
    }
    let start = skip_blanks(text, word_end);
    let end = start + text[start..].bytes().take_while(|it| is_credential(*it)).count();
    let value = &text[start..end];
    let is_plain = word.eq_ignore_ascii_case("basic") && !has_digit(value);
    let is_secret = start > word_end && value.len() >= 6 && !is_plain && !is_auth_word(value);
    is_secret.then_some(start..end)
}

/// The value of a name such as `api_key`, after a colon or an equals sign.
fn find_named(text: &str, word_end: usize, word: &str) -> Option<Range<usize>> {
    if !names_secret(word) {
        return None;
    }
    let bytes = text.as_bytes();
    let quote_len = closing_quote_len(&text[word_end..]);
    let sign = skip_blanks(text, word_end + quote_len);
    let sign_byte = bytes.get(sign).copied()?;
    let after = bytes.get(sign + 1).copied()?;
    if !matches!(sign_byte, b':' | b'=') || matches!(after, b':' | b'=' | b'>') {
        return None;
    }
    let named = skip_blanks(text, sign + 1);
    let start = skip_scheme(text, named);
    if let Some(quoted) = find_quoted(text, start) {
        return Some(quoted).filter(|it| !it.is_empty());
    }
    let is_glued = (sign_byte == b'=' && start == word_end + 1) || start > named;
    let value_end = |range: &str| start + range.bytes().take_while(|it| !ends_value(*it)).count();
    // The decision looks at a bounded part only, or a chain of names would cost quadratic time.
    let look = &text[start..value_end(cut_bytes(&text[start..], LOOK_AHEAD_MAX))];
    is_secret_value(word, look, is_glued).then(|| start..value_end(&text[start..]))
}

/// The inside of a quoted string that starts at `start`; quotes may be escaped, as in JSON text
/// that is quoted itself.
fn find_quoted(text: &str, start: usize) -> Option<Range<usize>> {
    let rest = &text[start..];
    let open = ["\\\"", "\"", "'"].into_iter().find(|it| rest.starts_with(it))?;
    let inside = start + open.len();
    let length = text[inside..].find(open).unwrap_or(text.len() - inside);
    Some(inside..inside + length)
}

/// Tells a value written without quotes from code and prose that merely follow a telling name.
fn is_secret_value(name: &str, value: &str, is_glued: bool) -> bool {
    let is_code = value.bytes().any(|it| matches!(it, b'(' | b'[' | b'<' | b'{' | b'$' | b'*'));
    let is_plain_word = value.bytes().all(|it| it.is_ascii_alphabetic() || it == b'_');
    let is_short_number = value.len() < 6 && value.bytes().all(|it| it.is_ascii_digit());
    if value.len() < 3 || is_code || is_short_number || is_auth_word(value) {
        return false;
    }
    if !is_plain_word {
        return has_digit(value) || is_glued || is_password(name);
    }
    let is_type = value.starts_with(|it: char| it.is_ascii_uppercase());
    let is_own_name = value.eq_ignore_ascii_case(name) || names_secret(value);
    !is_own_name && !is_type && (is_glued || is_password(name))
}

fn closing_quote_len(rest: &str) -> usize {
    ["\\\"", "\"", "'"].into_iter().find(|it| rest.starts_with(it)).map_or(0, str::len)
}

/// Skips `Bearer ` and the like in front of a named value.
fn skip_scheme(text: &str, at: usize) -> usize {
    let end = word_end(text, at);
    let is_scheme =
        ["bearer", "basic", "token"].iter().any(|it| text[at..end].eq_ignore_ascii_case(it));
    let next = skip_blanks(text, end);
    if is_scheme && next > end { next } else { at }
}

/// Skips a few blanks; a value is near its name.
fn skip_blanks(text: &str, at: usize) -> usize {
    let blanks = text[at..].bytes().take(4).take_while(|it| matches!(it, b' ' | b'\t'));
    at + blanks.count()
}

fn word_end(text: &str, at: usize) -> usize {
    at + text[at..].bytes().take_while(|it| is_word(*it)).count()
}

fn cut_bytes(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn is_word(it: u8) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, b'_' | b'.') || it == b'-'
}

fn is_credential(it: u8) -> bool {
    is_word(it) || matches!(it, b'+' | b'/' | b'=' | b'~')
}

fn ends_value(it: u8) -> bool {
    it.is_ascii_whitespace()
        || matches!(it, b',' | b';' | b'&' | b')' | b'}' | b']' | b'"' | b'\'' | b'`' | b'\\')
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &Expect) {
        expected.assert_eq(&redact(text));
    }

    #[test]
    fn secrets_are_known_by_their_shape() {
        check(
            "keys sk-proj-abcdefghij0123456789, ghp_0123456789abcdefghij0123456789abcdef and \
             AKIAIOSFODNN7EXAMPLE.",
            &expect!["keys [redacted], [redacted] and [redacted]"],
        );
        check(
            "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-_DEF end",
            &expect!["jwt [redacted] end"],
        );
        check(
            "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\nb",
            &expect![[r"
                a
                [redacted]
                b"]],
        );
        check("x -----BEGIN PRIVATE KEY-----\nMIIE", &expect!["x [redacted]"]);
    }

    #[test]
    fn tokens_of_many_makers_are_known() {
        let rest = "abcdefghij0123456789ABCDEFGHIJ0123456789";
        for prefix in ["gsk_", "xai-", "xapp-", "SG.", "ya29.", "hvs.", "pypi-", "dop_v1_"] {
            assert_eq!(redact(&format!("it: {prefix}{rest}")), "it: [redacted]", "{prefix}");
        }
        check("glpat-abcdefGHIJKLmnopqrst", &expect!["[redacted]"]);
        check("hf_AbcdefghijklmnopQRSTUVwxyz", &expect!["[redacted]"]);
        check("AccountKey=abcDEF123==;x", &expect!["AccountKey=[redacted];x"]);
        check(
            "post to https://hooks.slack.com/services/T0/B1/xyz now",
            &expect!["post to https://hooks.slack.com/services/[redacted] now"],
        );
    }

    #[test]
    fn secrets_are_known_by_the_word_before_them() {
        check("Authorization: Bearer abc.def-123", &expect!["Authorization: Bearer [redacted]"]);
        check("got bearer topsecret!", &expect!["got bearer [redacted]!"]);
        check(
            r#"{"authorization": "Bearer x y"}"#,
            &expect![[r#"{"authorization": "[redacted]"}"#]],
        );
        check("Authorization: Basic dXNlcjpwYXNz", &expect!["Authorization: Basic [redacted]"]);
    }

    #[test]
    fn secrets_are_known_by_their_name() {
        check(
            "GET /?api_key=abcdef&q=1 password=hunter2; token: t0k3n-9, Api-Key: 77ab77ab",
            &expect![
                "GET /?api_key=[redacted]&q=1 password=[redacted]; token: [redacted], Api-Key: [redacted]"
            ],
        );
        check(
            r#"{"client_secret": "a b", "n": 1}"#,
            &expect![[r#"{"client_secret": "[redacted]", "n": 1}"#]],
        );
        check(
            r#"{\"token\": \"abc\", \"n\": 1}"#,
            &expect![[r#"{\"token\": \"[redacted]\", \"n\": 1}"#]],
        );
        check("AWS_SECRET_ACCESS_KEY=wJalr/XUtn", &expect!["AWS_SECRET_ACCESS_KEY=[redacted]"]);
        check("password: hunter", &expect!["password: [redacted]"]);
        check("see https://me:pw@host/x?y=a@b", &expect!["see https://[redacted]@host/x?y=a@b"]);
    }

    #[test]
    fn code_and_prose_stay() {
        let texts = [
            "token: CancellationToken, password: String",
            "let token = self.next_token(); tokens: 512, max_tokens=4096",
            "def login(user: str, password: str = None) -> Token:",
            "connect(password=password, token=token)",
            "password: required field is missing",
            "if token == other { Token::new() } else { secret => 1 }",
            "the bearer of this, Bearer authentication, bearer token: missing",
            "sk-learn and a task-id-with-many-dashes-in-it",
            "https://example.org/path@2x?mail=a@b.c größe://ü/@",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "basic knowledge of ghp_ prefixes and AKIA words",
            "npm_config_registry_something_long and hf_hub_download_of_a_file_there",
            "src/auth.py:12: error: expected 3 arguments",
            "progressToken: 17, monkey = 5, \"description\": \"a token bucket\"",
        ];
        for text in texts {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn redacting_twice_changes_nothing() {
        let once = redact("password=hunter2 Bearer abc123x token: t0k3n sk-abcdefghij0123456789");
        assert_eq!(redact(&once), once);
    }

    #[test]
    fn hostile_text_costs_linear_time() {
        for piece in
            ["token=", "token: ", "-----BEGIN ", "://", "password=\"", "bearer ", "a.", "é"]
        {
            let text = piece.repeat(150_000 / piece.len());
            assert!(!redact(&text).is_empty());
        }
    }
}

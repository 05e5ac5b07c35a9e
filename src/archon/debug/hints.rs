//! What errors and words usually mean: a table of experience.

use super::trace::TraceError;

/// What an error usually means, and what helps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    /// The errors, by the last part of their name; empty for any.
    kinds: &'static [&'static str],
    /// What the message holds, in lower case; empty for anything.
    message: &'static str,
    pub(super) what: &'static str,
    pub(super) fix: &'static str,
    pub(super) confidence: f64,
}

/// What a word in a description usually means, and what helps.
#[derive(Clone, Copy, Debug)]
pub(super) struct WordHint {
    pub(super) word: &'static str,
    pub(super) what: &'static str,
    pub(super) fix: &'static str,
    pub(super) confidence: f64,
}

/// What an error usually means; the first row that fits counts, so the special come first.
pub(super) fn of_error(error: &TraceError) -> &'static Hint {
    let message = error.message.to_lowercase();
    let fits = |it: &&Hint| {
        (it.kinds.is_empty() || it.kinds.contains(&error.short_kind()))
            && message.contains(it.message)
    };
    ERRORS.iter().find(fits).unwrap_or(&UNKNOWN)
}

/// What the words of a description usually mean.
pub(super) fn of_words(description: &str) -> Vec<&'static WordHint> {
    let description = description.to_lowercase();
    let mut hints: Vec<&WordHint> = Vec::new();
    for hint in &WORDS {
        let is_new = hints.iter().all(|it| it.what != hint.what);
        if is_new && has_word(&description, hint.word) {
            hints.push(hint);
        }
    }
    hints
}

/// Whether `word` stands in `text`, not merely as a part of another word.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    let is_inner = |it: Option<char>| it.is_some_and(char::is_alphanumeric);
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), &text[at + word.len()..]);
        !is_inner(before) && !is_inner(after.chars().next())
    })
}

const fn hint(
    kinds: &'static [&'static str],
    message: &'static str,
    what: &'static str,
    fix: &'static str,
    confidence: f64,
) -> Hint {
    Hint { kinds, message, what, fix, confidence }
}

const fn word(
    word: &'static str,
    what: &'static str,
    fix: &'static str,
    confidence: f64,
) -> WordHint {
    WordHint { word, what, fix, confidence }
}

const UNAUTHENTICATED: &str =
    "the caller is not authenticated: no credentials, or expired or wrong ones";
const UNAUTHENTICATED_FIX: &str = "check which credentials are sent, until when they hold, and how \
                                   they are verified";
const FORBIDDEN: &str = "the caller is known but not allowed to do this";
const FORBIDDEN_FIX: &str = "compare the caller's roles with what the operation asks for";
const UNREACHABLE: &str = "the other side does not accept connections: it is down, elsewhere, or \
                           blocked";
const UNREACHABLE_FIX: &str = "check host, port and whether the service runs";
const TOO_SLOW: &str = "something waits longer than its limit";
const TOO_SLOW_FIX: &str = "find what it waits for; raise the limit only if that is slow by nature";

/// What is said of an error that no row fits.
const UNKNOWN: Hint = hint(
    &[],
    "",
    "the error says what went wrong; its innermost frame is where",
    "read the innermost frame and what it was given",
    0.4,
);

const ERRORS: [Hint; 30] = [
    hint(
        &["AttributeError"],
        "'nonetype' object",
        "a value is None where an object is expected: something returned nothing",
        "handle the case that nothing is returned, where the value is made",
        0.8,
    ),
    hint(
        &["TypeError"],
        "'nonetype' object",
        "a value is None where another type is expected: something returned nothing",
        "handle the case that nothing is returned, where the value is made",
        0.8,
    ),
    hint(
        &["TypeError"],
        "argument",
        "a call does not fit the signature of what it calls",
        "compare the call with the signature; one of the two was changed",
        0.75,
    ),
    hint(&["TypeError"], "never awaited", "a coroutine is used without await", "await it", 0.8),
    hint(
        &["TypeError"],
        "is not a function",
        "a name does not hold the function that the call expects",
        "check the import and what the name holds at that point",
        0.7,
    ),
    hint(
        &["TypeError"],
        "",
        "a value has another type than the operation takes",
        "check or convert the type where the value comes in",
        0.65,
    ),
    hint(
        &["AttributeError"],
        "",
        "an object lacks an attribute: a misspelt name, or another type than expected",
        "check the type of the object and the spelling of the attribute",
        0.65,
    ),
    hint(
        &["KeyError"],
        "",
        "a key is missing from a mapping",
        "check where the mapping is filled; use .get or test for the key where it may be absent",
        0.75,
    ),
    hint(
        &["IndexError"],
        "",
        "a position is beyond the end of a sequence, which may be empty",
        "check the length first",
        0.75,
    ),
    hint(
        &["ModuleNotFoundError", "ImportError"],
        "circular import",
        "two modules import each other",
        "move what both need to a third module, or import inside the function",
        0.85,
    ),
    hint(
        &["ModuleNotFoundError", "ImportError"],
        "",
        "a module or a name in it cannot be imported: not installed, not on the path, or renamed",
        "check the spelling, the installed packages and the import path",
        0.75,
    ),
    hint(
        &["NameError", "UnboundLocalError", "ReferenceError"],
        "",
        "a name is used before it has a value, or it is misspelt",
        "define the name on every path that leads to its use",
        0.75,
    ),
    hint(
        &["ZeroDivisionError"],
        "",
        "something is divided by zero, often the length of an empty collection",
        "handle the empty case before dividing",
        0.8,
    ),
    hint(
        &["RecursionError"],
        "",
        "a function calls itself without an end",
        "check the condition that ends the recursion",
        0.75,
    ),
    hint(
        &["JSONDecodeError"],
        "",
        "what was read is not JSON: often an empty answer or an error page",
        "look at the raw text and the status before parsing",
        0.75,
    ),
    hint(
        &["ValidationError"],
        "",
        "data does not satisfy its model",
        "compare the fields named in the message with the data that came in",
        0.7,
    ),
    hint(
        &["UnicodeDecodeError", "UnicodeEncodeError"],
        "",
        "text is read or written in another encoding than it has",
        "name the encoding where the file or stream is opened",
        0.8,
    ),
    hint(
        &["ValueError"],
        "",
        "a value has the right type but not an allowed content",
        "check the value where it comes in",
        0.6,
    ),
    hint(
        &["FileNotFoundError"],
        "",
        "a file is not where it is looked for, often because a path is relative",
        "print the absolute path; make it relative to the file, not to the working directory",
        0.75,
    ),
    hint(
        &["PermissionError"],
        "",
        "the process may not touch the file or port",
        "check owner and mode, and as whom the process runs",
        0.75,
    ),
    hint(
        &["SyntaxError", "IndentationError", "TabError"],
        "",
        "a file does not parse",
        "mend the line that the error names",
        0.9,
    ),
    hint(
        &["AssertionError"],
        "",
        "an assumption of the code or a test does not hold",
        "compare what \
          the assertion expects with what it got",
        0.55,
    ),
    hint(
        &["MemoryError"],
        "",
        "more is held in memory than there is",
        "work in pieces instead of reading everything",
        0.65,
    ),
    hint(
        &["ConnectionError", "ConnectionRefusedError", "ConnectionResetError", "ConnectError"],
        "",
        UNREACHABLE,
        UNREACHABLE_FIX,
        0.7,
    ),
    hint(
        &["TimeoutError", "Timeout", "ReadTimeout", "ConnectTimeout", "TimeoutException"],
        "",
        TOO_SLOW,
        TOO_SLOW_FIX,
        0.65,
    ),
    hint(
        &["panic"],
        "index out of",
        "a position is beyond the end of a sequence",
        "check the length first",
        0.75,
    ),
    hint(
        &["panic"],
        "called `option::unwrap()` on a `none`",
        "a value is absent where the code insists on one",
        "handle the absent case instead of unwrapping",
        0.8,
    ),
    hint(
        &["panic"],
        "called `result::unwrap()` on an `err`",
        "an operation failed where the code insists on success",
        "handle the error instead of unwrapping",
        0.8,
    ),
    hint(&[], "401", UNAUTHENTICATED, UNAUTHENTICATED_FIX, 0.6),
    hint(&[], "403", FORBIDDEN, FORBIDDEN_FIX, 0.6),
];

const WORDS: [WordHint; 26] = [
    word("401", UNAUTHENTICATED, UNAUTHENTICATED_FIX, 0.35),
    word("unauthorized", UNAUTHENTICATED, UNAUTHENTICATED_FIX, 0.35),
    word("authentication", UNAUTHENTICATED, UNAUTHENTICATED_FIX, 0.25),
    word("token", UNAUTHENTICATED, UNAUTHENTICATED_FIX, 0.25),
    word("403", FORBIDDEN, FORBIDDEN_FIX, 0.35),
    word("forbidden", FORBIDDEN, FORBIDDEN_FIX, 0.35),
    word("permission denied", FORBIDDEN, FORBIDDEN_FIX, 0.3),
    word(
        "404",
        "what is asked for is not at this address",
        "compare the route with the request",
        0.3,
    ),
    word("429", "too many requests in too short a time", "slow down, and heed Retry-After", 0.35),
    word(
        "rate limit",
        "too many requests in too short a time",
        "slow down, and heed Retry-After",
        0.35,
    ),
    word(
        "500",
        "the server failed while it answered",
        "look for the error in the server's log",
        0.25,
    ),
    word("502", UNREACHABLE, UNREACHABLE_FIX, 0.3),
    word("503", UNREACHABLE, UNREACHABLE_FIX, 0.3),
    word("connection refused", UNREACHABLE, UNREACHABLE_FIX, 0.35),
    word("504", TOO_SLOW, TOO_SLOW_FIX, 0.3),
    word("timeout", TOO_SLOW, TOO_SLOW_FIX, 0.3),
    word("timed out", TOO_SLOW, TOO_SLOW_FIX, 0.3),
    word("times out", TOO_SLOW, TOO_SLOW_FIX, 0.3),
    word("hangs", TOO_SLOW, TOO_SLOW_FIX, 0.25),
    word("deadlock", "two parties wait for each other", "take locks in one order everywhere", 0.35),
    word("race condition", "the result depends on who comes first", "guard what is shared", 0.3),
    word("intermittent", "the result depends on who comes first", "guard what is shared", 0.15),
    word("memory leak", "something keeps growing", "find what is added and never removed", 0.3),
    word("out of memory", "something keeps growing", "find what is added and never removed", 0.3),
    word(
        "certificate",
        "the other side's certificate is not trusted",
        "check chain, name and date",
        0.3,
    ),
    word(
        "encoding",
        "text is read or written in another encoding than it has",
        "name the encoding \
          where the file or stream is opened",
        0.3,
    ),
];

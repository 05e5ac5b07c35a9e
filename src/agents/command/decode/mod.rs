//! What programs write, read as the result of an attempt; one file for each convention.
//!
//! All of it is strangers' data: whatever comes, the reading ends with an output or a typed
//! failure, and what is shown of it is redacted, escaped and cut.

mod claude;
mod codex;
mod custom;
mod fault;
mod gemini;

use serde_json::{Map, Value};

pub(super) use self::fault::exited;
use super::{
    process::{Ended, too_much},
    settings::{OutputForm, Program},
};
use crate::model::{Failure, Usage, redact::redact, text};

/// The most output without events that is kept, in bytes.
const KEPT_BYTES_MAX: usize = 16 << 20;
/// The longest text of an event, in characters.
const EVENT_CHARS_MAX: usize = 400;

/// Reads what one run writes, line by line, and at the end what it means.
pub(super) trait Decode: Send {
    /// Takes a line; answers what it shows of the work, if anything.
    fn line(&mut self, line: &[u8]) -> Option<Event>;

    /// The result, once the program has ended.
    fn finish(self: Box<Self>, ended: &Ended) -> Reply;
}

/// Something that a program showed while it worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// What kind of thing it is: a word of the program's.
    pub(super) kind: String,
    /// What it says.
    pub(super) text: String,
}

/// What a run means.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) result: Result<Value, Failure>,
    /// What was used, also where it failed.
    pub(super) usage: Option<Usage>,
}

/// The decoder for a program, whose output has to have a schema or not.
pub(super) fn decoder(program: Program, form: OutputForm, has_schema: bool) -> Box<dyn Decode> {
    match program {
        Program::Claude => Box::new(claude::Claude::new(has_schema)),
        Program::Codex => Box::new(codex::Codex::new(has_schema)),
        Program::Gemini => Box::<gemini::Gemini>::default(),
        Program::Custom => Box::new(custom::Custom::new(form)),
    }
}

impl Event {
    /// Makes an event; its texts are made safe here.
    fn new(kind: &str, said: &str) -> Self {
        // What is looked at is bounded before anything is done with it.
        let said = text::cut(said, EVENT_CHARS_MAX);
        Self { kind: text::escape(&text::cut(kind, 40)), text: text::escape(&redact(&said)) }
    }
}

/// Output that is no event, as far as it is kept.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Kept {
    fn line(&mut self, line: &[u8]) {
        if self.bytes.len() + line.len() >= KEPT_BYTES_MAX {
            self.is_cut = true;
            return;
        }
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
    }

    /// All of it, unless there was more.
    fn whole(&self) -> Result<&[u8], Failure> {
        if self.is_cut { Err(too_much()) } else { Ok(self.bytes.trim_ascii()) }
    }

    fn json(&self) -> Option<Value> {
        serde_json::from_slice(self.whole().ok()?).ok()
    }
}

/// The line as an object with a `type`, as events are.
fn to_event(line: &[u8]) -> Option<Map<String, Value>> {
    if !line.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    match serde_json::from_slice(line) {
        Ok(Value::Object(fields)) if fields.get("type").is_some_and(Value::is_string) => {
            Some(fields)
        }
        _ => None,
    }
}

fn text_of<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name)?.as_str()
}

/// A text as it is, anything else as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod testing {
    use expect_test::Expect;

    use super::{super::process::Ended, Decode, Reply};

    /// What the decoder makes of some output, an exit code and some standard error.
    pub(super) fn reply(
        mut decoder: impl Decode + 'static,
        output: &str,
        (code, stderr): (i32, &str),
    ) -> Reply {
        for line in output.lines() {
            decoder.line(line.as_bytes());
        }
        let ended = Ended { code, stderr: stderr.to_owned(), stdout_bytes: 0 };
        Box::new(decoder).finish(&ended)
    }

    #[track_caller]
    pub(super) fn check(reply: Reply, expected: &Expect) {
        let usage = reply.usage.and_then(|it| it.report());
        let usage = usage.map(|it| format!("\nused {}", serde_json::to_string(&it).unwrap()));
        let text = match reply.result {
            Ok(output) => output.to_string(),
            Err(failure) => {
                let wait = failure.retry_after_ms.map(|it| format!(" after {it} ms"));
                format!(
                    "{}{}: {}",
                    failure.code.as_str(),
                    wait.unwrap_or_default(),
                    failure.message
                )
            }
        };
        expected.assert_eq(&(text + &usage.unwrap_or_default()));
    }

    /// What each line shows.
    pub(super) fn events(mut decoder: impl Decode, output: &str) -> String {
        let events = output.lines().filter_map(|it| decoder.line(it.as_bytes()));
        events.map(|it| format!("{}: {}", it.kind, it.text)).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::reply, *};
    use crate::model::FailureCode;

    const ALL: [(Program, OutputForm); 6] = [
        (Program::Claude, OutputForm::StreamJson),
        (Program::Codex, OutputForm::StreamJson),
        (Program::Gemini, OutputForm::StreamJson),
        (Program::Custom, OutputForm::Json),
        (Program::Custom, OutputForm::StreamJson),
        (Program::Custom, OutputForm::Text),
    ];

    struct Boxed(Box<dyn Decode>);

    impl Decode for Boxed {
        fn line(&mut self, line: &[u8]) -> Option<Event> {
            self.0.line(line)
        }

        fn finish(self: Box<Self>, ended: &Ended) -> Reply {
            self.0.finish(ended)
        }
    }

    #[test]
    fn garbage_is_never_an_output() {
        for (program, form) in ALL.into_iter().filter(|it| it.1 != OutputForm::Text) {
            for garbage in ["", "hello\n{\"type\": }\n", "{\"type\":\"result\"", "[1, 2", "\u{0}"] {
                let it = Boxed(decoder(program, form, false));
                let failure = reply(it, garbage, (0, "")).result.unwrap_err();
                assert_eq!(failure.code, FailureCode::OutputInvalid, "{program:?} {garbage:?}");
                let it = Boxed(decoder(program, form, false));
                let failure = reply(it, garbage, (1, "no key=sk-abcdefghij0123456789\u{7}")).result;
                let failure = failure.unwrap_err();
                assert_eq!(failure.code, FailureCode::AgentError, "{program:?} {garbage:?}");
                assert!(failure.message.contains("exit code 1"), "{}", failure.message);
                assert!(failure.message.contains("key=[redacted]"), "{}", failure.message);
            }
        }
    }

    #[test]
    fn no_words_make_a_decoder_panic() {
        let pieces = [
            "{\"type\":\"result\",",
            "\"subtype\":",
            "\"is_error\":true,",
            "\"error\":",
            "null",
            "[",
            "]",
            "{",
            "}",
            "{}",
            "\"x\"",
            ",",
            "\n",
            "1e999",
            "\"item\":{\"type\":\"agent_message\"",
            "\"message\":{\"content\":[",
            "\"stats\":{\"models\":{\"a\":",
            "\u{202e}",
        ];
        let mut state = 11_u64;
        for round in 0..600 {
            let mut text = String::new();
            for _ in 0..14 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            let (program, form) = ALL[round % ALL.len()];
            let it = Boxed(decoder(program, form, round % 2 == 0));
            let replied = reply(it, &text, (i32::from(round % 3 == 0), ""));
            if let Err(failure) = replied.result {
                assert!(!failure.message.is_empty());
            }
        }
    }

    #[test]
    fn an_event_shows_no_secrets_and_is_short() {
        let event = Event::new("a\nb", &format!("password=hunter2 {}", "x".repeat(1_000)));
        assert_eq!(event.kind, "a\\u{a}b");
        assert!(event.text.starts_with("password=[redacted] x"));
        assert!(event.text.chars().count() <= EVENT_CHARS_MAX + 16);
    }
}

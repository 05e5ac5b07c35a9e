//! Codex: `exec --json`. A line is an event: a thread starts, turns start and end, items come.

use serde_json::{Map, Value, json};

use super::{
    super::process::Ended,
    Decode, Event, Reply,
    fault::{exited, failed, no_result},
    shown, text_of, to_event,
};
use crate::model::{Failure, FailureCode, Usage};

const TOKENS: [&str; 3] = ["input_tokens", "cached_input_tokens", "output_tokens"];

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Codex {
    has_schema: bool,
    thread: Option<String>,
    /// The last thing that the agent said.
    message: Option<String>,
    /// What was said of a failure since the last turn that ended well.
    error: Option<String>,
    n_turns: u64,
    /// What all turns used, in the order of [`TOKENS`].
    tokens: [u64; 3],
}

impl Codex {
    pub(super) fn new(has_schema: bool) -> Self {
        Self { has_schema, ..Self::default() }
    }

    fn take(&mut self, event: &Map<String, Value>) -> Event {
        let kind = text_of(event, "type").unwrap_or_default();
        let said = match kind {
            "thread.started" => {
                self.thread = text_of(event, "thread_id").map(str::to_owned);
                String::new()
            }
            "turn.completed" => {
                self.n_turns += 1;
                self.error = None;
                self.add_usage(event);
                String::new()
            }
            "turn.failed" | "error" => {
                let inner = event.get("error").and_then(|it| it.get("message"));
                let said = inner.or_else(|| event.get("message")).map(shown).unwrap_or_default();
                self.error = Some(said.clone());
                said
            }
            _ => self.item(event.get("item").and_then(Value::as_object)),
        };
        Event::new(kind, &said)
    }

    fn item(&mut self, item: Option<&Map<String, Value>>) -> String {
        let Some(item) = item else { return String::new() };
        // An older name of the same field.
        let kind = text_of(item, "type").or_else(|| text_of(item, "item_type")).unwrap_or_default();
        let text = text_of(item, "text");
        if matches!(kind, "agent_message" | "assistant_message")
            && let Some(text) = text
        {
            self.message = Some(text.to_owned());
        }
        let said = text.or_else(|| text_of(item, "command")).unwrap_or_default();
        format!("{kind} {said}").trim().to_owned()
    }

    fn add_usage(&mut self, event: &Map<String, Value>) {
        let Some(usage) = event.get("usage") else { return };
        for (sum, name) in self.tokens.iter_mut().zip(TOKENS) {
            *sum = sum.saturating_add(usage.get(name).and_then(Value::as_u64).unwrap_or(0));
        }
    }

    fn usage(&self) -> Value {
        TOKENS.iter().zip(self.tokens).map(|(name, it)| ((*name).to_owned(), json!(it))).collect()
    }

    fn to_result(&self, ended: &Ended) -> Result<Value, Failure> {
        if let Some(said) = self.error.as_deref().filter(|_| self.n_turns == 0 || ended.code != 0) {
            return Err(failed(said));
        }
        if ended.code != 0 {
            return Err(exited(ended));
        }
        let Some(message) = self.message.as_ref().filter(|_| self.n_turns > 0) else {
            return Err(no_result(ended, "a message and the end of a turn"));
        };
        let mut output = Map::new();
        if self.has_schema {
            let shaped: Value = serde_json::from_str(message).map_err(|it| {
                let message = format!("the program's answer is not JSON: {it}");
                Failure::new(FailureCode::OutputInvalid, message)
            })?;
            output.insert("structured_output".to_owned(), shaped);
        } else {
            output.insert("result".to_owned(), message.as_str().into());
        }
        if let Some(thread) = &self.thread {
            output.insert("session_id".to_owned(), thread.as_str().into());
        }
        output.insert("num_turns".to_owned(), self.n_turns.into());
        output.insert("usage".to_owned(), self.usage());
        Ok(Value::Object(output))
    }
}

impl Decode for Codex {
    fn line(&mut self, line: &[u8]) -> Option<Event> {
        to_event(line).map(|it| self.take(&it))
    }

    fn finish(self: Box<Self>, ended: &Ended) -> Reply {
        let usage = (self.n_turns > 0).then(|| json!({ "usage": self.usage() }));
        let usage = usage.as_ref().and_then(Usage::of_output);
        Reply { result: self.to_result(ended), usage }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::{
        super::testing::{check, events, reply},
        *,
    };

    const HEAD: &str = r#"{"type":"thread.started","thread_id":"0199a213"}
{"type":"turn.started"}
"#;
    const ITEMS: &str = r#"{"type":"item.started","item":{"id":"item_1","type":"command_execution","command":"bash -lc ls","status":"in_progress"}}
{"type":"item.completed","item":{"id":"item_2","type":"reasoning","text":"**Thinking**"}}
{"type":"item.completed","item":{"id":"item_3","type":"agent_message","text":"{\"n\": 1}"}}
"#;
    const END: &str = r#"{"type":"turn.completed","usage":{"input_tokens":24763,"cached_input_tokens":24448,"output_tokens":122}}
"#;

    #[test]
    fn the_last_message_of_the_agent_is_the_result() {
        let text = format!("{HEAD}{ITEMS}{END}");
        check(
            reply(Codex::new(false), &text, (0, "noise")),
            &expect![[r#"
                {"result":"{\"n\": 1}","session_id":"0199a213","num_turns":1,"usage":{"input_tokens":24763,"cached_input_tokens":24448,"output_tokens":122}}
                used {"input_tokens":24763,"output_tokens":122,"total_tokens":24885}"#]],
        );
        let output = reply(Codex::new(true), &text, (0, "")).result.unwrap();
        assert_eq!(output["structured_output"], json!({ "n": 1 }));
        let text = text.replace(r#"{\"n\": 1}"#, "no JSON");
        let failure = reply(Codex::new(true), &text, (0, "")).result.unwrap_err();
        assert_eq!(failure.code, FailureCode::OutputInvalid);
    }

    #[test]
    fn a_turn_that_failed_is_the_failure() {
        let text = format!(
            "{HEAD}{}\n{}\n",
            r#"{"type":"error","message":"Reconnecting... 1/5"}"#,
            r#"{"type":"turn.failed","error":{"message":"exceeded retry limit, last status: 429 Too Many Requests, try again in 3s"}}"#
        );
        check(
            reply(Codex::new(false), &text, (1, "")),
            &expect![
                "rate_limited after 3000 ms: the program failed: exceeded retry limit, last status: 429 Too Many Requests, try again in 3s"
            ],
        );
        let mended = format!("{HEAD}{}\n{ITEMS}{END}", r#"{"type":"error","message":"once"}"#);
        assert!(reply(Codex::new(false), &mended, (0, "")).result.is_ok());
        let cut = reply(Codex::new(false), &format!("{HEAD}{ITEMS}"), (0, ""));
        assert_eq!(cut.result.unwrap_err().code, FailureCode::OutputInvalid);
    }

    #[test]
    fn each_event_shows_what_happens() {
        expect![[r#"
            thread.started: 
            turn.started: 
            item.started: command_execution bash -lc ls
            item.completed: reasoning **Thinking**
            item.completed: agent_message {"n": 1}
            turn.completed: "#]]
        .assert_eq(&events(Codex::new(false), &format!("{HEAD}{ITEMS}{END}")));
    }
}

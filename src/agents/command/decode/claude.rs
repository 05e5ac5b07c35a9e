//! Claude Code: `-p --output-format stream-json --verbose`, or `json`.
//!
//! A line is a message with a `type`; the last one is of the type `result`, which is also all that
//! `json` writes (with `--verbose` as the last element of a list).

use serde_json::{Map, Value};

use super::{
    super::process::Ended,
    Decode, Event, Kept, Reply,
    fault::{exited, failed, is_busy, no_result, safe},
    shown, text_of, to_event,
};
use crate::model::{Failure, FailureCode, Usage};

/// The fields of the last message that become the output.
const KEPT: [&str; 6] =
    ["session_id", "num_turns", "duration_ms", "total_cost_usd", "usage", "permission_denials"];
/// Statuses of HTTP that mean that the service is busy.
const BUSY: [u64; 2] = [429, 529];

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Claude {
    has_schema: bool,
    /// The message of the type `result`.
    result: Option<Map<String, Value>>,
    /// Whether the last answer of the model was that it is busy.
    was_busy: bool,
    others: Kept,
}

impl Claude {
    pub(super) fn new(has_schema: bool) -> Self {
        Self { has_schema, ..Self::default() }
    }

    fn take(&mut self, message: Map<String, Value>) -> Option<Event> {
        let kind = text_of(&message, "type")?.to_owned();
        let event = match kind.as_str() {
            "result" => {
                let event = Event::new(&kind, text_of(&message, "subtype").unwrap_or_default());
                self.result = Some(message);
                event
            }
            "assistant" => {
                self.was_busy = text_of(&message, "error") == Some("rate_limit");
                Event::new(&kind, &blocks(&message))
            }
            "user" => Event::new(&kind, &blocks(&message)),
            _ => Event::new(&kind, text_of(&message, "subtype").unwrap_or_default()),
        };
        Some(event)
    }

    /// Looks for the result in what came as one piece.
    fn take_whole(&mut self) {
        let messages = match self.others.json() {
            Some(Value::Array(messages)) => messages,
            Some(message @ Value::Object(_)) => vec![message],
            _ => Vec::new(),
        };
        for message in messages {
            if let Value::Object(message) = message {
                self.take(message);
            }
        }
    }

    fn to_result(&self, result: &Map<String, Value>, ended: &Ended) -> Result<Value, Failure> {
        let subtype = text_of(result, "subtype").unwrap_or_default();
        let is_error = result.get("is_error").and_then(Value::as_bool).unwrap_or_default();
        if is_error || subtype != "success" {
            return Err(self.to_failure(result, subtype));
        }
        if ended.code != 0 {
            return Err(exited(ended));
        }
        let mut output = Map::new();
        match (result.get("structured_output"), self.has_schema) {
            (Some(it), _) if !it.is_null() => {
                output.insert("structured_output".to_owned(), it.clone());
            }
            (_, true) => {
                let message = "the program did not answer in the shape of output_schema";
                return Err(Failure::new(FailureCode::OutputInvalid, message));
            }
            _ => {
                let text = result.get("result").cloned().unwrap_or_default();
                output.insert("result".to_owned(), text);
            }
        }
        for name in KEPT {
            let is_empty = |it: &&Value| it.as_array().is_some_and(Vec::is_empty);
            if let Some(value) = result.get(name).filter(|it| !is_empty(it)) {
                output.insert(name.to_owned(), value.clone());
            }
        }
        Ok(Value::Object(output))
    }

    fn to_failure(&self, result: &Map<String, Value>, subtype: &str) -> Failure {
        let turns = result.get("num_turns").map_or_else(|| "some".to_owned(), shown);
        let said = match result.get("errors").and_then(Value::as_array) {
            Some(errors) if !errors.is_empty() => {
                errors.iter().take(5).map(shown).collect::<Vec<_>>().join("; ")
            }
            _ => result.get("result").map(shown).unwrap_or_default(),
        };
        let status = result.get("api_error_status").and_then(Value::as_u64);
        if self.was_busy || status.is_some_and(|it| BUSY.contains(&it)) || is_busy(&said) {
            let wait = failed(&said).retry_after_ms;
            let message = format!("the model's service is busy: {}", safe(&said));
            return Failure::new(FailureCode::RateLimited, message).retry_after(wait);
        }
        match subtype {
            "error_max_turns" => {
                let message = format!("it was not done after {} turns ({subtype})", safe(&turns));
                Failure::new(FailureCode::AgentError, message)
            }
            "error_max_budget_usd" => {
                let message = format!("it was not done within max_budget_usd ({subtype})");
                Failure::new(FailureCode::AgentError, message)
            }
            "error_max_structured_output_retries" => {
                let message = format!("no answer had the shape of output_schema ({subtype})");
                Failure::new(FailureCode::OutputInvalid, message)
            }
            _ if said.is_empty() => failed(subtype),
            _ => failed(&said),
        }
    }
}

impl Decode for Claude {
    fn line(&mut self, line: &[u8]) -> Option<Event> {
        if let Some(message) = to_event(line) {
            return self.take(message);
        }
        self.others.line(line);
        None
    }

    fn finish(mut self: Box<Self>, ended: &Ended) -> Reply {
        if self.result.is_none() {
            self.take_whole();
        }
        let Some(result) = self.result.take() else {
            let failure = no_result(ended, "a message of the type `result`");
            return Reply { result: Err(failure), usage: None };
        };
        Reply { result: self.to_result(&result, ended), usage: Usage::of_fields(&result) }
    }
}

/// What the blocks of a message say, in short.
fn blocks(message: &Map<String, Value>) -> String {
    let content = message.get("message").and_then(|it| it.get("content"));
    let Some(Value::Array(blocks)) = content else {
        return content.map(shown).unwrap_or_default();
    };
    let said = blocks.iter().take(20).filter_map(|it| block(it.as_object()?));
    said.collect::<Vec<_>>().join("; ")
}

fn block(block: &Map<String, Value>) -> Option<String> {
    match text_of(block, "type")? {
        "text" => text_of(block, "text").map(str::to_owned),
        "tool_use" => {
            let input = block.get("input").map(shown).unwrap_or_default();
            Some(format!("{} {input}", text_of(block, "name")?))
        }
        "tool_result" => {
            let word = match block.get("is_error").and_then(Value::as_bool) {
                Some(true) => "failed",
                _ => "done",
            };
            Some(format!("{word}: {}", block.get("content").map(shown).unwrap_or_default()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::{
        super::testing::{check, events, reply},
        *,
    };

    const STREAM: &str = r#"{"type":"system","subtype":"init","cwd":"/p","session_id":"5f1c","tools":["Read"],"model":"claude-sonnet-4-5","permissionMode":"plan"}
{"type":"assistant","message":{"id":"msg_1","role":"assistant","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"Let me look."},{"type":"tool_use","id":"toolu_1","name":"Read","input":{"file_path":"/p/a.py"}}]},"session_id":"5f1c"}
{"type":"user","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"x = 1"}]},"session_id":"5f1c"}
"#;
    const RESULT: &str = r#"{"type":"result","subtype":"success","is_error":false,"duration_ms":2310,"duration_api_ms":2000,"num_turns":2,"result":"Done.","session_id":"5f1c","total_cost_usd":0.0125,"usage":{"input_tokens":4,"cache_creation_input_tokens":100,"cache_read_input_tokens":1000,"output_tokens":20},"modelUsage":{},"permission_denials":[],"uuid":"u"}"#;

    fn failed_with(fields: &str) -> String {
        format!(
            r#"{{"type":"result","is_error":true,"num_turns":3,"total_cost_usd":0.5,"usage":{{"input_tokens":7,"output_tokens":1}},{fields}}}"#
        )
    }

    #[test]
    fn the_last_message_is_the_result() {
        check(
            reply(Claude::new(false), &format!("{STREAM}{RESULT}\n"), (0, "")),
            &expect![[r#"
                {"result":"Done.","session_id":"5f1c","num_turns":2,"duration_ms":2310,"total_cost_usd":0.0125,"usage":{"input_tokens":4,"cache_creation_input_tokens":100,"cache_read_input_tokens":1000,"output_tokens":20}}
                used {"input_tokens":1104,"output_tokens":20,"total_tokens":1124,"cost_usd":0.0125}"#]],
        );
        let whole = format!("[{},{RESULT}\n]", STREAM.lines().next().unwrap());
        let replied = reply(Claude::new(false), &whole, (0, ""));
        assert_eq!(replied.result.unwrap()["result"], "Done.");
    }

    #[test]
    fn an_answer_in_a_shape_goes_before_its_text() {
        let shaped = RESULT.replace(r#""uuid""#, r#""structured_output":{"n":1},"uuid""#);
        let output = reply(Claude::new(true), &shaped, (0, "")).result.unwrap();
        assert_eq!(output["structured_output"]["n"], 1);
        assert_eq!(output.get("result"), None);
        let failure = reply(Claude::new(true), RESULT, (0, "")).result.unwrap_err();
        assert_eq!(failure.code, FailureCode::OutputInvalid);
    }

    #[test]
    fn failures_are_told_apart_and_what_they_used_counts() {
        check(
            reply(Claude::new(false), &failed_with(r#""subtype":"error_max_turns""#), (1, "")),
            &expect![[r#"
                agent_error: it was not done after 3 turns (error_max_turns)
                used {"input_tokens":7,"output_tokens":1,"total_tokens":8,"cost_usd":0.5}"#]],
        );
        let code = |fields: &str| {
            reply(Claude::new(false), &failed_with(fields), (1, "")).result.unwrap_err().code
        };
        assert_eq!(code(r#""subtype":"error_max_budget_usd""#), FailureCode::AgentError);
        let subtype = r#""subtype":"error_max_structured_output_retries""#;
        assert_eq!(code(subtype), FailureCode::OutputInvalid);
        let busy = r#""subtype":"success","result":"API Error: 429 rate_limit_error""#;
        assert_eq!(code(busy), FailureCode::RateLimited);
        let busy = r#""subtype":"success","api_error_status":529,"result":"no""#;
        assert_eq!(code(busy), FailureCode::RateLimited);
        let failure = failed_with(r#""subtype":"error_during_execution","errors":["no login"]"#);
        let failure = reply(Claude::new(false), &failure, (1, "")).result.unwrap_err();
        assert_eq!(&*failure.message, "the program failed: no login");
    }

    #[test]
    fn a_good_result_does_not_make_up_for_a_bad_exit() {
        let failure = reply(Claude::new(false), RESULT, (137, "")).result.unwrap_err();
        assert_eq!(&*failure.message, "the program was ended by signal 9");
    }

    #[test]
    fn each_message_shows_what_happens() {
        expect![[r#"
            system: init
            assistant: Let me look.; Read {"file_path":"/p/a.py"}
            user: done: x = 1
            result: success"#]]
        .assert_eq(&events(Claude::new(false), &format!("{STREAM}noise\n{RESULT}")));
    }
}

//! Any other program: text, one JSON value, or a JSON object a line.

use serde_json::{Map, Value};

use super::{
    super::{process::Ended, settings::OutputForm},
    Decode, Event, Kept, Reply,
    fault::{exited, failed, no_result},
    shown, text_of,
};
use crate::model::{Failure, Usage};

/// What was read so far.
#[derive(Debug)]
pub(super) struct Custom {
    form: OutputForm,
    kept: Kept,
    /// The last object of a stream; one of the type `result` stays.
    last: Option<Map<String, Value>>,
}

impl Custom {
    pub(super) fn new(form: OutputForm) -> Self {
        Self { form, kept: Kept::default(), last: None }
    }

    /// Takes an object; whatever else a line holds is noise, a lone number too, for between lines
    /// of logs and garbage that is no answer.
    fn object(&mut self, line: &[u8]) -> Option<Event> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(line) else { return None };
        let kind = text_of(&fields, "type").unwrap_or("output").to_owned();
        let said = ["text", "message", "content"].iter().find_map(|it| fields.get(*it));
        let event = Event::new(&kind, &said.map(shown).unwrap_or_default());
        let is_settled = |it: &Map<String, Value>| text_of(it, "type") == Some("result");
        if kind == "result" || !self.last.as_ref().is_some_and(is_settled) {
            self.last = Some(fields);
        }
        Some(event)
    }

    /// What was written, as an object.
    fn written(&mut self, ended: &Ended) -> Result<Map<String, Value>, Failure> {
        let value = match self.form {
            OutputForm::Text => {
                let text = String::from_utf8_lossy(self.kept.whole()?);
                Value::from(text.into_owned())
            }
            OutputForm::Json => {
                self.kept.whole()?;
                self.kept.json().ok_or_else(|| no_result(ended, "one JSON value"))?
            }
            OutputForm::StreamJson => {
                let last = self.last.take();
                return last.ok_or_else(|| no_result(ended, "a JSON object on a line"));
            }
        };
        Ok(if let Value::Object(fields) = value {
            fields
        } else {
            Map::from_iter([("result".to_owned(), value)])
        })
    }
}

impl Decode for Custom {
    fn line(&mut self, line: &[u8]) -> Option<Event> {
        if self.form == OutputForm::StreamJson {
            return self.object(line);
        }
        self.kept.line(line);
        None
    }

    fn finish(mut self: Box<Self>, ended: &Ended) -> Reply {
        let written = self.written(ended);
        let usage = written.as_ref().ok().and_then(Usage::of_fields);
        let result = match written {
            Ok(fields) if ended.code != 0 => match text_of(&fields, "error") {
                Some(said) => Err(failed(said)),
                None => Err(exited(ended)),
            },
            Ok(fields) => Ok(Value::Object(fields)),
            Err(failure) => Err(failure),
        };
        Reply { result, usage }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::{
        super::testing::{check, events, reply},
        *,
    };
    use crate::model::FailureCode;

    #[test]
    fn text_is_the_result_as_it_is() {
        let text =
            |output: &str, code| reply(Custom::new(OutputForm::Text), output, (code, "it broke"));
        check(text("a\n b\n\n", 0), &expect![[r#"{"result":"a\n b"}"#]]);
        check(text("", 0), &expect![[r#"{"result":""}"#]]);
        check(text("a", 3), &expect!["agent_error: the program ended with exit code 3: it broke"]);
    }

    #[test]
    fn one_json_value_may_have_several_lines() {
        let json = |output: &str, code| reply(Custom::new(OutputForm::Json), output, (code, ""));
        check(
            json("{\n \"a\": 1,\n \"usage\": {\"total_tokens\": 5}\n}", 0),
            &expect![[r#"
                {"a":1,"usage":{"total_tokens":5}}
                used {"total_tokens":5}"#]],
        );
        check(json("[1]", 0), &expect![[r#"{"result":[1]}"#]]);
        check(
            json("{} {}", 0),
            &expect!["output_invalid: the program ended well, but did not write one JSON value"],
        );
        check(
            json(r#"{"error": "no space", "usage": {"total_tokens": 5}}"#, 1),
            &expect![[r#"
                agent_error: the program failed: no space
                used {"total_tokens":5}"#]],
        );
    }

    #[test]
    fn of_a_stream_the_result_counts_or_else_the_last_object() {
        let stream =
            |output: &str| reply(Custom::new(OutputForm::StreamJson), output, (0, "")).result;
        assert_eq!(stream("{\"n\":1}\nnoise\n{\"n\":2}\n5\n").unwrap()["n"], 2);
        assert_eq!(stream("noise\n5\n\"x\"\n[]\n").unwrap_err().code, FailureCode::OutputInvalid);
        let text = "{\"type\":\"result\",\"n\":1}\n{\"type\":\"log\",\"message\":\"bye\"}\n";
        assert_eq!(stream(text).unwrap()["n"], 1);
        expect![[r"
            result: 
            log: bye"]]
        .assert_eq(&events(Custom::new(OutputForm::StreamJson), text));
    }

    #[test]
    fn more_than_is_kept_is_a_failure_of_its_own() {
        let mut decoder = Custom::new(OutputForm::Text);
        let line = vec![b'x'; 1 << 20];
        for _ in 0..17 {
            decoder.line(&line);
        }
        let failure = Box::new(decoder).finish(&Ended::default()).result.unwrap_err();
        assert_eq!(failure.code, FailureCode::UpstreamLimit);
    }
}

//! Recognises calls of tools, the requests that are made most.

use std::borrow::Cow;

use crate::model::json::Json;

type Field<'a> = (Cow<'a, str>, Json<'a>);

/// The method of calls.
pub(super) const METHOD: &str = "tools/call";

/// Whether a message has the method of calls.
pub(super) fn is_one(message: &Json<'_>) -> bool {
    matches!(field(message, "method"), Some(Json::String(it)) if it == METHOD)
}

/// Whether a request is a call of a tool that has nothing else in it than most calls have, so that
/// its shape is right and nobody need read it out to know. Others may be right too.
pub(super) fn is_plain(request: &Json<'_>) -> bool {
    let Some(params) = field(request, "params").filter(|_| is_one(request)) else { return false };
    matches!(field(params, "name"), Some(Json::String(_)))
        && fields(params).iter().all(is_usual)
        && fields(request).iter().all(|it| ["jsonrpc", "id", "method", "params"].contains(&&*it.0))
}

fn is_usual((name, value): &Field<'_>) -> bool {
    match &**name {
        "name" => true,
        "arguments" | "_meta" => matches!(value, Json::Object(_)),
        _ => false,
    }
}

fn field<'j, 'a>(json: &'j Json<'a>, name: &str) -> Option<&'j Json<'a>> {
    fields(json).iter().find(|it| it.0 == name).map(|it| &it.1)
}

fn fields<'j, 'a>(json: &'j Json<'a>) -> &'j [Field<'a>] {
    if let Json::Object(fields) = json { fields } else { &[] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json;

    #[test]
    fn a_call_with_more_or_less_in_it_than_most_is_read_out() {
        for (params, is_plain_call) in [
            (r#"{"name":"x"}"#, true),
            (r#"{"name":"x","arguments":{"a":[1]},"_meta":{"b":null}}"#, true),
            (r#"{"name":1}"#, false),
            (r#"{"name":"x","arguments":null}"#, false),
            (r#"{"name":"x","_meta":[]}"#, false),
            (r#"{"name":"x","requestState":"s"}"#, false),
            ("{}", false),
            ("[]", false),
        ] {
            let of = |method: &str, more: &str| {
                let text = format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}{more}}}"#
                );
                is_plain(&json::read(text.as_bytes()).unwrap())
            };
            assert_eq!(of(METHOD, ""), is_plain_call, "{params}");
            assert!(!of("tools/list", "") && !of(METHOD, r#","more":1"#), "{params}");
        }
    }
}

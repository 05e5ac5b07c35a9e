//! As much of JSON Schema as the program's own schemas use, to check answers against them.

use serde_json::Value;

/// Keywords that say nothing about what is valid, or only what types say already.
const NOTES: [&str; 7] =
    ["$schema", "$defs", "title", "description", "default", "format", "examples"];

/// Fails with the place if `value` is not what `schema` describes.
#[track_caller]
pub(crate) fn check(value: &Value, schema: &Value) {
    if let Err(fault) = fault(value, schema, schema, "") {
        panic!("{fault} in {value}");
    }
}

/// Whether a schema is one of objects, as the protocol wants it at the root.
pub(crate) fn is_of_objects(schema: &Value) -> bool {
    schema["type"] == "object" && schema["properties"].is_object()
}

fn fault(value: &Value, schema: &Value, root: &Value, at: &str) -> Result<(), String> {
    let Value::Object(keywords) = schema else {
        return if schema == &Value::Bool(true) {
            Ok(())
        } else {
            Err(format!("{at}: not allowed"))
        };
    };
    for (keyword, says) in keywords.iter().filter(|it| !NOTES.contains(&it.0.as_str())) {
        let holds = match keyword.as_str() {
            "$ref" => {
                let pointer = says.as_str().unwrap().strip_prefix('#').unwrap();
                return fault(value, root.pointer(pointer).unwrap(), root, at);
            }
            "type" => {
                let types = says.as_array().cloned().unwrap_or_else(|| vec![says.clone()]);
                types.iter().any(|it| is_of_type(value, it))
            }
            "const" => value == says,
            "enum" => says.as_array().unwrap().contains(value),
            "anyOf" | "oneOf" => {
                let mut all = says.as_array().unwrap().iter();
                all.any(|it| fault(value, it, root, at).is_ok())
            }
            "minimum" => value.as_f64().is_none_or(|it| it >= says.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|it| it <= says.as_f64().unwrap()),
            "minLength" => {
                let chars = value.as_str().map(|it| it.chars().count() as u64);
                chars.is_none_or(|it| it >= says.as_u64().unwrap())
            }
            "maxLength" => {
                let chars = value.as_str().map(|it| it.chars().count() as u64);
                chars.is_none_or(|it| it <= says.as_u64().unwrap())
            }
            "required" => {
                let mut names = says.as_array().unwrap().iter();
                names.all(|it| value.get(it.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (name, inner) in says.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        fault(value, inner, root, &format!("{at}/{name}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object();
                for (name, value) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|it| !it.contains_key(name)) {
                        fault(value, says, root, &format!("{at}/{name}"))?;
                    }
                }
                true
            }
            "items" => {
                for (place, value) in value.as_array().into_iter().flatten().enumerate() {
                    fault(value, says, root, &format!("{at}/{place}"))?;
                }
                true
            }
            _ => return Err(format!("{at}: the keyword {keyword} is not known here")),
        };
        if !holds {
            return Err(format!("{at}: {keyword} {says} does not hold"));
        }
    }
    Ok(())
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("{other} is no type"),
    }
}

#[test]
fn what_a_schema_excludes_is_found() {
    let schema = serde_json::json!({
        "type": "object",
        "required": ["a"],
        "properties": { "a": { "$ref": "#/$defs/a" }, "b": { "type": ["string", "null"] } },
        "additionalProperties": false,
        "$defs": { "a": { "type": "array", "items": { "enum": [1, 2] } } },
    });
    for (value, fits) in [
        (serde_json::json!({ "a": [1, 2], "b": null }), true),
        (serde_json::json!({ "a": [1, 3] }), false),
        (serde_json::json!({ "b": "" }), false),
        (serde_json::json!({ "a": [], "b": 1 }), false),
        (serde_json::json!({ "a": [], "c": 1 }), false),
        (serde_json::json!([]), false),
    ] {
        assert_eq!(fault(&value, &schema, &schema, "").is_ok(), fits, "{value}");
    }
}

//! JSON Schemas that the outputs of tasks must keep.

use std::{error::Error, fmt};

use boon::{Compiler, Draft, SchemaIndex, Schemas, UrlLoader};
use serde_json::Value;

use crate::model::text;

/// The longest schema, in bytes of JSON.
const BYTES_MAX: usize = 64 << 10;
/// The most references: each may double the work of a check.
const REFERENCES_MAX: usize = 24;
/// The most characters of a complaint.
const COMPLAINT_CHARS_MAX: usize = 500;
/// Under what name the schema is compiled; nothing is fetched from there.
const NAME: &str = "output:///schema";

/// A schema that can be checked against.
pub struct OutputSchema {
    schemas: Schemas,
    root: SchemaIndex,
}

impl OutputSchema {
    /// Reads a schema of draft 2020-12, or of the draft that its `$schema` names. What is wrong
    /// with it stands after the field's name.
    pub fn read(schema: &Value) -> Result<Self, String> {
        if !schema.is_object() && !schema.is_boolean() {
            return Err("must be a JSON Schema: an object, true or false".to_owned());
        }
        let n_bytes = schema.to_string().len();
        if n_bytes > BYTES_MAX {
            return Err(format!("has {n_bytes} bytes; at most {BYTES_MAX} are allowed"));
        }
        let n_references = references(schema);
        if n_references > REFERENCES_MAX {
            return Err(format!(
                "has {n_references} references; at most {REFERENCES_MAX} are allowed"
            ));
        }
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.set_default_draft(Draft::V2020_12);
        compiler.use_loader(Box::new(Nowhere));
        let invalid = |it: &dyn fmt::Display| format!("is no valid JSON Schema: {}", shown(it));
        compiler.add_resource(NAME, schema.clone()).map_err(|it| invalid(&it))?;
        let root = compiler.compile(NAME, &mut schemas).map_err(|it| invalid(&it))?;
        Ok(Self { schemas, root })
    }

    /// Checks an output; what is wrong with it is said in one sentence.
    pub fn check(&self, output: &Value) -> Result<(), String> {
        self.schemas.validate(output, self.root).map_err(|it| shown(&it))
    }
}

impl fmt::Debug for OutputSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputSchema").finish_non_exhaustive()
    }
}

/// Fetches nothing: a schema must stand for itself.
struct Nowhere;

impl UrlLoader for Nowhere {
    fn load(&self, url: &str) -> Result<Value, Box<dyn Error>> {
        Err(format!("{} is not fetched; put it into $defs", text::cut(url, 100)).into())
    }
}

/// The complaints in one line, without the name that the schema has here.
fn shown(error: &dyn fmt::Display) -> String {
    let whole = error.to_string().replace(NAME, "");
    let lines = whole.lines().map(str::trim).filter(|it| !it.starts_with("jsonschema "));
    let lines: Vec<&str> = lines.map(|it| it.trim_start_matches("- ")).collect();
    text::escape(&text::cut(&lines.join("; "), COMPLAINT_CHARS_MAX))
}

fn references(schema: &Value) -> usize {
    match schema {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, it)| usize::from(name.ends_with("Ref") || name == "$ref") + references(it))
            .sum(),
        Value::Array(items) => items.iter().map(references).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(schema: &Value, output: &Value, expected: &Expect) {
        let answer = OutputSchema::read(schema).and_then(|it| it.check(output));
        expected.assert_eq(&answer.err().unwrap_or_default());
    }

    #[test]
    fn an_output_keeps_its_schema_or_it_is_said_where_not() {
        let schema = json!({
            "type": "object", "required": ["score"],
            "properties": { "score": { "type": "number", "maximum": 1 }, "tags": {
                "type": "array", "items": { "$ref": "#/$defs/tag" } } },
            "$defs": { "tag": { "type": "string", "pattern": "^[a-z]+$" } },
        });
        check(&schema, &json!({ "score": 0.5, "tags": ["a"] }), &expect![[""]]);
        check(
            &schema,
            &json!({ "tags": ["A"], "score": 2 }),
            &expect![[r"
            at '/tags/0': 'A' does not match pattern '^[a-z]+$'; at '/score': must be <=1, but got 2"]],
        );
        check(&schema, &json!([]), &expect!["at '': want object, but got array"]);
    }

    #[test]
    fn a_schema_that_is_none_is_refused() {
        check(&json!(7), &json!(1), &expect!["must be a JSON Schema: an object, true or false"]);
        check(
            &json!({ "type": "objekt" }),
            &json!(1),
            &expect![[r"
            is no valid JSON Schema: # is not valid against metaschema"]],
        );
        check(
            &json!({ "$ref": "https://example.com/x" }),
            &json!(1),
            &expect![[r"
            is no valid JSON Schema: error loading https://example.com/x"]],
        );
        check(
            &json!({ "$ref": "file:///etc/passwd" }),
            &json!(1),
            &expect![[r"
            is no valid JSON Schema: error loading file:///etc/passwd"]],
        );
        let many = vec![json!({ "$ref": "#" }); REFERENCES_MAX + 1];
        check(
            &json!({ "anyOf": many }),
            &json!(1),
            &expect![[r"
            has 25 references; at most 24 are allowed"]],
        );
        check(
            &json!({ "const": "x".repeat(BYTES_MAX) }),
            &json!(1),
            &expect![[r"
            has 65548 bytes; at most 65536 are allowed"]],
        );
    }

    #[test]
    fn a_schema_that_goes_round_ends() {
        check(
            &json!({ "$ref": "#" }),
            &json!(1),
            &expect![[r"
            at '': both '/$ref' and '' resolve to # causing reference cycle"]],
        );
        let n = REFERENCES_MAX / 2 - 1;
        let doubling = (0..n).map(|at| {
            let next = json!({ "$ref": format!("#/$defs/s{}", at + 1) });
            (format!("s{at}"), json!({ "anyOf": [next, next] }))
        });
        let mut defs: serde_json::Map<_, _> = doubling.collect();
        defs.insert(format!("s{n}"), json!({ "type": "string" }));
        let schema = json!({ "$defs": defs, "anyOf": [defs["s0"]] });
        assert!(OutputSchema::read(&schema).unwrap().check(&json!(1)).is_err());
    }
}

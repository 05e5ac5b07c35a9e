//! The Python file of a node, from a template for its type.

use super::{
    fields::{Field, Fields},
    name,
};
use crate::model::{NodeType, text};

/// How wide docstrings are.
const DOC_WIDTH: usize = 90;
/// How much of a description stands in a docstring, in characters.
const PURPOSE_CHARS_MAX: usize = 2_000;
/// How much of one reference stands in a docstring, in characters.
const REFERENCE_CHARS_MAX: usize = 400;

/// What a file is made of.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) node_type: NodeType,
    /// The node's name in Pascal case, without `Node` and type.
    pub(super) name: String,
    /// Text from a stranger.
    pub(super) description: String,
    pub(super) fields: Fields,
    /// Text from strangers, an item each.
    pub(super) references: Vec<String>,
}

impl Parts {
    /// The node's class: `NodeUserWriterEffect`.
    pub(super) fn class_name(&self) -> String {
        format!("Node{}{}", self.name, name::type_word(self.node_type))
    }

    /// Writes the file.
    pub(super) fn render(&self) -> String {
        let body = match self.node_type {
            NodeType::Effect => include_str!("templates/effect.py.tmpl"),
            NodeType::Compute => include_str!("templates/compute.py.tmpl"),
            NodeType::Reducer => include_str!("templates/reducer.py.tmpl"),
            NodeType::Orchestrator => include_str!("templates/orchestrator.py.tmpl"),
        };
        let head = fill(include_str!("templates/head.py.tmpl"), |it| self.value(it));
        head + &fill(body, |it| self.value(it))
    }

    fn value(&self, key: &str) -> String {
        match key {
            "name" => self.name.clone(),
            "class" => self.class_name(),
            "node_type" => name::type_word(self.node_type).to_owned(),
            "purpose" => self.purpose(4),
            "purpose_indented" => self.purpose(8),
            "references" => self.references(),
            "models" => fill(include_str!("templates/models.py.tmpl"), |it| self.value(it)),
            "input_fields" => to_code(&self.fields.inputs),
            "output_fields" => to_code(&self.fields.outputs),
            "inputs" => to_doc(&self.fields.inputs),
            "outputs" => to_doc(&self.fields.outputs),
            _ => String::new(),
        }
    }

    fn purpose(&self, indent: usize) -> String {
        wrap(&text::cut(&self.description, PURPOSE_CHARS_MAX), indent, indent)
    }

    fn references(&self) -> String {
        let items = self.references.iter().map(|it| {
            let item = wrap(&text::cut(it, REFERENCE_CHARS_MAX), 4, 6);
            item.replacen("    ", "    - ", 1)
        });
        let items: Vec<_> = items.collect();
        if items.is_empty() {
            "References:\n    none were given.".to_owned()
        } else {
            format!("References:\n{}", items.join("\n"))
        }
    }
}

/// Puts values in the place of `{{key}}`; one pass, so that no value is read as a template.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((key, after)) = after.split_once("}}") else { break };
        filled.push_str(before);
        filled.push_str(&value(key));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

fn to_code(fields: &[Field]) -> String {
    let line = |it: &Field| {
        let description = it.name.replace('_', " ");
        format!("    {}: {} = Field(description=\"{description}\")", it.name, it.python_type)
    };
    fields.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn to_doc(fields: &[Field]) -> String {
    let line = |it: &Field| format!("        {} ({})", it.name, it.python_type);
    fields.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Breaks a stranger's text into docstring lines that cannot end the docstring.
///
/// Quotes and backslashes are escaped, hiding characters are written out, and no escape sequence is
/// broken over two lines.
fn wrap(stranger: &str, indent: usize, hanging: usize) -> String {
    let mut lines = Lines { done: String::new(), used: 0, indent, hanging };
    for word in stranger.split_whitespace() {
        lines.push_word(&text::escape(word));
    }
    lines.finish()
}

struct Lines {
    done: String,
    /// How many columns of the current line are taken, the indent left out.
    used: usize,
    indent: usize,
    hanging: usize,
}

impl Lines {
    fn push_word(&mut self, word: &str) {
        let units: Vec<_> = word.chars().map(escape_unit).collect();
        let width: usize = units.iter().map(|it| it.chars().count()).sum();
        if self.used > 0 && self.used + 1 + width > self.room() {
            self.break_line();
        } else if self.used > 0 {
            self.done.push(' ');
            self.used += 1;
        }
        for unit in units {
            self.push_unit(&unit);
        }
    }

    fn push_unit(&mut self, unit: &str) {
        let width = unit.chars().count();
        if self.used + width > self.room() {
            self.break_line();
        }
        if self.used == 0 {
            let indent = if self.done.is_empty() { self.indent } else { self.hanging };
            self.done.push_str(&" ".repeat(indent));
        }
        self.done.push_str(unit);
        self.used += width;
    }

    fn break_line(&mut self) {
        self.done.push('\n');
        self.used = 0;
    }

    fn room(&self) -> usize {
        DOC_WIDTH - self.hanging
    }

    fn finish(self) -> String {
        if self.done.is_empty() {
            return format!("{}not described.", " ".repeat(self.indent));
        }
        self.done
    }
}

fn escape_unit(it: char) -> String {
    match it {
        '\\' => r"\\".to_owned(),
        '"' => "\\\"".to_owned(),
        _ => it.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(stranger: &str, expected: &Expect) {
        expected.assert_eq(&wrap(stranger, 4, 4));
    }

    #[test]
    fn a_strangers_text_cannot_end_the_docstring() {
        check(
            "a \"\"\"\nimport os\r\n\\\"\"\" \\N{x} \u{202e}\0 {{name}}",
            &expect![[r#"    a \"\"\" import os \\\"\"\" \\N{x} \\u{202e}\\u{0} {{name}}"#]],
        );
        check("ends with \\", &expect![[r"    ends with \\"]]);
        check(" \n ", &expect!["    not described."]);
    }

    #[test]
    fn lines_are_broken_between_words_and_never_in_an_escape() {
        let words = wrap(&"word ".repeat(40), 8, 8);
        assert!(words.lines().all(|it| it.starts_with("        word") && it.len() <= DOC_WIDTH));
        let quotes = wrap(&"\"".repeat(300), 8, 8);
        assert!(quotes.lines().all(|it| it.trim().len() % 2 == 0 && it.len() <= DOC_WIDTH));
    }

    #[test]
    fn values_are_not_read_as_templates() {
        let value = |key: &str| if key == "a" { "{{b}}".to_owned() } else { "no".to_owned() };
        assert_eq!(fill("x {{a}} y {{", value), "x {{b}} y {{");
    }
}

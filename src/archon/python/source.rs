//! One parsed Python file.

use std::ops::ControlFlow;

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tree_sitter::{Node, ParseOptions, Parser, Tree, TreeCursor};

use super::super::error::ArchonError;
use crate::model::text;

/// How many syntax errors of one file are kept.
const SYNTAX_ERRORS_MAX: usize = 20;

/// A parsed Python file, and its text.
#[derive(Debug)]
pub(in crate::archon) struct Source {
    pub(in crate::archon) text: String,
    tree: Tree,
}

/// A place where Python does not parse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::archon) struct SyntaxError {
    /// From 1.
    pub(in crate::archon) line: usize,
    /// From 1, in bytes.
    pub(in crate::archon) column: usize,
    pub(in crate::archon) message: String,
}

/// One step of a walk through a tree.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'t> {
    /// A node, before its children; with the name of the field that holds it.
    Enter(Node<'t>, Option<&'t str>),
    /// The same node, after its children.
    Leave(Node<'t>),
}

impl Source {
    /// Parses `text`; gives up when the caller does.
    pub(in crate::archon) fn parse(
        text: String,
        stop: &CancellationToken,
    ) -> Result<Self, ArchonError> {
        let mut parser = Parser::new();
        parser
            .set_language(&tree_sitter_python::LANGUAGE.into())
            .map_err(|error| ArchonError::Internal(error.to_string()))?;
        let mut is_wanted = |_: &_| {
            if stop.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let options = ParseOptions::new().progress_callback(&mut is_wanted);
        let bytes = text.as_bytes();
        let mut read = |at: usize, _| bytes.get(at..).unwrap_or_default();
        let tree = parser.parse_with_options(&mut read, None, Some(options));
        Ok(Self { tree: tree.ok_or(ArchonError::Cancelled)?, text })
    }

    /// Where the text does not parse, in order.
    pub(in crate::archon) fn syntax_errors(&self) -> Vec<SyntaxError> {
        let mut errors = Vec::new();
        self.walk(|step| {
            if let Step::Enter(node, _) = step
                && (node.is_error() || node.is_missing() || is_python_2(node))
                && errors.len() < SYNTAX_ERRORS_MAX
            {
                errors.push(self.describe(node));
            }
        });
        errors
    }

    /// The text of a node.
    pub(super) fn text_of(&self, node: Node<'_>) -> &str {
        self.text.get(node.byte_range()).unwrap_or_default()
    }

    /// Visits every node before and after its children.
    pub(super) fn walk<'t>(&'t self, mut visit: impl FnMut(Step<'t>)) {
        let mut cursor = self.tree.walk();
        loop {
            visit(Step::Enter(cursor.node(), cursor.field_name()));
            if cursor.goto_first_child() {
                continue;
            }
            if !leave(&mut cursor, &mut visit) {
                return;
            }
        }
    }

    fn describe(&self, node: Node<'_>) -> SyntaxError {
        let at = node.start_position();
        let message = if is_python_2(node) {
            format!("a {} is no longer Python", node.kind().replace('_', " "))
        } else if node.is_missing() {
            format!("{} is missing", node.kind())
        } else {
            let found = self.text_of(node).lines().next().unwrap_or_default().trim();
            format!("unexpected {:?}", text::cut(found, 60))
        };
        SyntaxError { line: at.row + 1, column: at.column + 1, message }
    }
}

/// Leaves nodes until one has a sibling, and goes there; false at the end of the tree.
fn leave<'t>(cursor: &mut TreeCursor<'t>, visit: &mut impl FnMut(Step<'t>)) -> bool {
    loop {
        visit(Step::Leave(cursor.node()));
        if cursor.goto_next_sibling() {
            return true;
        }
        if !cursor.goto_parent() {
            return false;
        }
    }
}

/// Whether the grammar knows a statement that Python 3 does not.
fn is_python_2(node: Node<'_>) -> bool {
    matches!(node.kind(), "print_statement" | "exec_statement")
}

//! What a Python file defines, imports and calls, read in one walk.

use tree_sitter::Node;

use super::source::{Source, Step};
use crate::model::text;

/// How much of a name or type is kept, in characters; hostile ones would else be kept many times.
const NAME_CHARS_MAX: usize = 200;
/// How much of a docstring is kept, in characters.
const DOCSTRING_CHARS_MAX: usize = 20_000;

/// What a Python file defines, imports and calls.
#[derive(Clone, Debug, Default)]
pub(in crate::archon) struct Outline {
    pub(in crate::archon) classes: Vec<Class>,
    pub(in crate::archon) functions: Vec<Function>,
    pub(in crate::archon) imports: Vec<Import>,
    pub(in crate::archon) calls: Vec<Call>,
    pub(in crate::archon) smells: Vec<Smell>,
    /// The lines on which the name `Any` is used.
    pub(in crate::archon) any_lines: Vec<usize>,
}

/// A class.
#[derive(Clone, Debug, Default)]
pub(in crate::archon) struct Class {
    pub(in crate::archon) name: String,
    /// The bases as written, keywords left out.
    pub(in crate::archon) bases: Vec<String>,
    pub(in crate::archon) docstring: Option<String>,
    /// The names that the class body gives a value or a type.
    pub(in crate::archon) fields: Vec<Field>,
    pub(in crate::archon) line: usize,
    /// Whether it stands inside a function.
    pub(in crate::archon) is_local: bool,
}

/// A name in a class body.
#[derive(Clone, Debug)]
pub(in crate::archon) struct Field {
    pub(in crate::archon) name: String,
    pub(in crate::archon) annotation: Option<String>,
    pub(in crate::archon) line: usize,
}

/// A function or a method.
#[derive(Clone, Debug, Default)]
pub(in crate::archon) struct Function {
    pub(in crate::archon) name: String,
    /// The class that it is a method of.
    pub(in crate::archon) class: Option<String>,
    pub(in crate::archon) is_async: bool,
    pub(in crate::archon) params: Vec<Param>,
    pub(in crate::archon) returns: Option<String>,
    pub(in crate::archon) docstring: Option<String>,
    pub(in crate::archon) line: usize,
    pub(in crate::archon) end_line: usize,
    /// Whether it stands inside another function.
    pub(in crate::archon) is_local: bool,
    /// The cyclomatic complexity: 1, and 1 for each branch.
    pub(in crate::archon) complexity: usize,
    /// How deep its loops nest.
    pub(in crate::archon) loop_depth: usize,
}

/// A parameter of a function.
#[derive(Clone, Debug)]
pub(in crate::archon) struct Param {
    pub(in crate::archon) name: String,
    pub(in crate::archon) annotation: Option<String>,
}

/// One imported module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::archon) struct Import {
    /// Dotted; with leading dots where it is relative.
    pub(in crate::archon) module: String,
    /// What is taken from it; empty for the module itself.
    pub(in crate::archon) names: Vec<String>,
}

/// One call.
#[derive(Clone, Debug)]
pub(in crate::archon) struct Call {
    /// What is called, as written, or the end of it: `self.repository.find`.
    pub(in crate::archon) callee: String,
    pub(in crate::archon) line: usize,
    /// How many loops stand around it, within its function.
    pub(in crate::archon) loop_depth: usize,
    /// The index of the function that it stands in.
    pub(in crate::archon) function: Option<usize>,
}

/// Something that often goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::archon) enum Smell {
    /// `except:` without a type.
    BareExcept(usize),
    /// A handler that does nothing.
    SwallowedException(usize),
    /// A default value that all calls share.
    MutableDefault(usize),
}

impl Outline {
    /// Reads the outline; costs one walk of the tree.
    pub(in crate::archon) fn of(source: &Source) -> Self {
        let mut reader = Reader { source, outline: Self::default(), scopes: Vec::new() };
        source.walk(|step| match step {
            Step::Enter(node, field) => reader.enter(node, field),
            Step::Leave(node) => reader.leave(node),
        });
        reader.outline
    }

    /// The innermost function that a line stands in.
    pub(in crate::archon) fn function_at(&self, line: usize) -> Option<&Function> {
        let holds = |it: &&Function| it.line <= line && line <= it.end_line;
        self.functions.iter().filter(holds).max_by_key(|it| it.line)
    }
}

impl Class {
    /// Whether one of the bases has this name, whatever module it is taken from.
    pub(in crate::archon) fn has_base(&self, name: &str) -> bool {
        self.bases.iter().any(|it| it.split('[').next().and_then(last_name) == Some(name))
    }
}

impl Function {
    /// The name with its class: `NodeUserWriter.execute`.
    pub(in crate::archon) fn full_name(&self) -> String {
        match &self.class {
            Some(class) => format!("{class}.{}", self.name),
            None => self.name.clone(),
        }
    }
}

impl Call {
    /// The last name of what is called: `find` of `self.repository.find`.
    pub(in crate::archon) fn name(&self) -> &str {
        last_name(&self.callee).unwrap_or_default()
    }
}

struct Reader<'s> {
    source: &'s Source,
    outline: Outline,
    scopes: Vec<Scope>,
}

/// Something that is being walked.
struct Scope {
    node_id: usize,
    kind: ScopeKind,
}

enum ScopeKind {
    /// The index of the class.
    Class(usize),
    /// The index of the function, and how many loops are open in it.
    Function(usize, usize),
    Loop,
}

impl Reader<'_> {
    fn enter(&mut self, node: Node<'_>, field: Option<&str>) {
        match node.kind() {
            "class_definition" => self.enter_class(node),
            "function_definition" => self.enter_function(node),
            "for_statement" | "while_statement" => {
                self.branch();
                self.enter_loop(node);
            }
            "for_in_clause"
            | "if_clause"
            | "if_statement"
            | "elif_clause"
            | "case_clause"
            | "conditional_expression"
            | "boolean_operator" => self.branch(),
            "except_clause" => self.enter_except(node),
            "assignment" => self.read_field(node),
            "default_parameter" | "typed_default_parameter" => self.read_default(node),
            "import_statement" | "import_from_statement" => self.read_import(node),
            "call" => self.read_call(node),
            // The name of an attribute or of a keyword is not a use of `Any`; `typing.Any` is.
            "identifier" if self.source.text_of(node) == "Any" && field != Some("name") => {
                self.outline.any_lines.push(line(node));
            }
            _ => {}
        }
    }

    fn leave(&mut self, node: Node<'_>) {
        if self.scopes.last().is_none_or(|it| it.node_id != node.id()) {
            return;
        }
        if let Some(Scope { kind: ScopeKind::Loop, .. }) = self.scopes.pop()
            && let Some(ScopeKind::Function(_, n_loops)) = self.function_scope()
        {
            *n_loops -= 1;
        }
    }

    fn enter_class(&mut self, node: Node<'_>) {
        let class = Class {
            name: self.field_text(node, "name").unwrap_or_default(),
            bases: self.bases(node),
            docstring: self.docstring(node),
            fields: Vec::new(),
            line: line(node),
            is_local: self.function().is_some(),
        };
        self.outline.classes.push(class);
        self.push(node, ScopeKind::Class(self.outline.classes.len() - 1));
    }

    fn enter_function(&mut self, node: Node<'_>) {
        let class = match self.scopes.last() {
            Some(Scope { kind: ScopeKind::Class(at), .. }) => Some(*at),
            _ => None,
        };
        let function = Function {
            name: self.field_text(node, "name").unwrap_or_default(),
            class: class.map(|at| self.outline.classes[at].name.clone()),
            is_async: node.child(0).is_some_and(|it| it.kind() == "async"),
            params: self.params(node),
            returns: self.field_text(node, "return_type"),
            docstring: self.docstring(node),
            line: line(node),
            end_line: node.end_position().row + 1,
            is_local: self.function().is_some(),
            complexity: 1,
            loop_depth: 0,
        };
        self.outline.functions.push(function);
        self.push(node, ScopeKind::Function(self.outline.functions.len() - 1, 0));
    }

    fn enter_loop(&mut self, node: Node<'_>) {
        if let Some(ScopeKind::Function(at, n_loops)) = self.function_scope() {
            *n_loops += 1;
            let (at, n_loops) = (*at, *n_loops);
            let function = &mut self.outline.functions[at];
            function.loop_depth = function.loop_depth.max(n_loops);
            self.push(node, ScopeKind::Loop);
        }
    }

    fn enter_except(&mut self, node: Node<'_>) {
        self.branch();
        let mut cursor = node.walk();
        let children: Vec<_> = node.named_children(&mut cursor).collect();
        let is_code = |it: &&Node<'_>| it.kind() != "comment";
        if children.iter().filter(is_code).all(|it| it.kind() == "block") {
            self.outline.smells.push(Smell::BareExcept(line(node)));
        }
        let block = children.iter().find(|it| it.kind() == "block");
        if block.is_some_and(|it| self.does_nothing(*it)) {
            self.outline.smells.push(Smell::SwallowedException(line(node)));
        }
    }

    fn does_nothing(&self, block: Node<'_>) -> bool {
        let mut cursor = block.walk();
        block
            .named_children(&mut cursor)
            .all(|it| it.kind() == "pass_statement" || self.source.text_of(it) == "...")
    }

    fn branch(&mut self) {
        if let Some(at) = self.function() {
            self.outline.functions[at].complexity += 1;
        }
    }

    fn read_field(&mut self, node: Node<'_>) {
        let Some(Scope { kind: ScopeKind::Class(at), .. }) = self.scopes.last() else { return };
        let at = *at;
        let Some(left) = node.child_by_field_name("left") else { return };
        if left.kind() != "identifier" {
            return;
        }
        let name = self.short(left);
        let annotation = self.field_text(node, "type");
        self.outline.classes[at].fields.push(Field { name, annotation, line: line(node) });
    }

    fn read_default(&mut self, node: Node<'_>) {
        let value = node.child_by_field_name("value");
        let is_mutable = value.is_some_and(|it| {
            matches!(it.kind(), "list" | "dictionary" | "set")
                || matches!(self.source.text_of(it), "list()" | "dict()" | "set()")
        });
        if is_mutable {
            self.outline.smells.push(Smell::MutableDefault(line(node)));
        }
    }

    fn read_import(&mut self, node: Node<'_>) {
        let mut cursor = node.walk();
        let names = node.children_by_field_name("name", &mut cursor).map(|it| {
            let name = it.child_by_field_name("name").unwrap_or(it);
            self.short(name)
        });
        let names: Vec<_> = names.collect();
        match self.field_text(node, "module_name") {
            Some(module) => self.outline.imports.push(Import { module, names }),
            None => self
                .outline
                .imports
                .extend(names.into_iter().map(|module| Import { module, names: Vec::new() })),
        }
    }

    fn read_call(&mut self, node: Node<'_>) {
        let Some(callee) = node.child_by_field_name("function") else { return };
        let callee = tail(self.source.text_of(callee)).to_owned();
        let (function, loop_depth) = match self.function_scope() {
            Some(ScopeKind::Function(at, n_loops)) => (Some(*at), *n_loops),
            _ => (None, 0),
        };
        self.outline.calls.push(Call { callee, line: line(node), loop_depth, function });
    }

    fn bases(&self, node: Node<'_>) -> Vec<String> {
        let Some(list) = node.child_by_field_name("superclasses") else { return Vec::new() };
        let mut cursor = list.walk();
        list.named_children(&mut cursor)
            .filter(|it| !matches!(it.kind(), "keyword_argument" | "comment"))
            .map(|it| self.short(it))
            .collect()
    }

    fn params(&self, node: Node<'_>) -> Vec<Param> {
        let Some(list) = node.child_by_field_name("parameters") else { return Vec::new() };
        let mut cursor = list.walk();
        list.named_children(&mut cursor).filter_map(|it| self.param(it)).collect()
    }

    fn param(&self, node: Node<'_>) -> Option<Param> {
        let is_separator =
            matches!(node.kind(), "keyword_separator" | "positional_separator" | "comment");
        if is_separator {
            return None;
        }
        let name = node.child_by_field_name("name").or_else(|| match node.kind() {
            "identifier" => Some(node),
            _ => node.named_child(0),
        })?;
        let name = self.short(name);
        Some(Param { name, annotation: self.field_text(node, "type") })
    }

    /// The docstring of a class or function, without its quotes.
    fn docstring(&self, node: Node<'_>) -> Option<String> {
        let first = node.child_by_field_name("body")?.named_child(0)?;
        let string = match first.kind() {
            "expression_statement" => first.named_child(0)?,
            _ => first,
        };
        if string.kind() != "string" {
            return None;
        }
        let mut cursor = string.walk();
        let parts = string.named_children(&mut cursor).filter(|it| it.kind() == "string_content");
        let docstring: String = parts.map(|it| self.source.text_of(it)).collect();
        Some(text::cut(&docstring, DOCSTRING_CHARS_MAX))
    }

    fn field_text(&self, node: Node<'_>, field: &str) -> Option<String> {
        node.child_by_field_name(field).map(|it| self.short(it))
    }

    fn short(&self, node: Node<'_>) -> String {
        text::cut(self.source.text_of(node), NAME_CHARS_MAX)
    }

    fn push(&mut self, node: Node<'_>, kind: ScopeKind) {
        self.scopes.push(Scope { node_id: node.id(), kind });
    }

    /// The innermost function's index.
    fn function(&mut self) -> Option<usize> {
        match self.function_scope() {
            Some(ScopeKind::Function(at, _)) => Some(*at),
            _ => None,
        }
    }

    /// The innermost function, unless a class stands in between.
    fn function_scope(&mut self) -> Option<&mut ScopeKind> {
        let scopes = self.scopes.iter_mut().rev().map(|it| &mut it.kind);
        scopes.into_iter().find(|it| matches!(it, ScopeKind::Function(..)))
    }
}

/// The last characters of a text, of which a chain of calls would else hold each prefix.
fn tail(text: &str) -> &str {
    let start = text.char_indices().rev().nth(NAME_CHARS_MAX - 1).map_or(0, |(at, _)| at);
    &text[start..]
}

/// The last name of a dotted one.
fn last_name(dotted: &str) -> Option<&str> {
    dotted.rsplit('.').next()
}

/// The line that a node starts on, from 1.
fn line(node: Node<'_>) -> usize {
    node.start_position().row + 1
}

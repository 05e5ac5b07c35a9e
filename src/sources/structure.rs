//! `structure:PATH`: the tree of a directory beneath a workspace, as indented names.
//!
//! What `.gitignore` files leave out stays out, and so does `.git`. Each directory is opened
//! beneath its workspace, so no link leads the walk out.

use std::{fmt::Write as _, path::Path};

use futures::future::BoxFuture;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde_json::Map;

use super::{blocking, places, text_item};
use crate::{
    confine::{ConfineError, EntryKind, Workspaces},
    model::text,
    ports::{ContextError, ContextItem, ContextSource, Gathering},
};

/// Draws directory trees; a relative path is looked for beneath each workspace in turn.
#[derive(Debug)]
pub struct StructureSource {
    workspaces: Workspaces,
}

const ENTRIES_MAX: usize = 1_000;
const DIR_ENTRIES_MAX: usize = 200;
const DEPTH_MAX: usize = 6;
const RULES_BYTES_MAX: u64 = 256 * 1024;

/// A tree as far as it is drawn.
#[derive(Debug, Default)]
struct Tree {
    text: String,
    n_entries: usize,
    is_cut: bool,
}

impl StructureSource {
    /// Walks beneath `workspaces` only.
    pub fn new(workspaces: Workspaces) -> Self {
        Self { workspaces }
    }

    async fn draw(&self, key: &str) -> Result<ContextItem, ContextError> {
        let (workspaces, path) = (self.workspaces.clone(), key.to_owned());
        let draw = move || draw_first(&workspaces, &path);
        let tree = blocking(self.prefix(), key, draw).await?;
        let mut metadata = Map::new();
        metadata.insert("entries".to_owned(), tree.n_entries.into());
        if tree.is_cut {
            let note = format!(
                "cut: at most {ENTRIES_MAX} entries, {DIR_ENTRIES_MAX} a directory, \
                 {DEPTH_MAX} levels"
            );
            metadata.insert("note".to_owned(), note.into());
        }
        Ok(text_item(self.prefix(), &tree.text, metadata))
    }
}

impl ContextSource for StructureSource {
    fn prefix(&self) -> &'static str {
        "structure"
    }

    fn gather<'a>(
        &'a self,
        key: &'a str,
        _: &'a Gathering,
    ) -> BoxFuture<'a, Result<ContextItem, ContextError>> {
        Box::pin(self.draw(key))
    }
}

fn draw_first(workspaces: &Workspaces, key: &str) -> Result<Tree, String> {
    let mut reason = "there is no workspace".to_owned();
    for path in places(workspaces, key) {
        let mut tree = Tree::default();
        let mut rules = rules_above(workspaces, &path);
        match tree.draw(workspaces, &path, 0, &mut rules) {
            Ok(()) => return Ok(tree),
            Err(ConfineError::NotFound { path }) => {
                reason = format!("{path}: no such directory");
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(reason)
}

impl Tree {
    fn draw(
        &mut self,
        workspaces: &Workspaces,
        dir: &Path,
        depth: usize,
        rules: &mut Vec<Gitignore>,
    ) -> Result<(), ConfineError> {
        let entries = workspaces.list(dir, usize::MAX)?;
        rules.push(read_rules(workspaces, dir));
        let is_kept =
            |name: &str, is_dir| name != ".git" && !is_ignored(rules, &dir.join(name), is_dir);
        let kept: Vec<_> =
            entries.into_iter().filter(|it| is_kept(&it.name, it.kind == EntryKind::Dir)).collect();
        self.is_cut |= kept.len() > DIR_ENTRIES_MAX;
        for entry in kept.into_iter().take(DIR_ENTRIES_MAX) {
            if self.n_entries == ENTRIES_MAX {
                self.is_cut = true;
                break;
            }
            self.write(depth, &entry.name, entry.kind);
            if entry.kind != EntryKind::Dir {
                continue;
            }
            if depth + 1 == DEPTH_MAX {
                self.is_cut = true;
            } else if self.draw(workspaces, &dir.join(&entry.name), depth + 1, rules).is_err() {
                // Gone meanwhile, or not readable: its name is drawn, its inside is not.
                self.is_cut = true;
            }
        }
        rules.pop();
        Ok(())
    }

    fn write(&mut self, depth: usize, name: &str, kind: EntryKind) {
        let mark = match kind {
            EntryKind::Dir => "/",
            EntryKind::Link => "@",
            EntryKind::File | EntryKind::Other => "",
        };
        self.n_entries += 1;
        let (indent, name) = ("  ".repeat(depth), text::escape(name));
        // Writing to a String does not fail.
        if writeln!(self.text, "{indent}{name}{mark}").is_err() {
            self.is_cut = true;
        }
    }
}

/// The rules of the directories from the workspace down to, and without, `dir`.
fn rules_above(workspaces: &Workspaces, dir: &Path) -> Vec<Gitignore> {
    let Ok(root) = workspaces.root_of(dir) else { return Vec::new() };
    let mut above: Vec<&Path> =
        dir.ancestors().skip(1).take_while(|it| it.starts_with(root)).collect();
    above.reverse();
    above.into_iter().map(|it| read_rules(workspaces, it)).collect()
}

fn read_rules(workspaces: &Workspaces, dir: &Path) -> Gitignore {
    let mut builder = GitignoreBuilder::new(dir);
    let lines = workspaces.read_text(dir.join(".gitignore"), RULES_BYTES_MAX).unwrap_or_default();
    for line in lines.lines() {
        if let Err(error) = builder.add_line(None, line) {
            tracing::trace!(%error, "skipped a rule of .gitignore");
        }
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// The innermost rule that speaks of a path decides.
fn is_ignored(rules: &[Gitignore], path: &Path, is_dir: bool) -> bool {
    let verdicts = rules.iter().rev().map(|it| it.matched(path, is_dir));
    verdicts.into_iter().find(|it| !it.is_none()).is_some_and(|it| it.is_ignore())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn source(dir: &tempfile::TempDir) -> StructureSource {
        StructureSource::new(Workspaces::new([dir.path().to_owned()]).unwrap())
    }

    fn make(dir: &tempfile::TempDir, files: &[&str]) {
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
    }

    #[tokio::test]
    async fn a_tree_leaves_out_what_git_ignores() {
        let dir = tempfile::tempdir().unwrap();
        make(&dir, &[".git/HEAD", "src/a.py", "src/b.pyc", "src/deep/x.log", "src/deep/keep.log"]);
        make(&dir, &["target/big", "README.md"]);
        std::fs::write(dir.path().join(".gitignore"), "/target/\n*.pyc\n*.log\n").unwrap();
        std::fs::write(dir.path().join("src/deep/.gitignore"), "!keep.log\n").unwrap();
        let item = source(&dir).gather(".", &Gathering::default()).await.unwrap();
        expect![[r"
            .gitignore
            README.md
            src/
              a.py
              deep/
                .gitignore
                keep.log
        "]]
        .assert_eq(item.content.as_str().unwrap());
        assert_eq!(item.metadata["entries"], 7);
        assert_eq!(item.metadata.get("note"), None);
        let below = source(&dir).gather("src", &Gathering::default()).await.unwrap();
        assert_eq!(below.content, "a.py\ndeep/\n  .gitignore\n  keep.log\n");
    }

    #[tokio::test]
    async fn a_large_tree_is_cut_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        make(&dir, &["a/b/c/d/e/f/g/h"]);
        let names: Vec<_> = (0..300).map(|it| format!("many/{it:03}")).collect();
        make(&dir, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let item = source(&dir).gather(".", &Gathering::default()).await.unwrap();
        assert!(item.metadata["note"].as_str().unwrap().starts_with("cut: at most 1000 entries"));
        let text = item.content.as_str().unwrap();
        assert!(text.contains("199\n") && !text.contains("200\n") && !text.contains("g/"));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn links_are_named_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("etc")).unwrap();
        assert_eq!(source(&dir).gather("", &Gathering::default()).await.unwrap().content, "etc@\n");
        assert!(source(&dir).gather("etc", &Gathering::default()).await.is_err());
        assert!(source(&dir).gather("/etc", &Gathering::default()).await.is_err());
    }
}

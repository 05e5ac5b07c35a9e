//! `file:PATH`: the text of a file beneath a workspace.

use std::path::PathBuf;

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use super::{blocking, places, text_item};
use crate::{
    confine::{ConfineError, Workspaces},
    ports::{ContextError, ContextItem, ContextSource, Gathering},
};

/// Reads files; a relative path is looked for beneath each workspace in turn.
#[derive(Debug)]
pub struct FileSource {
    workspaces: Workspaces,
}

/// The largest file that is read at all, in bytes; of it, the start is kept.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

impl FileSource {
    /// Reads beneath `workspaces` only.
    pub fn new(workspaces: Workspaces) -> Self {
        Self { workspaces }
    }

    async fn read(&self, key: &str) -> Result<ContextItem, ContextError> {
        let (workspaces, path) = (self.workspaces.clone(), key.to_owned());
        let read = move || read_first(&workspaces, &path);
        let (path, text) = blocking(self.prefix(), key, read).await?;
        let path = Value::String(path.to_string_lossy().into_owned());
        Ok(text_item(self.prefix(), &text, Map::from_iter([("path".to_owned(), path)])))
    }
}

impl ContextSource for FileSource {
    fn prefix(&self) -> &'static str {
        "file"
    }

    fn gather<'a>(
        &'a self,
        key: &'a str,
        _: &'a Gathering,
    ) -> BoxFuture<'a, Result<ContextItem, ContextError>> {
        Box::pin(self.read(key))
    }
}

fn read_first(workspaces: &Workspaces, key: &str) -> Result<(PathBuf, String), String> {
    let mut reason = "there is no workspace".to_owned();
    for path in places(workspaces, key) {
        match workspaces.read_text(&path, FILE_BYTES_MAX) {
            Ok(text) => return Ok((path, text)),
            Err(ConfineError::NotFound { path }) => {
                reason = format!("{path}: no such file");
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(dir: &tempfile::TempDir) -> FileSource {
        FileSource::new(Workspaces::new([dir.path().to_owned()]).unwrap())
    }

    #[tokio::test]
    async fn a_file_is_found_by_its_relative_and_its_absolute_path() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("auth.py"), "def login(): ...\n").unwrap();
        let absolute = dir.path().join("auth.py");
        for key in ["auth.py", absolute.to_str().unwrap()] {
            let item = source(&dir).gather(key, &Gathering::default()).await.unwrap();
            assert_eq!((item.kind.as_str(), &item.content), ("file", &"def login(): ...\n".into()));
            assert_eq!(item.metadata["bytes"], 17);
            assert_eq!(item.metadata.get("note"), None);
        }
    }

    #[tokio::test]
    async fn a_long_file_is_cut_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("long"), "ä".repeat(40_000)).unwrap();
        let item = source(&dir).gather("long", &Gathering::default()).await.unwrap();
        assert_eq!(item.metadata["note"], "cut after 65536 of 80000 bytes");
        assert_eq!(item.content.as_str().unwrap().len(), 65_536);
    }

    #[tokio::test]
    async fn what_is_missing_or_outside_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let reason = |key| {
            let source = source(&dir);
            async move { source.gather(key, &Gathering::default()).await.unwrap_err().to_string() }
        };
        assert!(reason("gone.py").await.ends_with("gone.py: no such file"));
        for key in ["../outside", "/etc/passwd"] {
            assert!(reason(key).await.ends_with("the path is not inside a workspace"), "{key}");
        }
    }
}

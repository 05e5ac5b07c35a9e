//! Where context comes from: files and directories of the workspaces, and the upstream's search.
//!
//! One file a kind. Each piece is bounded in size and time, and says in its metadata what was cut.

mod file;
mod search;
mod structure;

pub use file::FileSource;
pub use search::SearchSource;
use serde_json::{Map, Value};
pub use structure::StructureSource;

use crate::{
    confine::Workspaces,
    model::text,
    ports::{ContextError, ContextItem},
};

/// The largest piece of context, in bytes.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Makes a piece of text, cut to [`PIECE_BYTES_MAX`].
fn text_item(kind: &str, content: &str, mut metadata: Map<String, Value>) -> ContextItem {
    let kept = &content[..content.floor_char_boundary(PIECE_BYTES_MAX)];
    metadata.insert("bytes".to_owned(), kept.len().into());
    if kept.len() < content.len() {
        let note = format!("cut after {} of {} bytes", kept.len(), content.len());
        metadata.insert("note".to_owned(), note.into());
    }
    ContextItem { kind: kind.to_owned(), content: Value::String(kept.to_owned()), metadata }
}

fn error(prefix: &str, key: &str, reason: &str) -> ContextError {
    let key = text::escape(&text::cut(&format!("{prefix}:{key}"), 300));
    ContextError { key, reason: text::escape(&text::cut(reason, 500)) }
}

/// The absolute paths that `key` may mean: itself, or itself beneath each workspace.
fn places(workspaces: &Workspaces, key: &str) -> Vec<std::path::PathBuf> {
    let path = std::path::Path::new(key);
    if path.is_absolute() {
        return vec![path.to_owned()];
    }
    workspaces.roots().map(|it| it.join(path)).collect()
}

/// Does what blocks on a thread where that is allowed.
async fn blocking<T: Send + 'static>(
    prefix: &str,
    key: &str,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, ContextError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|_| Err("reading it was broken off".to_owned()));
    done.map_err(|reason| error(prefix, key, &reason))
}

//! What stands around: the files that affected files import, and who calls the failing function.

use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        error::ArchonError,
        python::{self, Import, Outline, Source},
    },
    evidence::Evidence,
    file::File,
};
use crate::{confine::Workspaces, model::text};

/// How many imports of one file are followed, and how many names of one import.
const FOLLOWED_MAX: usize = 200;
/// How many imported files are named.
const IMPORTS_MAX: usize = 32;
/// How many files of the workspace are searched for callers.
const SEARCHED_FILES_MAX: usize = 2_000;
/// How many names of the workspace are looked at for that.
const SEARCHED_ENTRIES_MAX: usize = 50_000;
/// How long a file may be that is searched for callers, in bytes.
const SEARCHED_BYTES_MAX: u64 = 256 * 1_024;
/// How deep directories are searched.
const SEARCH_DEPTH_MAX: usize = 16;
/// How many callers are named.
const CALLERS_MAX: usize = 30;

/// Directories whose code is built, or somebody else's.
const FOREIGN_DIRS: [&str; 8] =
    ["node_modules", "target", "venv", "env", "site-packages", "__pycache__", "dist", "build"];

/// What stands around.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Related {
    pub(super) imports: Vec<Imported>,
    pub(super) callers: Vec<Caller>,
    /// How many files were searched for callers.
    pub(super) files_searched: usize,
}

/// A file of the workspace that an affected file imports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Imported {
    pub(super) by: String,
    pub(super) module: String,
    pub(super) path: String,
    /// What of it does not parse.
    pub(super) syntax_errors: usize,
}

/// A place that calls the failing function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Caller {
    pub(super) of: String,
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) code: String,
}

/// Finds what stands around. Blocks.
pub(super) fn find(
    workspaces: &Workspaces,
    evidence: &Evidence,
    stop: &CancellationToken,
) -> Result<Related, ArchonError> {
    let mut related = Related::default();
    for file in &evidence.files {
        find_imports(workspaces, file, &mut related, stop)?;
    }
    if let Some((function, path)) = failing_function(evidence) {
        find_callers(workspaces, function, path, &mut related, stop)?;
    }
    Ok(related)
}

fn find_imports(
    workspaces: &Workspaces,
    file: &File,
    related: &mut Related,
    stop: &CancellationToken,
) -> Result<(), ArchonError> {
    for import in file.outline.iter().flat_map(|it| &it.imports).take(FOLLOWED_MAX) {
        if stop.is_cancelled() {
            return Err(ArchonError::Cancelled);
        }
        let Some(path) = resolve(workspaces, &file.path, import) else { continue };
        let is_known = related.imports.iter().any(|it| it.by == file.path && it.path == path);
        if is_known || related.imports.len() == IMPORTS_MAX {
            continue;
        }
        let syntax_errors = File::read(workspaces, &path, stop)?.syntax_errors.len();
        let (by, module) = (file.path.clone(), import.module.clone());
        related.imports.push(Imported { by, module, path, syntax_errors });
    }
    Ok(())
}

/// The file that an import means: from the file's own directory for a relative one, and from each
/// directory up to the workspace's root for an absolute one.
fn resolve(workspaces: &Workspaces, importer: &str, import: &Import) -> Option<String> {
    let module = import.module.trim_start_matches('.');
    let n_dots = import.module.len() - module.len();
    let own = Path::new(importer).parent()?;
    let parts: PathBuf = module.split('.').filter(|it| !it.is_empty()).collect();
    let is_inside = |it: &&Path| workspaces.root_of(it).is_ok();
    let mut bases: Vec<&Path> = own.ancestors().take_while(is_inside).collect();
    if n_dots > 0 {
        bases = bases.get(n_dots - 1).copied().into_iter().collect();
    }
    let candidates = bases.into_iter().flat_map(|base| {
        let names =
            import.names.iter().take(FOLLOWED_MAX).map(|name| parts.join(format!("{name}.py")));
        let module = [parts.with_extension("py"), parts.join("__init__.py")];
        let files = names.chain(module).map(|it| base.join(it));
        files.collect::<Vec<_>>()
    });
    let candidates = candidates.filter_map(|it| it.to_str().map(str::to_owned));
    candidates.into_iter().find(|it| it != importer && workspaces.is_file(it))
}

/// The function that the first error came up in, and its file.
fn failing_function(evidence: &Evidence) -> Option<(&str, &str)> {
    let frame = &evidence.frames.iter().find(|it| it.in_workspace)?.frame;
    let name = frame.function.as_deref()?.rsplit('.').next()?;
    let is_name = name.chars().all(|it| it.is_alphanumeric() || it == '_');
    (is_name && python::is_python(&frame.path)).then_some((name, frame.path.as_str()))
}

fn find_callers(
    workspaces: &Workspaces,
    function: &str,
    path: &str,
    related: &mut Related,
    stop: &CancellationToken,
) -> Result<(), ArchonError> {
    let root = workspaces.root_of(path)?;
    // Ignore files are left alone: one may be a pipe, or a link that leads out.
    let walk = WalkBuilder::new(root)
        .standard_filters(false)
        .hidden(true)
        .follow_links(false)
        .filter_entry(|it| it.file_name().to_str().is_none_or(|it| !FOREIGN_DIRS.contains(&it)))
        .max_depth(Some(SEARCH_DEPTH_MAX))
        .max_filesize(Some(SEARCHED_BYTES_MAX))
        .sort_by_file_name(Ord::cmp)
        .build();
    let is_python = |it: &ignore::DirEntry| python::is_python(it.path());
    let entries = walk.take(SEARCHED_ENTRIES_MAX).filter_map(Result::ok);
    for entry in entries.filter(is_python).take(SEARCHED_FILES_MAX) {
        if stop.is_cancelled() {
            return Err(ArchonError::Cancelled);
        }
        let Ok(text) = workspaces.read_text(entry.path(), SEARCHED_BYTES_MAX) else { continue };
        related.files_searched += 1;
        if text.contains(function) {
            let path = entry.path().to_string_lossy();
            add_callers(&Source::parse(text, stop)?, function, &path, related);
        }
        if related.callers.len() == CALLERS_MAX {
            break;
        }
    }
    Ok(())
}

fn add_callers(source: &Source, function: &str, path: &str, related: &mut Related) {
    let outline = Outline::of(source);
    let calls = outline.calls.iter().filter(|it| it.name() == function);
    let room = CALLERS_MAX - related.callers.len();
    related.callers.extend(calls.take(room).map(|it| Caller {
        of: function.to_owned(),
        path: path.to_owned(),
        line: it.line,
        code: text::cut(source.text.lines().nth(it.line - 1).unwrap_or_default().trim(), 160),
    }));
}

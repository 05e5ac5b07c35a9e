//! Removes what was written for one dispatch, and nothing else.

use std::{
    io,
    path::{Path, PathBuf},
};

use cap_std::{ambient_authority, fs::Dir};

use super::files::{is_temporary, open_child, root_of};
use crate::{model::TaskId, ports::TraceTarget};

/// Removes the files of a dispatch beneath one of `roots`, and returns how many there were.
pub(super) fn remove(roots: &[PathBuf], target: &TraceTarget) -> io::Result<usize> {
    let Some(dir) = open(roots, &target.dir)? else { return Ok(0) };
    let mut n_removed = 0;
    let folder = target.dispatch.to_string();
    if dir.symlink_metadata(&folder).is_ok_and(|it| it.is_dir()) {
        n_removed += empty(&dir, Path::new(&folder))?;
        // Something of somebody else keeps the folder.
        let _kept = dir.remove_dir(&folder);
    }
    if let Some(index) = target.index_path().file_name()
        && dir.symlink_metadata(index).is_ok_and(|it| it.is_file())
    {
        remove_file(&dir, Path::new(index), &mut n_removed)?;
    }
    Ok(n_removed)
}

/// Opens the trace directory, if it is still there.
fn open(roots: &[PathBuf], path: &Path) -> io::Result<Option<Dir>> {
    let root = root_of(roots, path)?;
    let relative = path.strip_prefix(root).map_err(io::Error::other)?;
    let opened = Dir::open_ambient_dir(root, ambient_authority()).and_then(|it| {
        if relative.as_os_str().is_empty() { Ok(it) } else { it.open_dir(relative) }
    });
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Removes the trace files in `folder`, and the links beside it that lead to them.
fn empty(dir: &Dir, folder: &Path) -> io::Result<usize> {
    let child = open_child(dir, folder)?;
    let mut n_removed = 0;
    for entry in child.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        if !entry.file_type()?.is_file() || !name.to_str().is_some_and(is_ours) {
            continue;
        }
        let name = Path::new(&name);
        remove_file(&child, name, &mut n_removed)?;
        let is_link = dir.symlink_metadata(name).is_ok_and(|it| it.is_symlink());
        if is_link && dir.read_link_contents(name)? == folder.join(name) {
            remove_file(dir, name, &mut n_removed)?;
        }
    }
    Ok(n_removed)
}

/// Whether a file of a dispatch's folder may have been written by this program.
fn is_ours(name: &str) -> bool {
    name == "tasks.jsonl"
        || is_temporary(name)
        || name.strip_suffix(".json").is_some_and(TaskId::is_valid)
}

/// Removes a file or a link; one that somebody else removed first is no error.
fn remove_file(dir: &Dir, name: &Path, n_removed: &mut usize) -> io::Result<()> {
    match dir.remove_file(name) {
        Ok(()) => *n_removed += 1,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

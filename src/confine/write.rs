//! Writing beneath workspaces: whole files or nothing, with modes that are said.

use std::{
    ffi::OsStr,
    io::{self, Write as _},
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use cap_std::fs::{Dir, DirBuilder, OpenOptions};

use super::{ConfineError, Workspaces, workspaces::Privacy};

/// How many names are tried for a temporary file; leftovers of a killed process take some.
const TEMPORARY_TRIES_MAX: u32 = 1_000;

/// Tells the temporary files of one process apart.
static TEMPORARY_SEQ: AtomicU64 = AtomicU64::new(0);

impl Workspaces {
    /// Writes a file as a whole or not at all, and makes the directories that are missing.
    ///
    /// A link in its place is replaced, not followed. Modes are 0644 and 0755 less the umask.
    pub fn write_atomically(
        &self,
        path: impl AsRef<Path>,
        bytes: &[u8],
    ) -> Result<(), ConfineError> {
        self.write(path.as_ref(), bytes, Privacy::Umask)
    }

    /// Like [`Self::write_atomically`], with modes 0600 and 0700 whatever the umask.
    pub fn write_private_atomically(
        &self,
        path: impl AsRef<Path>,
        bytes: &[u8],
    ) -> Result<(), ConfineError> {
        self.write(path.as_ref(), bytes, Privacy::Owner)
    }

    /// Makes a directory, and what is missing above it, with mode 0700 whatever the umask.
    ///
    /// A directory that is there keeps its mode.
    pub fn create_private_dir(&self, path: impl AsRef<Path>) -> Result<(), ConfineError> {
        let path = path.as_ref();
        let place = self.place(path)?;
        let root = place.make_root(path, Privacy::Owner)?;
        make_dirs(root, &place.relative, Privacy::Owner)
            .map(|_| ())
            .map_err(|error| ConfineError::io(path, error))
    }

    /// Puts a symbolic link to `target`, a relative path that goes down only, in place of whatever
    /// file or link stood at `path`.
    pub fn replace_link(
        &self,
        path: impl AsRef<Path>,
        target: impl AsRef<Path>,
    ) -> Result<(), ConfineError> {
        let (path, target) = (path.as_ref(), target.as_ref());
        let goes_down = target.components().all(|it| matches!(it, Component::Normal(_)));
        if !goes_down || target.as_os_str().is_empty() {
            return Err(ConfineError::not_allowed(target));
        }
        let (dir, name) = self.open_parent(path, Privacy::Owner)?;
        replace_with(&dir, &name, |temporary| dir.symlink(target, temporary))
            .map_err(|error| ConfineError::io(path, error))
    }

    fn write(&self, path: &Path, bytes: &[u8], privacy: Privacy) -> Result<(), ConfineError> {
        let (dir, name) = self.open_parent(path, privacy)?;
        replace_with(&dir, &name, |temporary| privacy.write_new(&dir, temporary, bytes))
            .map_err(|error| ConfineError::io(path, error))
    }

    /// Opens the directory that `path` stands in, made where it is missing, and names the file.
    fn open_parent(&self, path: &Path, privacy: Privacy) -> Result<(Dir, PathBuf), ConfineError> {
        let place = self.place(path)?;
        let Some(name) = place.relative.file_name().map(PathBuf::from) else {
            return Err(ConfineError::not_a_file(path));
        };
        let root = place.make_root(path, privacy)?;
        let parent = place.relative.parent().unwrap_or_else(|| Path::new(""));
        let dir = make_dirs(root, parent, privacy).map_err(|it| ConfineError::io(path, it))?;
        Ok((dir, name))
    }
}

impl Privacy {
    /// Makes a root where it is missing; the way to it is the owner's, so links are followed.
    pub(super) fn make_root(self, root: &Path) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        if self == Self::Owner {
            use std::os::unix::fs::DirBuilderExt as _;
            builder.mode(0o700);
        }
        builder.create(root)
    }

    /// Makes one directory in `parent` unless it is there.
    fn make_dir(self, parent: &Dir, name: &OsStr) -> io::Result<()> {
        match parent.create_dir_with(name, &self.dir_builder()) {
            Ok(()) if self == Self::Owner => make_private(parent, name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    fn dir_builder(self) -> DirBuilder {
        #[cfg_attr(not(unix), expect(unused_mut, reason = "other systems have no modes"))]
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        {
            use cap_std::fs::DirBuilderExt as _;
            builder.mode(if self == Self::Owner { 0o700 } else { 0o755 });
        }
        builder
    }

    /// Writes a file that must not be there yet, down to the disk.
    fn write_new(self, dir: &Dir, name: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use cap_std::fs::OpenOptionsExt as _;
            options.mode(if self == Self::Owner { 0o600 } else { 0o644 });
        }
        let mut file = dir.open_with(name, &options)?.into_std();
        #[cfg(unix)]
        if self == Self::Owner {
            use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        file.write_all(bytes)?;
        file.sync_all()
    }
}

/// Opens the directory `relative` beneath `dir`, and makes what is missing on the way.
fn make_dirs(mut dir: Dir, relative: &Path, privacy: Privacy) -> io::Result<Dir> {
    let mut done = PathBuf::new();
    let root = dir.try_clone()?;
    for name in relative {
        privacy.make_dir(&dir, name)?;
        done.push(name);
        // Opened from the root, so that a link between two directories of the workspace works.
        dir = root.open_dir(&done)?;
    }
    Ok(dir)
}

/// Gives the owner back what the umask took.
#[cfg(unix)]
fn make_private(parent: &Dir, name: &OsStr) -> io::Result<()> {
    use cap_std::fs::{Permissions, PermissionsExt as _};
    parent.set_permissions(name, Permissions::from_mode(0o700))
}

/// Other systems have no modes; a directory takes its parent's rights.
#[cfg(not(unix))]
fn make_private(_: &Dir, _: &OsStr) -> io::Result<()> {
    Ok(())
}

/// Makes something under a temporary name in `dir`, and puts it in the place of `name` at once.
fn replace_with(dir: &Dir, name: &Path, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let temporary = make_temporary(make)
        .inspect_err(|(temporary, error)| {
            if error.kind() != io::ErrorKind::AlreadyExists {
                remove(dir, temporary);
            }
        })
        .map_err(|(_, error)| error)?;
    dir.rename(&temporary, dir, name).inspect_err(|_| remove(dir, &temporary))?;
    sync(dir)
}

/// Tries names until `make` finds one that is free.
fn make_temporary(make: impl Fn(&Path) -> io::Result<()>) -> Result<PathBuf, (PathBuf, io::Error)> {
    let mut n_tries = 0;
    loop {
        let seq = TEMPORARY_SEQ.fetch_add(1, Ordering::Relaxed);
        let name = PathBuf::from(format!(".parallel-dispatch-{}-{seq}.tmp", std::process::id()));
        n_tries += 1;
        match make(&name) {
            Ok(()) => return Ok(name),
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && n_tries < TEMPORARY_TRIES_MAX => {}
            Err(error) => return Err((name, error)),
        }
    }
}

/// Removes a temporary file after a failure, whose error counts; a leftover does no harm.
fn remove(dir: &Dir, name: &Path) {
    let removed = dir.remove_file(name);
    drop(removed);
}

/// Makes a rename durable.
#[cfg(unix)]
fn sync(dir: &Dir) -> io::Result<()> {
    dir.open(".")?.sync_all()
}

/// Other systems cannot sync a directory.
#[cfg(not(unix))]
fn sync(_: &Dir) -> io::Result<()> {
    Ok(())
}

//! Private files in one directory beneath a root; nothing here follows a link out of it.
//!
//! No file is synced: after power loss some may be missing, and the store, which `read_trace`
//! answers from, has all that they said.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _},
    path::{Component, Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use cap_std::{
    ambient_authority,
    fs::{Dir, DirBuilder, DirBuilderExt as _, Permissions, PermissionsExt as _},
};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::ports::Failpoint;

/// How many names are tried for a temporary file; leftovers of a killed process take some.
const TEMPORARY_TRIES_MAX: u32 = 1_000;

const TEMPORARY_PREFIX: &str = ".parallel-dispatch-trace-";

/// Tells the temporary files of one process apart.
static TEMPORARY_SEQ: AtomicU64 = AtomicU64::new(0);

/// An open directory, which stays the same one whatever happens to its path.
#[derive(Debug)]
pub(super) struct PrivateDir(Dir);

impl PrivateDir {
    /// Opens `path`, which must stand beneath one of `roots`, and makes what is missing.
    pub(super) fn open(roots: &[PathBuf], path: &Path) -> io::Result<Self> {
        let root = root_of(roots, path)?;
        let relative = path.strip_prefix(root).map_err(io::Error::other)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let root = Dir::open_ambient_dir(root, ambient_authority())?;
        let mut done = PathBuf::new();
        for name in relative {
            done.push(name);
            make_dir(&root, &done)?;
        }
        if relative.as_os_str().is_empty() {
            Ok(Self(root))
        } else {
            root.open_dir(&done).map(Self)
        }
    }

    /// Opens the directory `name`, made where it is missing; a link in its place is not followed.
    pub(super) fn child(&self, name: &str) -> io::Result<Self> {
        let name = plain(name)?;
        let is_new = match rustix::fs::mkdirat(&self.0, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let dir = open_child(&self.0, name)?;
        if is_new {
            // The umask may have taken something away.
            rustix::fs::fchmod(&dir, Mode::RWXU)?;
        }
        Ok(Self(dir))
    }

    /// Writes a whole file in place of whatever file or link has this name.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        self.replace(plain(name)?, |temporary| {
            let file = rustix::fs::openat(&self.0, temporary, flags, mode)?;
            rustix::fs::fchmod(&file, mode)?;
            fs::File::from(file).write_all(bytes)
        })
    }

    /// Makes a link to `target`; a link that stands there is replaced if `is_ours` says so of what
    /// it leads to, and nothing else is.
    pub(super) fn link(
        &self,
        name: &str,
        target: &Path,
        is_ours: impl Fn(&Path) -> bool,
    ) -> io::Result<()> {
        let name = plain(name)?;
        let is_in_the_way = match rustix::fs::readlinkat(&self.0, name, Vec::new()) {
            Ok(old) => !is_ours(Path::new(OsStr::from_bytes(old.as_bytes()))),
            Err(Errno::NOENT) => false,
            Err(Errno::INVAL) => true,
            Err(error) => return Err(error.into()),
        };
        if is_in_the_way {
            return Err(io::Error::other("something that is not a trace is in the way"));
        }
        self.replace(name, |temporary| {
            rustix::fs::symlinkat(target, &self.0, temporary).map_err(io::Error::from)
        })
    }

    /// Makes something under a temporary name, and gives it its own at once.
    fn replace(&self, name: &Path, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
        let mut n_tries = 0;
        loop {
            let temporary = temporary_name();
            n_tries += 1;
            let made = make(&temporary);
            let is_name_taken =
                made.as_ref().is_err_and(|it| it.kind() == io::ErrorKind::AlreadyExists);
            if is_name_taken && n_tries < TEMPORARY_TRIES_MAX {
                continue;
            }
            Failpoint::TraceUnnamed.reach();
            let renamed = |()| rustix::fs::renameat(&self.0, &temporary, &self.0, name);
            let done = made.and_then(|it| renamed(it).map_err(io::Error::from));
            if done.is_err() && !is_name_taken {
                // The first error counts; a leftover does no harm.
                self.0.remove_file(&temporary).ok();
            }
            return done;
        }
    }
}

fn temporary_name() -> PathBuf {
    static PROCESS: LazyLock<u32> = LazyLock::new(std::process::id);
    let seq = TEMPORARY_SEQ.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!("{TEMPORARY_PREFIX}{}-{seq}.tmp", *PROCESS))
}

/// Whether a name is one that temporary files have.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX)
}

/// Opens a directory by its name; a link in its place is not followed.
pub(super) fn open_child(dir: &Dir, name: &Path) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, name, flags, Mode::empty());
    let child = opened.map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => io::Error::other("a file or a symbolic link is in the way"),
        error => error.into(),
    })?;
    Ok(Dir::from_std_file(child.into()))
}

/// The innermost root that `path` stands beneath, compared component by component.
pub(super) fn root_of<'r>(roots: &'r [PathBuf], path: &Path) -> io::Result<&'r Path> {
    let has_parent = path.components().any(|it| it == Component::ParentDir);
    let beneath = roots.iter().filter(|root| !has_parent && path.starts_with(root));
    let innermost = beneath.max_by_key(|it| it.components().count());
    innermost.map(PathBuf::as_path).ok_or_else(|| {
        io::Error::new(io::ErrorKind::PermissionDenied, "it is outside of every trace root")
    })
}

/// Makes one directory unless it is there; one that is there keeps its mode.
fn make_dir(dir: &Dir, name: &Path) -> io::Result<()> {
    let mut options = DirBuilder::new();
    options.mode(0o700);
    match dir.create_dir_with(name, &options) {
        Ok(()) => dir.set_permissions(name, Permissions::from_mode(0o700)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// A name that is one component of a path; names come from documents.
fn plain(name: &str) -> io::Result<&Path> {
    let path = Path::new(name);
    let mut components = path.components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == OsStr::new(name) => Ok(path),
        _ => Err(io::Error::from(io::ErrorKind::InvalidFilename)),
    }
}

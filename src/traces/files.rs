//! Private files in one directory beneath a root; nothing here follows a link out of it.
//!
//! No file is synced: after power loss the traces are written anew from the store.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use cap_std::{
    ambient_authority,
    fs::{
        Dir, DirBuilder, DirBuilderExt as _, MetadataExt as _, OpenOptions, OpenOptionsExt as _,
        Permissions, PermissionsExt as _,
    },
};

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
        make_dir(&self.0, name)?;
        open_child(&self.0, name).map(Self)
    }

    /// Writes a whole file in place of whatever file or link has this name.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.replace(plain(name)?, |temporary| {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let file = self.0.open_with(temporary, &options)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            let mut file = file.into_std();
            file.write_all(bytes)
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
        match self.0.symlink_metadata(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(it) if it.is_symlink() && is_ours(&self.0.read_link_contents(name)?) => {}
            Ok(_) => return Err(io::Error::other("something that is not a trace is in the way")),
        }
        self.replace(name, |temporary| self.0.symlink(target, temporary))
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
            let done = made.and_then(|()| self.0.rename(&temporary, &self.0, name));
            if done.is_err() && !is_name_taken {
                // The first error counts; a leftover does no harm.
                self.0.remove_file(&temporary).ok();
            }
            return done;
        }
    }
}

fn temporary_name() -> PathBuf {
    let seq = TEMPORARY_SEQ.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!("{TEMPORARY_PREFIX}{}-{seq}.tmp", std::process::id()))
}

/// Whether a name is one that temporary files have.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX)
}

/// Opens a directory by its name; a link in its place is not followed.
pub(super) fn open_child(dir: &Dir, name: &Path) -> io::Result<Dir> {
    let named = dir.symlink_metadata(name)?;
    if named.is_symlink() {
        return Err(io::Error::other("a symbolic link is in the way"));
    }
    let child = dir.open_dir(name)?;
    let opened = child.dir_metadata()?;
    // Whoever exchanges the directory for a link between the two looks gets nothing.
    if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) {
        return Err(io::Error::other("the directory was exchanged for another one"));
    }
    Ok(child)
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

//! The workspaces, and the way from an absolute path to a place beneath one.

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use cap_std::{ambient_authority, fs::Dir};

use super::ConfineError;

/// The directories that strangers' paths may name; cheap to clone.
///
/// Roots are trusted: they come from settings, never from a document.
#[derive(Clone, Debug)]
pub struct Workspaces {
    roots: Arc<[Root]>,
}

/// One workspace.
///
/// Invariant: both paths are absolute; they differ where the way to the root has a link.
#[derive(Debug)]
struct Root {
    given: PathBuf,
    canonical: PathBuf,
}

/// A checked path: what stands beneath which root.
pub(super) struct Place<'w> {
    root: &'w Path,
    /// Plain components only; empty for the root itself.
    pub(super) relative: PathBuf,
}

impl Workspaces {
    /// Takes the roots, which must be absolute; one that does not exist yet may come later.
    pub fn new(roots: impl IntoIterator<Item = PathBuf>) -> Result<Self, ConfineError> {
        let roots = roots.into_iter().map(Root::new).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { roots: roots.into() })
    }

    /// Checks a path by its text alone: absolute, without `..` and control characters, and
    /// beneath a root component by component.
    pub fn allows(&self, path: &str) -> Result<(), ConfineError> {
        self.place(Path::new(path)).map(|_| ())
    }

    /// The roots as they are on disk, in the order given.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().map(|it| it.canonical.as_path())
    }

    /// The root, as it is on disk, that `path` stands beneath.
    pub fn root_of(&self, path: impl AsRef<Path>) -> Result<&Path, ConfineError> {
        self.place(path.as_ref()).map(|it| it.root)
    }

    /// Where `path` is on disk, with every link followed; refuses what leads out.
    pub fn canonicalize(&self, path: impl AsRef<Path>) -> Result<PathBuf, ConfineError> {
        let path = path.as_ref();
        let place = self.place(path)?;
        if place.relative.as_os_str().is_empty() {
            return Ok(place.root.to_owned());
        }
        let beneath = place.open_root(path)?.canonicalize(&place.relative);
        Ok(place.root.join(beneath.map_err(|error| ConfineError::io(path, error))?))
    }

    /// Finds the longest root that `path` stands beneath.
    pub(super) fn place(&self, path: &Path) -> Result<Place<'_>, ConfineError> {
        if !path.is_absolute() {
            return Err(ConfineError::not_absolute(path));
        }
        let has_parent = path.components().any(|it| it == Component::ParentDir);
        if has_parent || path.to_string_lossy().chars().any(char::is_control) {
            return Err(ConfineError::not_allowed(path));
        }
        let places = self.roots.iter().filter_map(|it| it.place(path));
        places
            .min_by_key(|it| it.relative.components().count())
            .ok_or_else(|| ConfineError::not_allowed(path))
    }
}

impl Root {
    fn new(given: PathBuf) -> Result<Self, ConfineError> {
        let has_parent = given.components().any(|it| it == Component::ParentDir);
        if !given.is_absolute() || has_parent {
            return Err(ConfineError::not_absolute(&given));
        }
        let canonical = given.canonicalize().unwrap_or_else(|_| given.clone());
        Ok(Self { given, canonical })
    }

    fn place(&self, path: &Path) -> Option<Place<'_>> {
        let beneath =
            path.strip_prefix(&self.canonical).or_else(|_| path.strip_prefix(&self.given));
        let plain = |it: &Component<'_>| matches!(it, Component::Normal(_));
        let relative: PathBuf = beneath.ok()?.components().filter(plain).collect();
        Some(Place { root: &self.canonical, relative })
    }
}

impl Place<'_> {
    /// Opens the root; opened anew each time, because a root may be removed and made again.
    pub(super) fn open_root(&self, path: &Path) -> Result<Dir, ConfineError> {
        Dir::open_ambient_dir(self.root, ambient_authority())
            .map_err(|error| ConfineError::io(path, error))
    }

    /// Makes the root where it is missing, for its owner's eyes only or for all, and opens it.
    pub(super) fn make_root(&self, path: &Path, privacy: Privacy) -> Result<Dir, ConfineError> {
        privacy.make_root(self.root).map_err(|error| ConfineError::io(path, error))?;
        self.open_root(path)
    }
}

/// Who may see what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Privacy {
    /// 0600 and 0700, whatever the umask.
    Owner,
    /// 0644 and 0755, less the umask.
    Umask,
}

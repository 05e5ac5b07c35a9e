//! Which processes live: each holds a lock on a file of its own, and the system lets go of it when
//! the process dies, however it dies.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::ports::{OwnerId, Ownership, StoreError};

/// Lock files in one directory, `<uuid>.lock` for each process.
#[derive(Debug)]
pub struct LockFileOwners {
    dir: PathBuf,
    me: OwnerId,
    /// Held as long as this process lives.
    _lock: File,
}

impl LockFileOwners {
    /// Takes a new name in `dir`, and clears away the files of processes that are gone.
    pub fn join(dir: &Path) -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| StoreError::Unavailable {
            action: "open",
            reason: format!("{}: {error}", dir.display()),
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        clear_away(dir);
        let me = OwnerId(Uuid::now_v7());
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        // Locked before it has its name, so that nobody ever sees it free while we live.
        let unnamed = path_of(dir, me).with_extension("new");
        let lock = options.open(&unnamed).map_err(failed)?;
        lock.try_lock().map_err(|error| failed(error.into()))?;
        fs::rename(&unnamed, path_of(dir, me)).map_err(failed)?;
        Ok(Self { dir: dir.to_owned(), me, _lock: lock })
    }
}

impl Ownership for LockFileOwners {
    fn me(&self) -> OwnerId {
        self.me
    }

    fn is_alive(&self, owner: OwnerId) -> bool {
        owner == self.me || is_locked(&path_of(&self.dir, owner))
    }
}

impl Drop for LockFileOwners {
    fn drop(&mut self) {
        // The lock goes with the process in any case; the file is only litter.
        let _left = fs::remove_file(path_of(&self.dir, self.me));
    }
}

fn path_of(dir: &Path, owner: OwnerId) -> PathBuf {
    dir.join(format!("{}.lock", owner.0))
}

/// Whether another process holds the file; one that cannot be looked at counts as held, because
/// taking over a live dispatch is worse than leaving a dead one.
fn is_locked(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => !matches!(file.try_lock_shared(), Ok(())),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

fn clear_away(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|it| it.path()) {
        let is_ours = path.extension().is_some_and(|it| it == "lock");
        if is_ours && !is_locked(&path) {
            let _gone = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_lives_as_long_as_it_holds_its_lock() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (LockFileOwners::join(dir.path()), LockFileOwners::join(dir.path()));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(one.is_alive(two.me()) && two.is_alive(one.me()) && one.is_alive(one.me()));
        let gone = two.me();
        drop(two);
        assert!(!one.is_alive(gone));
        assert!(!one.is_alive(OwnerId(Uuid::nil())));
    }

    fn exist<const N: usize>(paths: [&Path; N]) -> [bool; N] {
        paths.map(Path::exists)
    }

    #[test]
    fn an_owner_that_leaves_takes_its_file_along() {
        let dir = tempfile::tempdir().unwrap();
        let owner = LockFileOwners::join(dir.path()).unwrap();
        let file = path_of(dir.path(), owner.me());
        assert_eq!(exist([&file]), [true]);
        drop(owner);
        assert_eq!(exist([&file]), [false]);
    }

    #[test]
    fn the_files_of_the_dead_are_cleared_away_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let living = LockFileOwners::join(dir.path()).unwrap();
        let (dead, theirs) = (path_of(dir.path(), OwnerId(Uuid::nil())), dir.path().join("theirs"));
        for path in [&dead, &theirs] {
            fs::write(path, "").unwrap();
        }
        let _newcomer = LockFileOwners::join(dir.path()).unwrap();
        let live = path_of(dir.path(), living.me());
        assert_eq!(exist([&dead, &theirs, &live]), [false, true, true]);
    }
}

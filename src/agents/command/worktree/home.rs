//! Where this process keeps its worktrees, and what becomes of those of processes that died.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Held while a process comes or clears up, so that nobody is taken for dead who is just coming.
const ENTRANCE: &str = "entrance.lock";

/// The directory of this process; its lock is free as soon as the process is gone.
#[derive(Debug)]
pub(in super::super) struct Home {
    dir: PathBuf,
    _lock: File,
    /// Worktrees are put on git's list one after the other.
    one: Semaphore,
    tasks: TaskTracker,
}

impl Home {
    /// Makes a directory below `all`, and removes those of processes that are gone.
    pub(in super::super) fn open(all: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(all)?;
        let entrance = lock_file(&all.join(ENTRANCE))?;
        entrance.lock()?;
        clear_away(all)?;
        let name = Uuid::new_v4().to_string();
        let lock = lock_file(&all.join(format!("{name}.lock")))?;
        lock.lock()?;
        let dir = all.join(name);
        DirBuilder::new().mode(0o700).create(&dir)?;
        // Git answers with this form of a path.
        let dir = dir.canonicalize()?;
        Ok(Self { dir, _lock: lock, one: Semaphore::new(1), tasks: TaskTracker::new() })
    }

    /// Where worktrees of this process go.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Who clears up in the background.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Waits until nobody else is changing git's list of worktrees. The semaphore is never closed,
    /// so there is always a permit in the end.
    pub(super) async fn alone(&self) -> Option<SemaphorePermit<'_>> {
        self.one.acquire().await.ok()
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Removes what those have left whose locks are free.
fn clear_away(all: &Path) -> io::Result<()> {
    for entry in fs::read_dir(all)? {
        let path = entry?.path();
        let is_lock = path.extension().is_some_and(|it| it == "lock") && !path.ends_with(ENTRANCE);
        if is_lock && lock_file(&path).is_ok_and(|it| it.try_lock().is_ok()) {
            let dir = path.with_extension("");
            if !dir.exists() || fs::remove_dir_all(&dir).is_ok() {
                fs::remove_file(&path)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_have_left_is_removed_and_nothing_else() {
        let state = tempfile::tempdir().unwrap();
        let all = state.path().join("worktrees");
        let dead = Home::open(&all).unwrap();
        let left = dead.dir().join("left");
        fs::write(&left, "").unwrap();
        let living = Home::open(&all).unwrap();
        assert!(left.exists());
        drop(dead);
        let _newcomer = Home::open(&all).unwrap();
        assert!(!left.exists());
        assert!(living.dir().exists());
        let n_locks = fs::read_dir(&all).unwrap().flatten().count();
        assert_eq!(n_locks, 5, "the entrance, and a lock and a directory for each of two");
    }
}

//! The files of the store: private to the user under any umask, and on a disk of this machine.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::trouble::unopened;
use crate::{model::text, ports::StoreError};

/// Makes the directory and the empty file of a store, and closes both to other users.
///
/// Returns the file's path without symbolic links, and a lock that serialises the opening of one
/// store by several processes as long as it is held.
pub(super) fn prepare(path: &Path) -> Result<(PathBuf, File), StoreError> {
    let path = prepare_dir(path).map_err(|error| unopened(path, &error))?;
    // Without /proc there is nothing to ask, and SQLite's own checks must do.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    refuse_network(&mounts, &path)?;
    let lock = lock(&path.with_extension("lock")).map_err(|error| unopened(&path, &error))?;
    prepare_files(&path).map_err(|error| unopened(&path, &error))?;
    Ok((path, lock))
}

fn prepare_dir(path: &Path) -> io::Result<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidFilename));
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let dir = dir.canonicalize()?;
    let path = dir.join(name);
    // A directory that others use as well, /tmp say, is theirs; the files are private anyway.
    if path.symlink_metadata().is_ok() || dir.read_dir()?.next().is_none() {
        fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
    }
    Ok(path)
}

fn lock(path: &Path) -> io::Result<File> {
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    lock.set_permissions(Permissions::from_mode(0o600))?;
    lock.lock()?;
    Ok(lock)
}

/// The file is only ever made, never opened, here: closing a descriptor of it would drop the locks
/// that `SQLite` holds on it elsewhere in this process (POSIX, `fcntl`).
fn prepare_files(path: &Path) -> io::Result<()> {
    // The lock keeps other processes from making it in between.
    if path.symlink_metadata().is_err() {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)?;
    }
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    make_private(path)?;
    for file in [beside("-wal"), beside("-shm")] {
        if file.symlink_metadata().is_ok() {
            make_private(&file)?;
        }
    }
    Ok(())
}

fn make_private(path: &Path) -> io::Result<()> {
    if !path.symlink_metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    fs::set_permissions(path, Permissions::from_mode(0o600))
}

/// WAL needs memory shared by all readers and writers, which no network file system gives.
fn refuse_network(mounts: &str, path: &Path) -> Result<(), StoreError> {
    let Some(kind) = kind_of_mount(mounts, path) else { return Ok(()) };
    if !NETWORK_KINDS.contains(&kind) {
        return Ok(());
    }
    let reason = format!("{} is on a network file system ({kind})", path.display());
    Err(StoreError::Unavailable { action: "open", reason: text::escape(&reason) })
}

const NETWORK_KINDS: [&str; 10] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "ncpfs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.rclone",
];

/// The file system under `path`, from the text of `mountinfo` (proc(5)); the last mount counts.
fn kind_of_mount<'m>(mounts: &'m str, path: &Path) -> Option<&'m str> {
    let read = |line: &'m str| {
        let (mount, source) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        path.starts_with(point).then_some((point.len(), source.split(' ').next()?))
    };
    mounts.lines().filter_map(read).max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "21 1 254:0 / / rw,discard shared:1 - ext4 /dev/vda rw\n\
                          30 21 0:40 / /home rw - nfs4 server:/home rw\n\
                          31 30 0:41 / /home/me/disk rw - xfs /dev/vdb rw\n";

    #[test]
    fn a_network_file_system_is_refused_and_named() {
        let refused = refuse_network(MOUNTS, Path::new("/home/me/store.db")).unwrap_err();
        let said = "/home/me/store.db is on a network file system (nfs4)";
        assert!(refused.to_string().ends_with(said), "{refused}");
        assert_eq!(refuse_network(MOUNTS, Path::new("/home/me/disk/store.db")), Ok(()));
        assert_eq!(refuse_network("", Path::new("/home/me/store.db")), Ok(()));
    }

    #[test]
    fn the_innermost_mount_names_the_file_system() {
        let kind = |path: &str| kind_of_mount(MOUNTS, Path::new(path));
        assert_eq!(kind("/home/me/store.db"), Some("nfs4"));
        assert_eq!(kind("/home/me/disk/store.db"), Some("xfs"));
        assert_eq!(kind("/homely/store.db"), Some("ext4"));
        assert_eq!(kind_of_mount("nonsense", Path::new("/")), None);
    }
}

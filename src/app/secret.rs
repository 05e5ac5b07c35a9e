//! The secret by which servers on one state directory know what they gave to clients.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;
use ring::rand::{SecureRandom as _, SystemRandom};
use uuid::Uuid;

use crate::mcp::Seal;

/// Its file in the state directory.
const NAME: &str = "request-state.key";

/// Reads the secret of a state directory, which is there; the first one to ask makes it.
pub(super) fn seal(state_dir: &Path) -> anyhow::Result<Seal> {
    let path = state_dir.join(NAME);
    if let Some(secret) = read(&path)? {
        return Ok(Seal::new(&secret));
    }
    make(&path).with_context(|| format!("failed to write {}", path.display()))?;
    let secret = read(&path)?.with_context(|| format!("{} is gone", path.display()))?;
    Ok(Seal::new(&secret))
}

fn read(path: &Path) -> anyhow::Result<Option<[u8; Seal::SECRET_BYTES]>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.with_context(|| format!("failed to read {}", path.display()))?,
    };
    let secret = bytes.try_into().map_err(|it: Vec<u8>| {
        let (path, n_bytes) = (path.display(), it.len());
        anyhow::anyhow!("{path} has {n_bytes} bytes instead of 32: remove it, and start again")
    })?;
    Ok(Some(secret))
}

fn make(path: &Path) -> anyhow::Result<()> {
    let mut secret = [0; Seal::SECRET_BYTES];
    let filled = SystemRandom::new().fill(&mut secret);
    filled.map_err(|_| anyhow::anyhow!("the system has no random bytes"))?;
    let unnamed = path.with_extension(format!("{}.new", Uuid::now_v7()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unnamed)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    // Of several that start at once the first one's counts: a link replaces nothing.
    let named = match fs::hard_link(&unnamed, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // Not every file system has links.
        Err(_) => return Ok(fs::rename(&unnamed, path)?),
        Ok(()) => Ok(()),
    };
    fs::remove_file(&unnamed)?;
    named
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn all_who_start_at_once_have_the_one_secret_of_their_directory() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| seal(dir.path()).unwrap());
            }
        });
        let secret = |dir: &Path| {
            seal(dir).unwrap();
            read(&dir.join(NAME)).unwrap().unwrap()
        };
        let first = secret(dir.path());
        assert_eq!(first, secret(dir.path()));
        assert_ne!(first, secret(other.path()));
        let mode = fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), "short").unwrap();
        let error = seal(dir.path()).unwrap_err().to_string();
        assert!(error.contains("5 bytes instead of 32"), "{error}");
        assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), b"short");
    }
}

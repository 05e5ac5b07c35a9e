//! Reading beneath workspaces: regular files up to a size, and lists of names.

use std::{
    io::{ErrorKind, Read as _},
    path::Path,
};

use cap_std::fs::{Dir, File, Metadata, OpenOptions};

use super::{ConfineError, Workspaces};

/// How much of a file is handed on at once.
const PIECE_BYTES: usize = 64 << 10;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// What is there.
    pub kind: EntryKind,
}

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, not followed.
    Link,
    /// A pipe, a socket, a device.
    Other,
}

impl Workspaces {
    /// Reads a regular file of at most `bytes_max` bytes.
    ///
    /// Pipes, sockets and devices are refused without waiting for anyone at their other end.
    pub fn read(&self, path: impl AsRef<Path>, bytes_max: u64) -> Result<Vec<u8>, ConfineError> {
        let path = path.as_ref();
        let file = self.open(path)?;
        let mut bytes = Vec::new();
        // One byte more than allowed tells a longer file from one that just fits.
        file.take(bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| ConfineError::io(path, error))?;
        if bytes.len() as u64 > bytes_max {
            return Err(ConfineError::too_large(path, bytes_max));
        }
        Ok(bytes)
    }

    /// Hands a regular file of at most `bytes_max` bytes on, piece by piece, and answers how many
    /// bytes it has.
    pub fn feed(
        &self,
        path: impl AsRef<Path>,
        bytes_max: u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<u64, ConfineError> {
        let path = path.as_ref();
        let mut file = self.open(path)?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut n_bytes: u64 = 0;
        loop {
            let n_read = match file.read(&mut piece) {
                Ok(0) => return Ok(n_bytes),
                Ok(n_read) => n_read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(ConfineError::io(path, error)),
            };
            n_bytes += n_read as u64;
            if n_bytes > bytes_max {
                return Err(ConfineError::too_large(path, bytes_max));
            }
            take(&piece[..n_read]);
        }
    }

    /// Like [`Self::read`], as text; what is not UTF-8 becomes U+FFFD.
    pub fn read_text(
        &self,
        path: impl AsRef<Path>,
        bytes_max: u64,
    ) -> Result<String, ConfineError> {
        let bytes = self.read(path, bytes_max)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Whether a regular file is there that may be read.
    pub fn is_file(&self, path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        self.metadata(path).is_ok_and(|(_, it)| it.is_file())
    }

    /// The names in a directory, sorted, at most `entries_max` of them.
    ///
    /// Reads the whole directory, so that the names kept are the first ones.
    pub fn list(
        &self,
        path: impl AsRef<Path>,
        entries_max: usize,
    ) -> Result<Vec<Entry>, ConfineError> {
        let path = path.as_ref();
        let place = self.place(path)?;
        let root = place.open_root(path)?;
        let read = |dir: &Dir| dir.entries()?.map(|it| Entry::read(&it?)).collect();
        let entries = if place.relative.as_os_str().is_empty() {
            read(&root)
        } else {
            root.open_dir(&place.relative).and_then(|it| read(&it))
        };
        let mut entries: Vec<Entry> = entries.map_err(|error| ConfineError::io(path, error))?;
        entries.sort_unstable();
        entries.truncate(entries_max);
        Ok(entries)
    }

    fn open(&self, path: &Path) -> Result<File, ConfineError> {
        // Opening a device can have effects, so it is looked at first; what was opened is looked
        // at again, because it may have been exchanged in between.
        let (root, seen) = self.metadata(path)?;
        if !seen.is_file() {
            return Err(ConfineError::not_a_file(path));
        }
        let file = root
            .open_with(&self.place(path)?.relative, &read_options())
            .map_err(|error| ConfineError::io(path, error))?;
        let opened = file.metadata().map_err(|error| ConfineError::io(path, error))?;
        if opened.is_file() { Ok(file) } else { Err(ConfineError::not_a_file(path)) }
    }

    fn metadata(&self, path: &Path) -> Result<(Dir, Metadata), ConfineError> {
        let place = self.place(path)?;
        let root = place.open_root(path)?;
        let metadata = if place.relative.as_os_str().is_empty() {
            root.dir_metadata()
        } else {
            root.metadata(&place.relative)
        };
        Ok((root, metadata.map_err(|error| ConfineError::io(path, error))?))
    }
}

impl Entry {
    fn read(entry: &cap_std::fs::DirEntry) -> std::io::Result<Self> {
        let kind = entry.file_type()?;
        let kind = if kind.is_file() {
            EntryKind::File
        } else if kind.is_dir() {
            EntryKind::Dir
        } else if kind.is_symlink() {
            EntryKind::Link
        } else {
            EntryKind::Other
        };
        Ok(Self { name: entry.file_name().to_string_lossy().into_owned(), kind })
    }
}

/// Options that do not wait: opening a named pipe would otherwise block until someone writes.
fn read_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt as _;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    options
}

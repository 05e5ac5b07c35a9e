//! Writers that escape what a stranger's text could do to a terminal or to the line it stands in.

use std::{
    fs::{self, File},
    io::{self, Write},
};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use crate::model::text;

/// Where entries go.
#[derive(Debug)]
pub(super) enum Destination {
    Stderr,
    /// Opened for appending, so each entry is one write and entries of several processes do not
    /// mix.
    File(File),
}

impl Destination {
    /// Whether it is a file that others than its owner may read.
    pub(super) fn is_open_to_others(&self) -> bool {
        #[cfg(unix)]
        if let Self::File(file) = self {
            use std::os::unix::fs::PermissionsExt as _;
            let is_open = |it: fs::Metadata| it.is_file() && it.permissions().mode() & 0o077 != 0;
            return file.metadata().is_ok_and(is_open);
        }
        false
    }
}

/// How an unsafe character is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// As `\u{202e}`.
    Text,
    /// As `\u202e`, which JSON reads back.
    Json,
}

/// Makes writers that escape entries on their way to the inner writer.
#[derive(Clone, Debug)]
pub(super) struct Escaped<W> {
    inner: W,
    escape: Escape,
}

/// Takes one entry a call, as the formatter hands them over.
#[derive(Debug)]
pub(super) struct EscapedWriter<W> {
    inner: W,
    escape: Escape,
}

impl<W> Escaped<W> {
    pub(super) fn new(inner: W, escape: Escape) -> Self {
        Self { inner, escape }
    }
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Escaped<W> {
    type Writer = EscapedWriter<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        EscapedWriter { inner: self.inner.make_writer(), escape: self.escape }
    }

    fn make_writer_for(&'w self, meta: &Metadata<'_>) -> Self::Writer {
        EscapedWriter { inner: self.inner.make_writer_for(meta), escape: self.escape }
    }
}

impl<W: Write> Write for EscapedWriter<W> {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let entry_text = String::from_utf8_lossy(entry);
        let (line, end) = match entry_text.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (entry_text.as_ref(), ""),
        };
        let mut safe = match self.escape {
            Escape::Text => text::escape(line),
            Escape::Json => text::escape_json(line),
        };
        safe.push_str(end);
        // A reader that went away must not end the work, so a failed write is not told.
        drop(self.inner.write_all(safe.as_bytes()));
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stderr => io::stderr().write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().flush(),
            Self::File(file) => file.flush(),
        }
    }
}

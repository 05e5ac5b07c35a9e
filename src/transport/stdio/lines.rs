//! Reads lines of a bounded length.

use std::{future, io};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::bytes::{Buf as _, BytesMut};

use crate::transport::{MESSAGE_BYTES_MAX, scan::Scan};

/// How much is read at once, in bytes: as much as a Linux pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// How much is read to find out whether there is more to come, in bytes.
const AHEAD_BYTES_MAX: usize = 256 * 1024;

/// A reader of lines; a call to [`Lines::next`] may be dropped and repeated without loss.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    /// What was read and not looked at.
    ahead: BytesMut,
    has_ended: bool,
    line: Vec<u8>,
    /// Watches the line since it became too long.
    oversized: Option<Scan>,
}

/// What was read.
#[derive(Debug)]
pub(super) enum Heard {
    /// A line without its end.
    Line(Vec<u8>),
    /// A line of more than [`MESSAGE_BYTES_MAX`], which is gone; `Scan` saw all of it.
    Oversized(Scan),
    /// There are no more lines.
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads from `reader`.
    pub(super) fn new(reader: R) -> Self {
        let ahead = BytesMut::new();
        Self { reader, ahead, has_ended: false, line: Vec::new(), oversized: None }
    }

    /// Waits until nothing more comes after what is there already. Never comes back while that is
    /// too much to keep.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        while !self.has_ended {
            if self.ahead.len() >= AHEAD_BYTES_MAX {
                future::pending::<()>().await;
            }
            self.read().await?;
        }
        Ok(())
    }

    async fn read(&mut self) -> io::Result<()> {
        self.ahead.reserve(READ_BYTES);
        self.has_ended = self.reader.read_buf(&mut self.ahead).await? == 0;
        Ok(())
    }

    /// Reads the next line; the last one needs no line feed.
    pub(super) async fn next(&mut self) -> io::Result<Heard> {
        loop {
            if self.ahead.is_empty() && !self.has_ended {
                self.read().await?;
            }
            if self.ahead.is_empty() {
                return Ok(self.end_line().unwrap_or(Heard::End));
            }
            let end = self.ahead.iter().position(|it| *it == b'\n');
            let piece = &self.ahead[..end.unwrap_or(self.ahead.len())];
            match &mut self.oversized {
                Some(scan) => scan.feed(piece),
                None if self.line.len() + piece.len() > MESSAGE_BYTES_MAX => {
                    let mut scan = Scan::default();
                    scan.feed(&std::mem::take(&mut self.line));
                    scan.feed(piece);
                    self.oversized = Some(scan);
                }
                None => self.line.extend_from_slice(piece),
            }
            let n_used = piece.len() + usize::from(end.is_some());
            self.ahead.advance(n_used);
            if end.is_some()
                && let Some(heard) = self.end_line()
            {
                return Ok(heard);
            }
        }
    }

    /// Hands out the line, unless it is blank.
    fn end_line(&mut self) -> Option<Heard> {
        if let Some(scan) = self.oversized.take() {
            return Some(Heard::Oversized(scan));
        }
        if self.line.trim_ascii().is_empty() {
            self.line.clear();
            return None;
        }
        Some(Heard::Line(std::mem::take(&mut self.line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(text: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(text);
        let mut heard = Vec::new();
        loop {
            match lines.next().await.unwrap() {
                Heard::Line(line) => heard.push(String::from_utf8(line).unwrap()),
                Heard::Oversized(scan) => heard.push(format!("{:?}", scan.finish())),
                Heard::End => return heard,
            }
        }
    }

    #[tokio::test]
    async fn blank_lines_are_skipped_and_the_last_needs_no_end() {
        assert_eq!(read_all(b"a\n\n \r\nb\r\nc").await, ["a", "b\r", "c"]);
        assert!(read_all(b"").await.is_empty());
    }

    #[tokio::test]
    async fn a_line_may_be_as_long_as_the_cap_and_no_longer() {
        let fits = "x".repeat(MESSAGE_BYTES_MAX);
        let over = format!(r#"{{"method": "{fits}", "id": 5}}"#);
        let heard = read_all(format!("{fits}\n{over}\nnext\n").as_bytes()).await;
        assert_eq!(heard[0].len(), MESSAGE_BYTES_MAX);
        assert_eq!(heard[1..], ["Request(Some(Number(5)))", "next"]);
    }
}

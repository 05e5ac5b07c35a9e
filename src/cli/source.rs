//! Reads documents from files and standard input, up to a limit.

use std::{
    fs::File,
    io::{self, Read},
};

use super::DocumentSource;
use crate::model::{ErrorCode, Refusal, text};

/// Reads the whole document; longer ones than `bytes_max` are refused.
pub(super) fn read(source: &DocumentSource, bytes_max: u64) -> Result<Vec<u8>, Refusal> {
    let text = match source {
        DocumentSource::Stdin => read_all(io::stdin().lock(), bytes_max),
        DocumentSource::File(path) => File::open(path).and_then(|it| read_all(it, bytes_max)),
    };
    let text = text.map_err(|error| {
        let name = match source {
            DocumentSource::Stdin => "standard input".to_owned(),
            DocumentSource::File(path) => text::escape(&path.display().to_string()),
        };
        let message = format!("failed to read {name}: {error}");
        Refusal::of(ErrorCode::ParseError, "", &message, "name a file that can be read, or -")
    })?;
    if text.len() as u64 > bytes_max {
        let message = format!("the document is longer than {bytes_max} bytes");
        let hint = "split it, or raise the limit in the settings";
        return Err(Refusal::of(ErrorCode::RequestTooLarge, "", &message, hint));
    }
    Ok(text)
}

fn read_all(reader: impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    reader.take(bytes_max + 1).read_to_end(&mut text)?;
    Ok(text)
}

//! What holds of every connection.

use std::time::Duration;

use tokio::{
    io::{self, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    time,
};
use tokio_util::sync::CancellationToken;

use super::{house, run};

/// How much is on its way at once, each way, in bytes.
const PIPE_BYTES: usize = 64 * 1024;
/// After how long without a byte the client hangs up.
const PATIENCE: Duration = Duration::from_millis(10);
/// How much it reads: a stream of events says that it lives again and again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Sends any bytes as one connection's, and hangs up.
///
/// # Panics
/// When a promise is broken: there is no end, an answer that is not HTTP, or a fault of the server.
#[doc(hidden)]
pub fn fuzz_http(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(PIPE_BYTES)];
    let answer = run(async {
        let (theirs, ours) = io::duplex(PIPE_BYTES);
        let (house, shutdown) = (house(), CancellationToken::new());
        let (reader, mut writer) = io::split(theirs);
        // Whoever hangs up drops both halves.
        let sent = async move {
            // A connection that was closed takes no more.
            let _closed = writer.write_all(bytes).await;
            let _closed = writer.shutdown().await;
        };
        let ((), (), answer) = tokio::join!(house.serve(ours, &shutdown), sent, listen(reader));
        answer
    });
    let text = String::from_utf8_lossy(&answer);
    let is_http = text.starts_with("HTTP/1.1 ") || text.starts_with("HTTP/1.0 ");
    assert!(text.is_empty() || is_http, "{text}");
    let status = text.get(9..12).unwrap_or_default();
    assert!(status != "500", "{text}");
}

/// What comes before the end, or before nothing comes: a stream of events need not end as long as
/// somebody may listen.
async fn listen(mut reader: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut answer = Vec::new();
    loop {
        match time::timeout(PATIENCE, reader.read_buf(&mut answer)).await {
            Ok(Ok(n_bytes)) if n_bytes > 0 && answer.len() < ANSWER_BYTES_MAX => {}
            _ => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::mutants;

    #[test]
    fn mutants_of_requests_keep_the_promises() {
        let seeds = [
            include_str!("../../../fuzz/seeds/http/initialize"),
            include_str!("../../../fuzz/seeds/http/discover"),
            include_str!("../../../fuzz/seeds/http/chunked"),
            include_str!("../../../fuzz/seeds/http/stream"),
            include_str!("../../../fuzz/seeds/http/two"),
        ];
        mutants(&seeds, 1_000, fuzz_http);
    }
}

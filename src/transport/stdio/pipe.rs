//! Turns lines into messages and messages into lines.

use std::{borrow::Cow, io, sync::Arc};

use futures::future::{BoxFuture, FutureExt as _};
use rmcp::{
    RoleServer,
    model::{ClientJsonRpcMessage, ProtocolVersion},
    service::TxJsonRpcMessage,
    transport::Transport,
};
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::Mutex,
    task::coop,
};
use tokio_util::sync::CancellationToken;

use super::lines::{Heard, Lines};
use crate::transport::{
    envelope::{self, Rejection, Unreadable},
    flow::{Places, Unread},
    lifecycle::{Lifecycle, Speaks, Verdict},
};

/// rmcp's view of the two streams.
pub(super) struct Pipe<R, W> {
    lines: Lines<R>,
    lifecycle: Lifecycle,
    /// Guards the writer for the length of one line: answers are sent concurrently, and lines must
    /// not mix.
    writer: Arc<Mutex<W>>,
    /// An answer given here rather than by rmcp. Kept until it is written, since rmcp drops the
    /// future of `receive` whenever it has something else to do.
    answer: Option<BoxFuture<'static, io::Result<()>>>,
    /// A message that waits for its place; kept for the same reason.
    waiting: Option<BoxFuture<'static, Result<ClientJsonRpcMessage, Rejection>>>,
    places: Places,
    unread: Unread,
    shutdown: CancellationToken,
}

impl<R, W> Pipe<R, W>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    /// Reads messages from `reader`, until `shutdown`, and writes them to `writer`. The end of the
    /// input is a shutdown, too.
    pub(super) fn new(
        reader: R,
        writer: W,
        versions: Cow<'static, [ProtocolVersion]>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            lines: Lines::new(reader),
            lifecycle: Lifecycle::new(Speaks::Both(versions)),
            writer: Arc::new(Mutex::new(writer)),
            answer: None,
            waiting: None,
            places: Places::default(),
            unread: Unread::default(),
            shutdown,
        }
    }

    async fn next(&mut self) -> io::Result<Option<ClientJsonRpcMessage>> {
        loop {
            if let Some(answer) = &mut self.answer {
                answer.await?;
                self.answer = None;
            }
            if let Some(waiting) = &mut self.waiting {
                let admitted = waiting.await;
                self.waiting = None;
                match admitted {
                    Ok(message) => return Ok(Some(message)),
                    Err(rejection) => self.answer = Some(self.write(&rejection.to_json())),
                }
                continue;
            }
            self.unread.few().await;
            // What was heard before gets its turn.
            coop::consume_budget().await;
            let read = match self.lines.next().await? {
                Heard::Line(line) => envelope::read(&line),
                Heard::Oversized(scan) => Err(envelope::refuse_oversized(scan)),
                Heard::End => return Ok(None),
            };
            if let Some(message) = self.admit(read) {
                self.waiting = Some(self.places.clone().admit(message).boxed());
            }
        }
    }

    fn admit(
        &mut self,
        read: Result<ClientJsonRpcMessage, Unreadable>,
    ) -> Option<ClientJsonRpcMessage> {
        match read {
            Ok(message) => match self.lifecycle.judge(&message) {
                Verdict::Admit => return Some(message),
                Verdict::Ignore => tracing::debug!("message before the session dropped"),
                Verdict::Refuse(answer) => self.answer = Some(self.write(&answer)),
            },
            Err(Unreadable::Ignore(refusal)) => {
                tracing::debug!(code = refusal.code().as_str(), "unreadable notification dropped");
            }
            Err(Unreadable::Answer(rejection)) => {
                self.answer = Some(self.write(&rejection.to_json()));
            }
        }
        None
    }

    fn write(&self, message: &impl Serialize) -> BoxFuture<'static, io::Result<()>> {
        let line = serde_json::to_vec(message);
        let counted = self.unread.count(line.as_ref().map_or(0, Vec::len));
        let writing = write_line(Arc::clone(&self.writer), line);
        let written = async move {
            let written = writing.await;
            drop(counted);
            written
        };
        written.boxed()
    }
}

impl<R, W> Transport<RoleServer> for Pipe<R, W>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        self.write(&message)
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        let shutdown = self.shutdown.clone();
        let next = shutdown.run_until_cancelled(self.next()).await.unwrap_or(Ok(None));
        let message = next.unwrap_or_else(|error| {
            tracing::warn!(%error, "stdio broke off");
            None
        });
        if message.is_none() {
            shutdown.cancel();
        }
        message
    }

    /// Does nothing: every line was flushed, and a writer that is stuck must not hold up the end.
    async fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a message as one line, with one call unless the reader is slow.
async fn write_line<W: AsyncWrite + Unpin>(
    writer: Arc<Mutex<W>>,
    line: serde_json::Result<Vec<u8>>,
) -> io::Result<()> {
    let mut line = line?;
    line.push(b'\n');
    let mut writer = writer.lock().await;
    writer.write_all(&line).await?;
    writer.flush().await
}

//! Turns lines into messages and messages into lines.

use std::{borrow::Cow, collections::VecDeque, io, sync::Arc, time::Duration};

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
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::lines::{Heard, Lines};
use crate::transport::{
    batch,
    envelope::{self, Rejection, Unreadable},
    flow::{Counted, Places, Unread},
    lifecycle::{Lifecycle, Speaks, Verdict},
};

/// How long a client that says no more may leave so much unread that it would not be heard.
const UNREAD_AFTER_END: Duration = Duration::from_secs(5);

/// rmcp's view of the two streams.
pub(super) struct Pipe<R, W> {
    lines: Lines<R>,
    lifecycle: Lifecycle,
    /// Guards the writer for the length of one line: answers are sent concurrently, and lines must
    /// not mix.
    writer: Arc<Mutex<W>>,
    /// What is left of a batch.
    rest: VecDeque<Result<ClientJsonRpcMessage, Unreadable>>,
    /// An answer given here rather than by rmcp. Kept until it is written, since rmcp drops the
    /// future of `receive` whenever it has something else to do.
    answer: Option<BoxFuture<'static, io::Result<()>>>,
    /// A message that waits for its place; kept for the same reason.
    waiting: Option<BoxFuture<'static, Result<ClientJsonRpcMessage, Rejection>>>,
    places: Places,
    unread: Unread,
    /// When a client is given up that has ended its input and does not read.
    patience: Option<Instant>,
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
            rest: VecDeque::new(),
            answer: None,
            waiting: None,
            places: Places::default(),
            unread: Unread::default(),
            patience: None,
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
            if !self.is_read().await? {
                tracing::warn!("the client has gone without reading its answers");
                return Ok(None);
            }
            // What was heard before gets its turn.
            coop::consume_budget().await;
            let read = match self.rest.pop_front() {
                Some(read) => read,
                None => match self.lines.next().await? {
                    Heard::Line(line) => self.read(&line),
                    Heard::Oversized(scan) => Err(envelope::refuse_oversized(scan)),
                    Heard::End => return Ok(None),
                },
            };
            if let Some(message) = self.admit(read) {
                self.waiting = Some(self.places.clone().admit(message).boxed());
            }
        }
    }

    /// Waits until the client has read enough of its answers to be heard again; whether it has,
    /// rather than gone.
    async fn is_read(&mut self) -> io::Result<bool> {
        let (lines, patience) = (&mut self.lines, &mut self.patience);
        let gone = async {
            lines.ended().await?;
            // The future may be dropped and made anew, and the time goes on.
            let end = *patience.get_or_insert_with(|| Instant::now() + UNREAD_AFTER_END);
            time::sleep_until(end).await;
            Ok::<_, io::Error>(())
        };
        let is_read = tokio::select! {
            biased;
            () = self.unread.few() => true,
            gone = gone => gone.map(|()| false)?,
        };
        self.patience = None;
        Ok(is_read)
    }

    /// Reads a message, or the first one of a batch.
    fn read(&mut self, line: &[u8]) -> Result<ClientJsonRpcMessage, Unreadable> {
        if self.lifecycle.has_batches() && batch::is_one(line) {
            self.rest.extend(batch::read(line)?.into_iter().map(|it| it.0));
        }
        self.rest.pop_front().unwrap_or_else(|| envelope::read(line))
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
        write_line(Arc::clone(&self.writer), line, counted).boxed()
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

/// Writes a message as one line, with one call unless the reader is slow. It is counted until then.
async fn write_line<W: AsyncWrite + Unpin>(
    writer: Arc<Mutex<W>>,
    line: serde_json::Result<Vec<u8>>,
    _counted: Counted,
) -> io::Result<()> {
    let mut line = line?;
    line.push(b'\n');
    let mut writer = writer.lock().await;
    writer.write_all(&line).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const PING: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}
"#;

    /// A client that has said `said` and no more, and what reads it.
    fn heard(said: &[u8]) -> (DuplexStream, Pipe<DuplexStream, DuplexStream>) {
        let (mut theirs, reader) = duplex(64);
        let (writer, unread) = duplex(64);
        let versions = Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS);
        let said = said.to_vec();
        tokio::spawn(async move { theirs.write_all(&said).await });
        (unread, Pipe::new(reader, writer, versions, CancellationToken::new()))
    }

    /// An answer that is too much.
    fn large(pipe: &Pipe<DuplexStream, DuplexStream>) -> Counted {
        pipe.unread.count(5 << 20)
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_no_more_and_reads_nothing_is_given_up() {
        let (_unread, mut pipe) = heard(PING);
        let _answer = large(&pipe);
        let started = Instant::now();
        // As rmcp does whenever it has something else to do.
        for _ in 0..4 {
            time::timeout(Duration::from_secs(1), pipe.receive()).await.unwrap_err();
        }
        assert!(pipe.receive().await.is_none());
        assert_eq!(started.elapsed(), UNREAD_AFTER_END);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_no_more_and_reads_is_heard_to_the_end() {
        let (_unread, mut pipe) = heard(PING);
        let answer = large(&pipe);
        let mut receiving = pipe.receive().boxed();
        time::timeout(UNREAD_AFTER_END / 2, &mut receiving).await.unwrap_err();
        drop(answer);
        assert!(matches!(receiving.await, Some(ClientJsonRpcMessage::Request(_))));
        assert!(pipe.receive().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_say_more_is_waited_for() {
        let (_unread, mut pipe) = heard(&PING.repeat(100_000));
        let _answer = large(&pipe);
        time::timeout(UNREAD_AFTER_END * 100, pipe.receive()).await.unwrap_err();
    }
}

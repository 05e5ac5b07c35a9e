//! The older HTTP+SSE transport: a GET stays open for what the server says, and its first event
//! names where to post.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use hyper::body::Bytes;
use reqwest::{
    Client, Response, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap},
};
use rmcp::{
    RoleClient,
    model::{ClientJsonRpcMessage, ServerJsonRpcMessage},
    transport::Transport,
};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    fault::{Cause, LinkFault, quote},
    frames::{Line, Lines, read_message, read_start},
    later::RetryAfter,
    link::header,
};

/// How long reading the answer of a POST may take, which has nothing to say.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long posts have after the end of the stream to say whether they arrived, and how long that
/// takes to be heard.
const POST_GRACE: Duration = Duration::from_secs(1);
pub(super) const END_GRACE: Duration = Duration::from_millis(20);
/// How much of such an answer is read.
const ACCEPT_BYTES_MAX: usize = 64 * 1024;
/// How many lines the data of one event may have.
const DATA_LINES_MAX: usize = 100_000;

/// The client's end of a session; dropping it ends the session.
pub(super) struct SseLink {
    poster: Arc<Poster>,
    events: Events,
    cause: Cause,
    bytes_max: usize,
    /// The posts on their way.
    posting: TaskTracker,
    /// When the stream ended.
    ended: Option<Instant>,
}

/// What posts messages.
struct Poster {
    http: Client,
    headers: HeaderMap,
    endpoint: Url,
    /// Ends a POST whose session was given up.
    stop: CancellationToken,
}

/// The events of a stream.
pub(super) struct Events {
    chunks: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    lines: Lines,
    bytes_max: usize,
    kind: Vec<u8>,
    data: Vec<u8>,
    n_data_lines: usize,
    /// The start of the data, once it is too large.
    start: Option<Vec<u8>>,
    ready: VecDeque<Event>,
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Its kind and data.
    Whole(Vec<u8>, Vec<u8>),
    /// The start of the data of one that is too large.
    Start(Vec<u8>),
}

impl SseLink {
    /// Opens a session at `url` and waits until the server says where to post.
    pub(super) async fn open(
        (http, headers): (Client, HeaderMap),
        url: &str,
        bytes_max: usize,
        cause: Cause,
        stop: CancellationToken,
    ) -> Result<Self, LinkFault> {
        let url = Url::parse(url).map_err(|it| LinkFault::NotConnected(it.to_string()))?;
        let request = http.get(url.clone()).headers(headers.clone());
        let response = request.header(ACCEPT, "text/event-stream").send().await;
        let response = response.map_err(LinkFault::from_sending)?;
        if !response.status().is_success() {
            return Err(refusal(response, false).await);
        }
        let kind = header(&response, CONTENT_TYPE.as_str()).unwrap_or_default();
        if !kind.to_ascii_lowercase().starts_with("text/event-stream") {
            let message = format!("its answer is of type {kind:?}, not an event stream");
            return Err(LinkFault::Protocol(message));
        }
        let mut events = Events::new(response.bytes_stream().boxed(), bytes_max);
        let endpoint = events.endpoint(&url).await?;
        let poster = Arc::new(Poster { http, headers, endpoint, stop });
        let posting = TaskTracker::new();
        posting.close();
        Ok(Self { poster, events, cause, bytes_max, posting, ended: None })
    }

    /// The next message; `Err` when no more can come.
    async fn next(&mut self) -> Result<ServerJsonRpcMessage, LinkFault> {
        loop {
            let message = match self.events.next().await? {
                Event::Whole(kind, data) if kind.is_empty() || kind == b"message" => {
                    read_message(&data)
                }
                Event::Whole(..) => None,
                Event::Start(data) => {
                    let message = read_start(&data, self.bytes_max);
                    Some(message.ok_or(LinkFault::TooLarge(self.bytes_max))?)
                }
            };
            if let Some(message) = message {
                self.events.lines.was_useful();
                return Ok(message);
            }
        }
    }
}

impl Transport<RoleClient> for SseLink {
    type Error = LinkFault;

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), LinkFault>> + Send + 'static {
        let poster = Arc::clone(&self.poster);
        self.posting.track_future(async move {
            let closed = || Err(LinkFault::Broken("the session was closed".to_owned()));
            let posted = poster.stop.run_until_cancelled(poster.post(&message)).await;
            posted.unwrap_or_else(closed)
        })
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        let ended = match self.ended {
            Some(ended) => ended,
            None => match self.next().await {
                Ok(message) => return Some(message),
                Err(fault) => {
                    self.cause.note(fault);
                    *self.ended.insert(Instant::now())
                }
            },
        };
        // Posts that are on their way learn first whether they arrived.
        let _late = tokio::time::timeout_at(ended + POST_GRACE, self.posting.wait()).await;
        tokio::time::sleep(END_GRACE).await;
        None
    }

    async fn close(&mut self) -> Result<(), LinkFault> {
        self.events.chunks = futures::stream::empty().boxed();
        Ok(())
    }
}

impl Poster {
    async fn post(&self, message: &ClientJsonRpcMessage) -> Result<(), LinkFault> {
        let request = self.http.post(self.endpoint.clone()).headers(self.headers.clone());
        let response = request.json(message).send().await.map_err(LinkFault::from_sending)?;
        if !response.status().is_success() {
            return Err(refusal(response, true).await);
        }
        // Read to its end, a connection can be used again.
        read_start_of_body(response).await;
        Ok(())
    }
}

impl Events {
    /// Reads what comes in `chunks`; the data of an event may be `bytes_max` long.
    pub(super) fn new(
        chunks: BoxStream<'static, Result<Bytes, reqwest::Error>>,
        bytes_max: usize,
    ) -> Self {
        Self {
            chunks,
            lines: Lines::new(bytes_max.saturating_add(16)),
            bytes_max,
            kind: Vec::new(),
            data: Vec::new(),
            n_data_lines: 0,
            start: None,
            ready: VecDeque::new(),
        }
    }

    /// Where to post: the first event must say it.
    async fn endpoint(&mut self, url: &Url) -> Result<Url, LinkFault> {
        let Event::Whole(kind, data) = self.next().await? else {
            return Err(LinkFault::TooLarge(self.bytes_max));
        };
        if kind != b"endpoint" {
            let message = "the first event of its stream does not say where to post";
            return Err(LinkFault::Protocol(message.to_owned()));
        }
        let endpoint = std::str::from_utf8(&data).ok().and_then(|it| url.join(it.trim()).ok());
        // What is posted carries the headers of the settings, which are for this server alone.
        endpoint.filter(|it| it.origin() == url.origin()).ok_or_else(|| {
            let message = format!("it asks to post to another origin: {}", quote(&data));
            LinkFault::Protocol(message)
        })
    }

    /// The next event; `Err` when no more can come.
    pub(super) async fn next(&mut self) -> Result<Event, LinkFault> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.lines.push(&chunk)?,
                Some(Err(error)) => return Err(LinkFault::from_reading(error)),
                None => return Err(LinkFault::Broken("the event stream ended".to_owned())),
            }
            while let Some(line) = self.lines.pop() {
                self.line(line);
            }
        }
    }

    fn line(&mut self, line: Line) {
        match line {
            Line::Whole(line) if line.is_empty() => self.end_event(),
            Line::Whole(line) => {
                if let Some(kind) = value(&line, b"event") {
                    self.kind = kind.to_vec();
                } else if let Some(data) = value(&line, b"data") {
                    self.add_data(data);
                }
            }
            Line::Start(line) => {
                if let Some(data) = value(&line, b"data") {
                    self.start.get_or_insert_with(|| data.to_vec());
                }
            }
        }
    }

    fn add_data(&mut self, data: &[u8]) {
        let n_bytes = self.data.len() + data.len() + 1;
        if n_bytes > self.bytes_max || self.n_data_lines >= DATA_LINES_MAX {
            let whole = std::mem::take(&mut self.data);
            self.start.get_or_insert_with(|| if whole.is_empty() { data.to_vec() } else { whole });
            return;
        }
        if self.n_data_lines > 0 {
            self.data.push(b'\n');
        }
        self.n_data_lines += 1;
        self.data.extend_from_slice(data);
    }

    fn end_event(&mut self) {
        let (kind, data) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data));
        let n_lines = std::mem::take(&mut self.n_data_lines);
        match self.start.take() {
            Some(start) => self.ready.push_back(Event::Start(start)),
            None if n_lines > 0 => self.ready.push_back(Event::Whole(kind, data)),
            None => {}
        }
    }
}

/// The value of a field, if the line is of that field.
fn value<'l>(line: &'l [u8], field: &[u8]) -> Option<&'l [u8]> {
    let rest = line.strip_prefix(field)?;
    match rest {
        [] => Some(rest),
        [b':', b' ', rest @ ..] | [b':', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Why a request was refused.
async fn refusal(response: Response, is_in_session: bool) -> LinkFault {
    let (status, retry_after) = (response.status(), RetryAfter::of(&response));
    let body = read_start_of_body(response).await;
    LinkFault::from_status(status, retry_after, is_in_session, &body)
}

/// What comes of a short body in a short time.
async fn read_start_of_body(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            if body.len() + chunk.len() > ACCEPT_BYTES_MAX {
                break;
            }
            body.extend_from_slice(&chunk);
        }
    };
    let _late = tokio::time::timeout(ACCEPT_TIMEOUT, read).await;
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn events(text: &str, bytes_max: usize) -> String {
        let chunks: Vec<_> = text.bytes().map(|it| Ok(Bytes::from(vec![it]))).collect();
        let mut events = Events::new(futures::stream::iter(chunks).boxed(), bytes_max);
        let mut shown = Vec::new();
        loop {
            match events.next().await {
                Ok(Event::Whole(kind, data)) => {
                    let (kind, data) = (String::from_utf8(kind), String::from_utf8(data));
                    shown.push(format!("{}={:?}", kind.unwrap(), data.unwrap()));
                }
                Ok(Event::Start(data)) => {
                    shown.push(format!("cut {}", String::from_utf8(data).unwrap()));
                }
                Err(fault) => {
                    shown.push(fault.to_string());
                    return shown.join(" ");
                }
            }
        }
    }

    #[tokio::test]
    async fn events_are_read_as_the_standard_says() {
        let text = ": hi\n\nevent: endpoint\r\ndata: /x\r\n\r\ndata:a\ndata\ndata:  b\nid: 7\n\n\
                    event: odd\n\ndata: last\n";
        let expected =
            "endpoint=\"/x\" =\"a\\n\\n b\" the connection broke: the event stream ended";
        assert_eq!(events(text, 100).await, expected);
    }

    #[tokio::test]
    async fn an_event_that_is_too_large_leaves_the_next_one_alone() {
        let text = format!("data: {}\n\ndata: 1234\ndata: 56789\n\ndata: ok\n\n", "x".repeat(40));
        let shown = events(&text, 9).await;
        let expected = format!(
            "cut {} cut 1234 =\"ok\" the connection broke: the event stream ended",
            "x".repeat(20)
        );
        assert_eq!(shown, expected);
    }

    #[tokio::test]
    async fn where_to_post_must_be_of_the_same_origin() {
        let base = Url::parse("http://host:1/a/sse").unwrap();
        let endpoint = async |text: &str| {
            let chunk = Bytes::from(format!("event: endpoint\ndata: {text}\n\n"));
            let mut events = Events::new(futures::stream::iter([Ok(chunk)]).boxed(), 1_000);
            events.endpoint(&base).await.map(String::from)
        };
        assert_eq!(endpoint("/m?s=1").await.unwrap(), "http://host:1/m?s=1");
        assert_eq!(endpoint("m?s=1").await.unwrap(), "http://host:1/a/m?s=1");
        assert_eq!(endpoint("http://host:1/m").await.unwrap(), "http://host:1/m");
        for wrong in ["http://host:2/m", "https://host:1/m", "//other/m", "file:///m"] {
            let fault = endpoint(wrong).await.unwrap_err();
            assert!(matches!(fault, LinkFault::Protocol(_)), "{wrong}");
        }
    }
}

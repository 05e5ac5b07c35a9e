//! The wire to an upstream over HTTP: what comes in is bounded and checked, faults are typed.
//!
//! rmcp drives the protocol; this is the HTTP client under it. It differs from rmcp's own in that a
//! fault keeps its cause, an answer must belong to its request, an event stream ends with an error
//! of its own request at worst, and a forgotten session is told to the pool and not mended below
//! it. Streams that the server could push on are not opened: nothing here listens to them.

#![expect(clippy::disallowed_types, reason = "rmcp hands headers over in a HashMap")]

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt as _, future, stream, stream::BoxStream};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use rmcp::{
    model::{ClientJsonRpcMessage, ClientRequest, ErrorData, RequestId, ServerJsonRpcMessage},
    transport::streamable_http_client::{
        SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
    },
};
use sse_stream::{Sse, SseStream};
use tokio_util::sync::CancellationToken;

use super::{
    fault::{Cause, LinkFault, quote},
    later::RetryAfter,
};
use crate::model::text;

type PostResult = Result<StreamableHttpPostResponse, StreamableHttpError<LinkFault>>;
type EventStream = BoxStream<'static, Result<Sse, SseError>>;
type Headers = HashMap<HeaderName, HeaderValue>;

/// One session's HTTP client; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Link {
    http: Client,
    headers: Arc<HeaderMap>,
    bytes_max: usize,
    /// Ends a POST whose session was given up; rmcp itself waits for `initialize` for ever.
    stop: CancellationToken,
    /// The last fault, which rmcp drops on some ways out of opening a session.
    last_fault: Cause,
}

impl Link {
    /// Makes the client of one session; `stop` ends what it sends.
    pub(super) fn new(
        http: Client,
        headers: HeaderMap,
        bytes_max: usize,
        stop: CancellationToken,
    ) -> Self {
        Self { http, headers: Arc::new(headers), bytes_max, stop, last_fault: Cause::default() }
    }

    /// The last fault that was seen.
    pub(super) fn last_fault(&self) -> Option<LinkFault> {
        self.last_fault.get()
    }

    fn request(&self, request: RequestBuilder, headers: Headers) -> RequestBuilder {
        let mut all = HeaderMap::clone(&self.headers);
        all.extend(headers);
        request.headers(all)
    }

    async fn post(
        &self,
        uri: &str,
        message: &ClientJsonRpcMessage,
        session: Option<&str>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, LinkFault> {
        let mut request = self.request(self.http.post(uri), headers);
        request = request.header(ACCEPT, "application/json, text/event-stream");
        if let Some(session) = session {
            request = request.header("mcp-session-id", session);
        }
        let response = request.json(message).send().await.map_err(LinkFault::from_sending)?;
        let asked = Asked::new(message, session);
        if response.status().is_success() {
            self.read_answer(response, &asked).await
        } else {
            self.read_refusal(response, &asked).await
        }
    }

    async fn read_answer(
        &self,
        response: Response,
        asked: &Asked<'_>,
    ) -> Result<StreamableHttpPostResponse, LinkFault> {
        let Some(id) = asked.id else {
            // Notifications and replies want no answer; what comes is read for the connection's
            // sake only, and not at all if it is an event stream.
            if kind_of(&response) == BodyKind::Json {
                read_body(response, self.bytes_max).await?;
            }
            return Ok(StreamableHttpPostResponse::Accepted);
        };
        let session = header(&response, "mcp-session-id");
        match kind_of(&response) {
            BodyKind::Json => {
                let body = read_body(response, self.bytes_max).await?;
                Ok(StreamableHttpPostResponse::Json(parse_answer(&body, id)?, session))
            }
            BodyKind::Events => {
                Ok(StreamableHttpPostResponse::Sse(self.read_events(response, id), session))
            }
            BodyKind::Other(kind) => {
                Err(LinkFault::Protocol(format!("its answer is of type {kind}, not JSON")))
            }
        }
    }

    /// The events of an answer; they end with an error of the request, which counts only if its
    /// answer did not come before.
    fn read_events(&self, response: Response, id: &RequestId) -> EventStream {
        let bytes_max = self.bytes_max;
        let mut n_bytes = 0_usize;
        let bytes = response.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(LinkFault::from_reading)?;
            n_bytes = n_bytes.saturating_add(chunk.len());
            if n_bytes > bytes_max { Err(LinkFault::TooLarge(bytes_max)) } else { Ok(chunk) }
        });
        let id = id.clone();
        let events = SseStream::from_bytes_stream(bytes).map(Some).chain(stream::iter([None]));
        let events = events.scan(false, move |has_ended, event| {
            let fault = match event {
                _ if *has_ended => return future::ready(None),
                Some(Ok(event)) => return future::ready(Some(Ok(event))),
                Some(Err(error)) => stream_fault(&error),
                None => LinkFault::Broken("the event stream ended".to_owned()),
            };
            *has_ended = true;
            let data = serde_json::to_string(&fault.to_rpc(&id)).unwrap_or_default();
            future::ready(Some(Ok(Sse::default().data(data))))
        });
        events.boxed()
    }

    async fn read_refusal(
        &self,
        response: Response,
        asked: &Asked<'_>,
    ) -> Result<StreamableHttpPostResponse, LinkFault> {
        let status = response.status();
        let retry_after = RetryAfter::of(&response);
        let fresh_session = header(&response, "mcp-session-id").is_some();
        let is_in_session = asked.is_in_session || (fresh_session && !asked.is_opening);
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_redirection() {
            return Err(LinkFault::from_status(status, retry_after, is_in_session, &[]));
        }
        let body = read_body(response, 64 * 1024).await.unwrap_or_default();
        let error = serde_json::from_slice::<ServerJsonRpcMessage>(&body).ok();
        let error = error
            .and_then(|it| if let ServerJsonRpcMessage::Error(it) = it { Some(it) } else { None });
        if let Some(answer) = asked.answer_to_probe(status, error.as_ref().map(|it| &it.error)) {
            return Ok(answer);
        }
        let is_login = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if let (Some(error), Some(id), false) = (error, asked.id, is_login)
            && error.id.as_ref() == Some(id)
        {
            return Ok(StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Error(error), None));
        }
        Err(LinkFault::from_status(status, retry_after, is_in_session, &body))
    }
}

impl StreamableHttpClient for Link {
    type Error = LinkFault;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _auth: Option<String>,
        headers: Headers,
    ) -> PostResult {
        let post = self.post(&uri, &message, session.as_deref(), headers);
        let posted = self.stop.run_until_cancelled(post).await;
        let closed = || Err(LinkFault::Broken("the session was closed".to_owned()));
        posted.unwrap_or_else(closed).map_err(|fault| {
            self.last_fault.replace(fault.clone());
            StreamableHttpError::Client(fault)
        })
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        _auth: Option<String>,
        headers: Headers,
    ) -> Result<(), StreamableHttpError<LinkFault>> {
        let request = self.request(self.http.delete(&*uri), headers);
        let sent = request.header("mcp-session-id", &*session).send().await;
        sent.map(|_| ()).map_err(|it| StreamableHttpError::Client(LinkFault::from_sending(it)))
    }

    async fn get_stream(
        &self,
        _uri: Arc<str>,
        _session: Option<Arc<str>>,
        _last_event: Option<String>,
        _auth: Option<String>,
        _headers: Headers,
    ) -> Result<EventStream, StreamableHttpError<LinkFault>> {
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}

/// What a POST was about, for judging the answer.
struct Asked<'a> {
    id: Option<&'a RequestId>,
    /// It is `server/discover`.
    is_probe: bool,
    /// It is `initialize`.
    is_opening: bool,
    is_in_session: bool,
}

#[derive(PartialEq, Eq)]
enum BodyKind {
    Json,
    Events,
    Other(String),
}

impl<'a> Asked<'a> {
    fn new(message: &'a ClientJsonRpcMessage, session: Option<&str>) -> Self {
        let ClientJsonRpcMessage::Request(request) = message else {
            let is_in_session = session.is_some();
            return Self { id: None, is_probe: false, is_opening: false, is_in_session };
        };
        Self {
            id: Some(&request.id),
            is_probe: matches!(request.request, ClientRequest::DiscoverRequest(_)),
            is_opening: matches!(request.request, ClientRequest::InitializeRequest(_)),
            is_in_session: session.is_some(),
        }
    }

    /// A server that refuses the probe is an old one: rmcp goes on with `initialize` when the
    /// refusal reads as an error of the probe's own id.
    fn answer_to_probe(
        &self,
        status: StatusCode,
        error: Option<&ErrorData>,
    ) -> Option<StreamableHttpPostResponse> {
        let is_login = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if !self.is_probe || !status.is_client_error() || is_login {
            return None;
        }
        let refused = || ErrorData::invalid_request("server/discover was refused", None);
        let error = error.cloned().unwrap_or_else(refused);
        let message = ServerJsonRpcMessage::error(error, self.id.cloned());
        Some(StreamableHttpPostResponse::Json(message, None))
    }
}

/// Reads an answer, which must be the one to request `id`.
fn parse_answer(body: &[u8], id: &RequestId) -> Result<ServerJsonRpcMessage, LinkFault> {
    let message: ServerJsonRpcMessage = serde_json::from_slice(body)
        .map_err(|_| LinkFault::Protocol(format!("its answer is {}", quote(body))))?;
    if let ServerJsonRpcMessage::Response(it) = &message
        && it.id == *id
    {
        return Ok(message);
    }
    if let ServerJsonRpcMessage::Error(it) = message
        && it.id.as_ref().is_none_or(|it| it == id)
    {
        return Ok(ServerJsonRpcMessage::error(it.error, Some(id.clone())));
    }
    Err(LinkFault::Protocol("its answer belongs to another request".to_owned()))
}

async fn read_body(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, LinkFault> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(LinkFault::from_reading)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(LinkFault::TooLarge(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn stream_fault(error: &SseError) -> LinkFault {
    let SseError::Body(cause) = error else { return LinkFault::Broken(error.to_string()) };
    let fault = cause.downcast_ref::<LinkFault>();
    fault.map_or_else(|| LinkFault::Broken(cause.to_string()), Clone::clone)
}

fn kind_of(response: &Response) -> BodyKind {
    let kind = header(response, CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => BodyKind::Json,
        "text/event-stream" => BodyKind::Events,
        "" => BodyKind::Other("nothing".to_owned()),
        other => BodyKind::Other(text::cut(other, 60)),
    }
}

/// A header's value, if it is short text.
pub(super) fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?;
    (value.len() <= 512).then(|| value.to_owned())
}

//! The routes behind the guard, as what answers each request of a connection.

use std::{
    convert::Infallible,
    future,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::Request,
    http::{self, Method, header},
    response::Response,
};
use futures::future::{BoxFuture, FutureExt as _, TryFutureExt as _};
use hyper::{body::Bytes, service::Service as HyperService};
use rmcp::model::ClientRequest;
use tower_http::cors::Cors;
use tower_service::Service;

use super::{Guard, Message, answer, busy, caller::Admission, cors, refuse};
use crate::transport::body::{Ending, Holding};

/// When a client that found no room for a stream should come back, in milliseconds.
const STREAMS_AFTER_MS: u64 = 5_000;

type Answer = BoxFuture<'static, Result<Response, Infallible>>;

/// What is served on every connection. No name and no page from elsewhere comes in; then pages that
/// are let in may read what they are answered, refusals too.
///
/// Stands around the router, and not as its layers: those cost each request three more boxes, and
/// microseconds.
#[derive(Clone)]
pub(in crate::transport) struct Guarded {
    guard: Arc<Guard>,
    inner: Cors<Stand>,
}

/// Who calls, and what is sent.
#[derive(Clone)]
struct Stand {
    guard: Arc<Guard>,
    routes: Router,
}

impl Guarded {
    /// Puts `guard` before `routes`, and before what is none of them.
    pub(in crate::transport) fn new(guard: Guard, routes: Router) -> Self {
        let guard = Arc::new(guard);
        let stand = Stand { guard: Arc::clone(&guard), routes };
        Self { inner: cors::around(stand, &guard.origins), guard }
    }
}

impl<B> HyperService<http::Request<B>> for Guarded
where
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: http::Request<B>) -> Answer {
        match self.guard.check_origin(request.map(Body::new)) {
            Ok(request) => {
                self.inner.clone().call(request).map_ok(answer::with_security_headers).boxed()
            }
            Err(refused) => {
                future::ready(Ok(answer::with_security_headers(refuse(refused)))).boxed()
            }
        }
    }
}

impl Service<Request> for Stand {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Answer {
        self.clone().answer(request).map(Ok).boxed()
    }
}

impl Stand {
    async fn answer(mut self, request: Request) -> Response {
        let guard = self.guard;
        let token = (request.method() == Method::POST).then(|| guard.answers.token());
        let (mut is_call, mut until) = (false, None);
        let mut response = match guard.check(request).await {
            Ok((request, Admission { shown, term })) => {
                (is_call, until) = (token.is_some() && !is_listen(&request), term);
                let Ok(response) = self.routes.call(request).await;
                shown.of(answer::in_json(response).await).await
            }
            Err(refused) => refuse(refused),
        };
        if let Some(token) = token {
            response = response.map(|body| Holding::body(body, token));
        }
        if !is_stream(&response) {
            return response;
        }
        if !is_call {
            // Nothing was done yet. What was done for a call is answered in any case.
            let Ok(place) = Arc::clone(&guard.streams).try_acquire_owned() else {
                return refuse(busy("there are too many streams", STREAMS_AFTER_MS));
            };
            response = response.map(|body| Holding::body(body, place));
        }
        let Some(term) = until else { return response };
        // What runs for a call goes on then, and is answered to nobody.
        let calls = is_call.then(|| guard.answers.clone());
        response.map(|body| Ending::body(body, term.end(), calls))
    }
}

/// Whether an answer is a stream of events, which may last.
fn is_stream(response: &Response) -> bool {
    let said = response.headers().get(header::CONTENT_TYPE);
    said.is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"))
}

/// Whether a request only wants to hear.
fn is_listen(request: &Request) -> bool {
    let asked = request.extensions().get().and_then(Message::request);
    matches!(asked, Some(ClientRequest::SubscriptionsListenRequest(_)))
}

//! Serves the messages of a batch one after the other, and answers all of them in one stream.

use axum::{
    body::Body,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures::stream::SelectAll;
use rmcp::{ServerHandler, transport::streamable_http_server::StreamableHttpService};

use super::sessions::Sessions;
use crate::transport::guard::Batch;

/// Hands each message to `service` as if it had come by itself. What is answered stands in one
/// stream, in the order in which it is known; without requests there is none. A message that the
/// service does not take ends the batch, and is all that is answered.
pub(super) async fn serve<H: ServerHandler>(
    service: &StreamableHttpService<H, Sessions>,
    request: Request,
    batch: Batch,
) -> Response {
    let (mut parts, _) = request.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let (mut head, mut streams) = (None, SelectAll::new());
    for (message, text) in batch.0 {
        let mut parts = parts.clone();
        parts.extensions.insert(message);
        let request = Request::from_parts(parts, Body::from(text));
        let (answer, body) = service.handle(request).await.into_parts();
        match answer.status {
            StatusCode::ACCEPTED => {}
            StatusCode::OK => {
                streams.push(Body::new(body).into_data_stream());
                head.get_or_insert(answer);
            }
            _ => return Response::from_parts(answer, Body::new(body)),
        }
    }
    let Some(head) = head else {
        return StatusCode::ACCEPTED.into_response();
    };
    Response::from_parts(head, Body::from_stream(streams))
}

//! The HTTP client through which the exporter reaches the collector: with the headers of the
//! settings, and a word in the log when the collector is down and when it is back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::{
    Client, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use tokio::sync::watch;
use tracing::{info, warn};

use super::super::TelemetryError;
use crate::{
    config::{OtlpProtocol, SecretText},
    model::text,
};

/// How long a request may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// A client, which all that have it share.
#[derive(Clone, Debug)]
pub(super) struct Collector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    headers: Vec<(HeaderName, SecretText)>,
    /// Whether the log says that it is down.
    is_down: AtomicBool,
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the last try failed, and no other one is under way.
    has_failed: bool,
    is_stopping: bool,
}

impl Collector {
    pub(super) fn new(
        url: &Url,
        headers: &BTreeMap<String, SecretText>,
    ) -> Result<Self, TelemetryError> {
        let client =
            client(url).map_err(|it| TelemetryError::Collector(it.without_url().to_string()))?;
        let named = headers.iter().map(|(name, value)| Ok((name.parse()?, value.clone())));
        let headers: Result<_, header::InvalidHeaderName> = named.collect();
        let headers = headers.map_err(|it| TelemetryError::Collector(it.to_string()))?;
        let (is_down, state) = (AtomicBool::new(false), watch::Sender::default());
        Ok(Self(Arc::new(Inner { client, headers, is_down, state })))
    }

    /// Sends a batch without spans; why it is not taken.
    pub(super) async fn look(&self, url: &Url, protocol: OtlpProtocol) -> Result<(), String> {
        let (kind, body) = match protocol {
            // A message without fields has no bytes.
            OtlpProtocol::Protobuf => ("application/x-protobuf", ""),
            OtlpProtocol::Json => ("application/json", r#"{"resourceSpans":[]}"#),
        };
        let request = Request::post(url.as_str()).header(header::CONTENT_TYPE, kind);
        let request = request.body(Bytes::from_static(body.as_bytes()));
        match self.post(request.map_err(|it| it.to_string())?).await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(answered(&answer)),
            Err(error) => Err(reason(&error)),
        }
    }

    /// Begins another try.
    pub(super) fn begin(&self) {
        self.0.state.send_modify(|it| it.has_failed = false);
    }

    /// From now on a batch that fails is not sent again.
    pub(super) fn stop(&self) {
        self.0.state.send_modify(|it| it.is_stopping = true);
    }

    /// Waits until this batch is not to be sent again.
    pub(super) async fn given_up(&self) {
        let mut state = self.0.state.subscribe();
        let _state = state.wait_for(|it| it.has_failed && it.is_stopping).await;
    }

    async fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut parts, body) = request.into_parts();
        parts.headers = self.headers(&parts.headers)?;
        self.0.client.send_bytes(Request::from_parts(parts, body)).await
    }

    /// The headers of a request: what the exporter says of the body, and those of the settings.
    /// What it found in the environment stands in these, as far as it counts.
    fn headers(&self, said: &HeaderMap) -> Result<HeaderMap, HttpError> {
        let kept = [header::CONTENT_TYPE, header::USER_AGENT];
        let kept = kept.into_iter().filter_map(|it| Some((it.clone(), said.get(it)?.clone())));
        let mut headers: HeaderMap = kept.collect();
        for (name, value) in &self.0.headers {
            let value = HeaderValue::from_str(&value.resolve()?);
            let mut value = value.map_err(|_| format!("header {name} is no text"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }

    fn note_success(&self) {
        if self.0.is_down.swap(false, Relaxed) {
            info!("the collector takes spans again");
        }
    }

    fn note_fault(&self, reason: &str) {
        self.0.state.send_modify(|it| it.has_failed = true);
        if !self.0.is_down.swap(true, Relaxed) {
            let reason = text::escape(reason);
            warn!(reason, "the collector does not take spans; they are lost while it is so");
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.begin();
        let answer = self.post(request).await;
        match &answer {
            Ok(answer) if answer.status().is_success() => self.note_success(),
            Ok(answer) => self.note_fault(&answered(answer)),
            Err(error) => self.note_fault(&reason(error)),
        }
        answer
    }
}

fn answered(answer: &Response<Bytes>) -> String {
    format!("it answered {}", answer.status().as_u16())
}

/// Why there is no answer, in words of this program: those of the client name the address.
fn reason(error: &HttpError) -> String {
    match error.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_timeout() => "it did not answer in time".to_owned(),
        Some(_) => "no connection".to_owned(),
        None => error.to_string(),
    }
}

fn client(url: &Url) -> Result<Client, reqwest::Error> {
    // Whoever was first chose ring as well.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .referer(false)
        .timeout(REQUEST_MAX)
        .connect_timeout(REQUEST_MAX / 2);
    if url.scheme() == "http" {
        // Reading the system's certificates takes longer than all the rest of the start.
        builder = builder.tls_certs_only([]);
    }
    if url.host_str().is_some_and(|it| ["localhost", "127.0.0.1", "[::1]"].contains(&it)) {
        builder = builder.no_proxy();
    }
    builder.build()
}

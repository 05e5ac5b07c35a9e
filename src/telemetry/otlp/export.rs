//! The queue of spans, and the task that takes them to the collector.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, StatusCode, Url, header, redirect};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    super::{Metrics, TelemetryError},
    batch::Teller,
};
use crate::{
    config::{Otlp, SecretText},
    model::{TraceId, text},
    ports::{Span, Spans},
};

/// How many spans may wait; more are lost.
const QUEUE_MAX: usize = 16_384;
/// How many go in one request.
const BATCH_MAX: usize = 512;
/// How long a batch waits for more.
const DELAY: Duration = Duration::from_secs(1);
/// How long a request may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// How often a batch is sent at most while the collector asks for it.
const TRIES_MAX: u32 = 5;
/// The first pause between two tries; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_secs(1);
/// How long what waits may take to be told at the end.
const STOP_MAX: Duration = Duration::from_secs(2);

/// Takes spans, and tells them to a collector.
#[derive(Debug)]
pub struct Exporter {
    queue: Arc<Queue>,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// The end of the queue that takes spans.
#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<Span>,
    sample_ratio: f64,
    metrics: Option<Arc<Metrics>>,
}

impl Exporter {
    /// Starts to tell spans, if the settings name a collector. `servers` says where upstreams are;
    /// `metrics` counts what is told and what is lost.
    pub fn start(
        settings: &Otlp,
        servers: impl Iterator<Item = (String, String)>,
        metrics: Option<Arc<Metrics>>,
    ) -> Result<Option<Self>, TelemetryError> {
        let Some(url) = settings.url() else { return Ok(None) };
        let url = Url::parse(&url).map_err(|it| TelemetryError::Collector(it.to_string()))?;
        let client =
            client(&url).map_err(|it| TelemetryError::Collector(it.without_url().to_string()))?;
        let (sender, spans) = mpsc::channel(QUEUE_MAX);
        let stop = CancellationToken::new();
        let telling = Telling {
            spans,
            client,
            url,
            headers: settings.headers.clone().into_iter().collect(),
            teller: teller(settings, servers),
            metrics: metrics.clone(),
            stop: stop.clone(),
            is_failing: false,
        };
        let task = tokio::spawn(telling.run());
        let queue = Queue { sender, sample_ratio: settings.sample_ratio, metrics };
        Ok(Some(Self { queue: Arc::new(queue), task, stop }))
    }

    /// Where spans go.
    pub fn spans(&self) -> Arc<dyn Spans> {
        Arc::clone(&self.queue) as _
    }

    /// Tells what still waits, in a short time, and stops.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_MAX, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Spans for Queue {
    fn samples(&self, trace: TraceId) -> bool {
        trace.is_among(self.sample_ratio)
    }

    fn record(&self, spans: Vec<Span>) {
        let mut n_lost = 0;
        for span in spans {
            n_lost += usize::from(self.sender.try_send(span).is_err());
        }
        if let Some(metrics) = &self.metrics {
            metrics.spans_dropped(n_lost);
        }
    }
}

struct Telling {
    spans: mpsc::Receiver<Span>,
    client: Client,
    url: Url,
    headers: Vec<(String, SecretText)>,
    teller: Teller,
    metrics: Option<Arc<Metrics>>,
    stop: CancellationToken,
    is_failing: bool,
}

/// Why a request did not do it.
struct Fault {
    /// In words of this program, for the log.
    what: String,
    /// Whether the collector may take it later.
    is_passing: bool,
    /// When it asks to be tried again.
    retry_after: Option<Duration>,
}

impl Telling {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            batch.clear();
            tokio::select! {
                biased;
                n_spans = self.spans.recv_many(&mut batch, BATCH_MAX) => {
                    if n_spans == 0 {
                        return;
                    }
                }
                () = self.stop.cancelled() => return,
            }
            self.wait_for_more(&mut batch).await;
            self.tell(&batch).await;
        }
    }

    async fn wait_for_more(&mut self, batch: &mut Vec<Span>) {
        let delay = tokio::time::sleep(DELAY);
        tokio::pin!(delay);
        while batch.len() < BATCH_MAX {
            tokio::select! {
                biased;
                n_spans = self.spans.recv_many(batch, BATCH_MAX - batch.len()) => {
                    if n_spans == 0 {
                        return;
                    }
                }
                () = &mut delay => return,
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn tell(&mut self, batch: &[Span]) {
        let body = self.teller.body(batch);
        let mut pause = PAUSE;
        for n_left in (0..TRIES_MAX).rev() {
            let fault = match self.post(body.clone()).await {
                Ok(()) => return self.note_success(batch.len()),
                Err(fault) => fault,
            };
            self.note_fault(&fault);
            if !fault.is_passing || n_left == 0 || self.stop.is_cancelled() {
                break;
            }
            let wait = fault.retry_after.unwrap_or(pause).min(Duration::from_secs(30));
            let stopped = self.stop.clone();
            if tokio::time::timeout(wait, stopped.cancelled()).await.is_ok() {
                break;
            }
            pause *= 2;
        }
        if let Some(metrics) = &self.metrics {
            metrics.spans_dropped(batch.len());
        }
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), Fault> {
        let lasting = |what: String| Fault { what, is_passing: false, retry_after: None };
        let mut request = self.client.post(self.url.clone());
        for (name, value) in &self.headers {
            let value = value.resolve().map_err(|it| lasting(it.to_string()))?;
            let value = header::HeaderValue::from_str(&value);
            let mut value = value.map_err(|_| lasting(format!("header {name} is no text")))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        request = request.header(header::CONTENT_TYPE, self.teller.content_type()).body(body);
        let answer = request.send().await.map_err(|error| Fault {
            what: if error.is_timeout() { "it did not answer in time" } else { "no connection" }
                .to_owned(),
            is_passing: true,
            retry_after: None,
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let after = answer.headers().get(header::RETRY_AFTER).and_then(|it| it.to_str().ok());
        Err(Fault {
            what: format!("it answered {}", status.as_u16()),
            is_passing: matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            ),
            retry_after: after.and_then(|it| it.parse().ok()).map(Duration::from_secs),
        })
    }

    fn note_success(&mut self, n_spans: usize) {
        if std::mem::take(&mut self.is_failing) {
            info!("the collector takes spans again");
        }
        if let Some(metrics) = &self.metrics {
            metrics.spans_exported(n_spans);
        }
    }

    fn note_fault(&mut self, fault: &Fault) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let reason = text::escape(&fault.what);
            warn!(reason, "the collector does not take spans; they are lost while it is so");
        }
    }
}

fn teller(settings: &Otlp, servers: impl Iterator<Item = (String, String)>) -> Teller {
    let own = [
        ("service.name", settings.service_name.as_str()),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("telemetry.sdk.language", "rust"),
    ];
    let said = settings.resource_attributes.iter().filter_map(|it| it.split_once('='));
    let mut resource: Vec<(String, String)> = Vec::new();
    for (name, value) in own.into_iter().chain(said) {
        if !resource.iter().any(|it| it.0 == name) {
            resource.push((name.to_owned(), value.to_owned()));
        }
    }
    let place = |(name, url): (String, String)| {
        let url = Url::parse(&url).ok()?;
        Some((name, (url.host_str()?.to_owned(), url.port_or_known_default())))
    };
    let servers = servers.filter_map(place).collect();
    Teller { resource, servers, protocol: settings.protocol }
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, iter};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use uuid::Uuid;

    use super::*;
    use crate::{
        model::{DispatchId, DispatchStatus, Millis, SpanId},
        ports::Spanned,
    };

    fn span() -> Span {
        let dispatch = DispatchId::new(Uuid::now_v7());
        Span {
            trace: TraceId::of_dispatch(dispatch),
            id: SpanId::new(&[7; 8]),
            parent: None,
            state: None,
            started_at: Millis(1),
            ended_at: Millis(2),
            dispatch,
            what: Spanned::Dispatch { status: DispatchStatus::Success, n_tasks: 1, retry_of: None },
        }
    }

    fn metrics() -> Arc<Metrics> {
        Arc::new(Metrics::new(iter::empty(), iter::empty(), Millis(0)))
    }

    fn count(metrics: &Metrics, outcome: &str) -> u64 {
        let line = format!("dispatch_spans_total{{outcome=\"{outcome}\"}} ");
        let text = metrics.render(&[]);
        text.lines().find_map(|it| it.strip_prefix(&line)).unwrap().parse().unwrap()
    }

    fn start(address: std::net::SocketAddr, metrics: &Arc<Metrics>) -> Exporter {
        let settings = Otlp { endpoint: Some(format!("http://{address}")), ..Otlp::default() };
        let started = Exporter::start(&settings, iter::empty(), Some(Arc::clone(metrics)));
        started.unwrap().unwrap()
    }

    /// Answers each request with the next of `answers`, and says how many came.
    async fn collector(
        answers: &'static [&'static str],
    ) -> (std::net::SocketAddr, tokio::sync::watch::Receiver<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (say, heard) = tokio::sync::watch::channel(0);
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 1_024];
                let _n_read = stream.read(&mut head).await.unwrap();
                let head = "HTTP/1.1 ".to_owned() + answer + "\r\nconnection: close\r\n";
                stream.write_all((head + "content-length: 0\r\n\r\n").as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                say.send_modify(|it| *it += 1);
            }
        });
        (address, heard)
    }

    #[tokio::test]
    async fn who_tells_never_waits_and_what_there_is_no_room_for_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let metrics = metrics();
        let exporter = start(listener.local_addr().unwrap(), &metrics);
        // Nobody answers there, and nothing here gives the exporter a turn.
        exporter.spans().record(iter::repeat_with(span).take(QUEUE_MAX + 5).collect());
        assert_eq!(count(&metrics, "dropped"), 5);
    }

    #[tokio::test]
    async fn a_busy_collector_gets_the_spans_again() {
        let (address, mut heard) =
            collector(&["503 Busy\r\nretry-after: 0", "429 Busy\r\nretry-after: 0", "200 OK"])
                .await;
        let metrics = metrics();
        let exporter = start(address, &metrics);
        exporter.spans().record(vec![span(), span()]);
        heard.wait_for(|it| *it == 3).await.unwrap();
        exporter.stop().await;
        assert_eq!((count(&metrics, "exported"), count(&metrics, "dropped")), (2, 0));
    }

    #[tokio::test]
    async fn spans_that_a_collector_refuses_are_lost() {
        let (address, mut heard) = collector(&["400 No", "200 OK"]).await;
        let metrics = metrics();
        let exporter = start(address, &metrics);
        exporter.spans().record(vec![span()]);
        heard.wait_for(|it| *it == 1).await.unwrap();
        exporter.spans().record(vec![span()]);
        exporter.stop().await;
        assert_eq!((count(&metrics, "exported"), count(&metrics, "dropped")), (1, 1));
    }

    #[test]
    fn what_the_settings_say_of_the_program_is_said() {
        let settings = Otlp {
            service_name: "s".to_owned(),
            resource_attributes: vec!["a.b=c=d".to_owned(), "service.name=x".to_owned()],
            ..Otlp::default()
        };
        let servers = [("a", "https://h/mcp"), ("b", "http://[::1]:7/mcp"), ("c", "no")];
        let servers = servers.map(|it| (it.0.to_owned(), it.1.to_owned())).into_iter();
        let teller = teller(&settings, servers);
        let said: BTreeMap<_, _> = teller.resource.into_iter().collect();
        assert_eq!((&*said["service.name"], &*said["a.b"]), ("s", "c=d"));
        let place = |host: &str, port| (host.to_owned(), Some(port));
        assert_eq!(teller.servers["a"], place("h", 443));
        assert_eq!(teller.servers["b"], place("[::1]", 7));
        assert!(!teller.servers.contains_key("c"));
    }
}

//! The queue of spans, and the task that takes them to the collector.

use std::{sync::Arc, time::Duration};

use futures::Stream;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{Resource, trace::SpanExporter as _};
use reqwest::Url;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use super::{
    super::{Metrics, TelemetryError},
    attributes::say,
    collector::Collector,
    known::Known,
};
use crate::{
    config::{Otlp, OtlpProtocol},
    model::TraceId,
    ports::{Span, Spans},
};

/// How many spans may wait; more are lost.
const QUEUE_MAX: usize = 16_384;
/// How many go in one request.
const BATCH_MAX: usize = 512;
/// How long a batch waits for more.
const DELAY: Duration = Duration::from_secs(1);
/// How long a batch is tried in all.
const BATCH_TIME_MAX: Duration = Duration::from_mins(1);
/// How often a batch is sent again at most while the collector does not take it.
const RETRIES_MAX: usize = 6;
/// The first pause between two tries; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long what waits may take to be told at the end.
const STOP_MAX: Duration = Duration::from_secs(2);

/// Takes spans, and tells them to a collector.
#[derive(Debug)]
pub struct Exporter {
    /// The last one that keeps the queue open.
    sender: mpsc::Sender<Span>,
    queue: Arc<Queue>,
    collector: Collector,
    task: JoinHandle<()>,
}

/// The end of the queue that takes spans.
#[derive(Debug)]
struct Queue {
    sender: mpsc::WeakSender<Span>,
    sample_ratio: f64,
    metrics: Option<Arc<Metrics>>,
}

impl Exporter {
    /// Starts to tell spans, if the settings name a collector, with what is `known` of those that
    /// they name; `metrics` counts what is told and what is lost.
    pub fn start(
        settings: &Otlp,
        known: impl FnOnce() -> Known,
        metrics: Option<Arc<Metrics>>,
    ) -> Result<Option<Self>, TelemetryError> {
        let Some((url, collector)) = collector(settings)? else { return Ok(None) };
        let (sender, spans) = mpsc::channel(QUEUE_MAX);
        let telling = Telling {
            exporter: exporter(settings, &url, collector.clone())?,
            collector: collector.clone(),
            scope: InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            known: known(),
            metrics: metrics.clone(),
        };
        let task = tokio::spawn(telling.run(ReceiverStream::new(spans)));
        let sample_ratio = settings.sample_ratio;
        let queue = Queue { sender: sender.downgrade(), sample_ratio, metrics };
        Ok(Some(Self { sender, queue: Arc::new(queue), collector, task }))
    }

    /// Where spans go.
    pub fn spans(&self) -> Arc<dyn Spans> {
        Arc::clone(&self.queue) as _
    }

    /// Tells what still waits, in a short time, and stops.
    pub async fn stop(self) {
        let Self { sender, collector, mut task, .. } = self;
        drop(sender);
        collector.stop();
        if tokio::time::timeout(STOP_MAX, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// Asks the collector of the settings, if they name one, whether it takes spans; says where it is.
pub async fn look(settings: &Otlp) -> Result<Option<String>, TelemetryError> {
    let Some((url, collector)) = collector(settings)? else { return Ok(None) };
    let place = format!("{}{}", url.origin().ascii_serialization(), url.path());
    match collector.look(&url, settings.protocol).await {
        Ok(()) => Ok(Some(place)),
        Err(reason) => Err(TelemetryError::Refused { place, reason }),
    }
}

fn collector(settings: &Otlp) -> Result<Option<(Url, Collector)>, TelemetryError> {
    let Some(url) = settings.url() else { return Ok(None) };
    let url = Url::parse(&url).map_err(|it| TelemetryError::Collector(it.to_string()))?;
    let collector = Collector::new(&url, &settings.headers)?;
    Ok(Some((url, collector)))
}

impl Spans for Queue {
    fn samples(&self, trace: TraceId) -> bool {
        trace.is_among(self.sample_ratio)
    }

    fn record(&self, spans: Vec<Span>) {
        let sender = self.sender.upgrade();
        let is_lost = |span| sender.as_ref().is_none_or(|it| it.try_send(span).is_err());
        let n_lost = spans.into_iter().map(is_lost).filter(|it| *it).count();
        if let Some(metrics) = &self.metrics {
            metrics.spans_dropped(n_lost);
        }
    }
}

struct Telling {
    exporter: SpanExporter,
    collector: Collector,
    scope: InstrumentationScope,
    known: Known,
    metrics: Option<Arc<Metrics>>,
}

impl Telling {
    async fn run(self, spans: impl Stream<Item = Span>) {
        let batches = spans.chunks_timeout(BATCH_MAX, DELAY);
        tokio::pin!(batches);
        while let Some(batch) = batches.next().await {
            self.tell(batch).await;
        }
    }

    async fn tell(&self, batch: Vec<Span>) {
        let n_spans = batch.len();
        let spans = batch.into_iter().map(|it| say(it, &self.scope, &self.known)).collect();
        self.collector.begin();
        let is_told = tokio::select! {
            told = self.exporter.export(spans) => told.is_ok(),
            () = self.collector.given_up() => false,
        };
        match &self.metrics {
            Some(metrics) if is_told => metrics.spans_exported(n_spans),
            Some(metrics) => metrics.spans_dropped(n_spans),
            None => (),
        }
    }
}

/// The exporter of OpenTelemetry. All that it would look for in the environment is said here, as
/// the settings have it.
fn exporter(
    settings: &Otlp,
    url: &Url,
    collector: Collector,
) -> Result<SpanExporter, TelemetryError> {
    let retries = RetryPolicy::default()
        .with_max_retries(RETRIES_MAX)
        .with_initial_delay(PAUSE)
        .with_max_delay(PAUSE_MAX);
    let protocol = match settings.protocol {
        OtlpProtocol::Protobuf => Protocol::HttpBinary,
        OtlpProtocol::Json => Protocol::HttpJson,
    };
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_retry_policy(retries)
        .with_endpoint(url.as_str())
        .with_protocol(protocol)
        .with_timeout(BATCH_TIME_MAX)
        .build()
        .map_err(|it| TelemetryError::Collector(it.to_string()))?;
    exporter.set_resource(&resource(settings));
    Ok(exporter)
}

/// What is said of the program.
fn resource(settings: &Otlp) -> Resource {
    let said = settings.resource_attributes.iter().filter_map(|it| it.split_once('='));
    let own = [
        ("service.name", settings.service_name.as_str()),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("telemetry.sdk.language", "rust"),
    ];
    let attribute = |(name, value): (&str, &str)| KeyValue::new(name.to_owned(), value.to_owned());
    // What comes later counts.
    Resource::builder_empty()
        .with_attributes(said.map(attribute))
        .with_attributes(own.map(attribute))
        .build()
}

#[cfg(test)]
mod tests {
    use std::iter;

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
        let started = Exporter::start(&settings, Known::default, Some(Arc::clone(metrics)));
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
        let said = resource(&settings);
        let said = |name: &'static str| said.get(&name.into()).unwrap().to_string();
        assert_eq!((&*said("service.name"), &*said("a.b")), ("s", "c=d"));
    }
}

//! A collector of spans that remembers what it was told, in either encoding.

use std::{collections::BTreeMap, net::SocketAddr};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use crate::space::within;

/// The running collector.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) url: String,
    told: watch::Receiver<Told>,
}

/// All that came so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) headers: Vec<HeaderMap>,
    /// The bodies as they came.
    pub(crate) bodies: Vec<Vec<u8>>,
    pub(crate) spans: Vec<Span>,
    /// What was said of the program.
    pub(crate) resource: BTreeMap<String, Value>,
}

/// A span as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) name: String,
    pub(crate) kind: u64,
    /// From when and to when, in nanoseconds.
    pub(crate) when: (u64, u64),
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) has_failed: bool,
    pub(crate) flags: u64,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let listener = TcpListener::bind(any).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (say, told) = watch::channel(Told::default());
        let take = move |headers: HeaderMap, body: Bytes| {
            say.send_modify(|it| it.take(headers, body.to_vec()));
            std::future::ready(StatusCode::OK)
        };
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum_serve(listener, router).await });
        Self { url, told }
    }

    /// All that came so far.
    pub(crate) fn told(&self) -> Told {
        self.told.borrow().clone()
    }

    /// Waits until a dispatch has ended as its span says, and answers all that came.
    pub(crate) async fn dispatch_told(&self) -> Told {
        self.told_of(&["dispatch"]).await
    }

    /// Waits until there are spans of these names, and answers all that came.
    pub(crate) async fn told_of(&self, names: &[&str]) -> Told {
        let has = |told: &Told, name: &str| told.spans.iter().any(|it| it.name == name);
        let has_all = |told: &Told| names.iter().all(|it| has(told, it));
        within(self.told.clone().wait_for(has_all)).await.unwrap().clone()
    }
}

impl Told {
    /// The only span of that name.
    #[track_caller]
    pub(crate) fn span(&self, name: &str) -> &Span {
        let named: Vec<_> = self.spans.iter().filter(|it| it.name == name).collect();
        assert_eq!(named.len(), 1, "{name} among {:?}", self.names());
        named[0]
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.spans.iter().map(|it| it.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    fn take(&mut self, headers: HeaderMap, body: Vec<u8>) {
        match headers["content-type"].to_str().unwrap() {
            "application/json" => self.take_json(&serde_json::from_slice(&body).unwrap()),
            "application/x-protobuf" => self.take_protobuf(&body),
            other => panic!("{other} is no encoding of OTLP"),
        }
        self.headers.push(headers);
        self.bodies.push(body);
    }

    fn take_json(&mut self, body: &Value) {
        let resource = &body["resourceSpans"][0];
        self.resource = json_attributes(&resource["resource"]["attributes"]);
        let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
        let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
        let number = |it: &Value| it.as_str().unwrap().parse().unwrap();
        self.spans.extend(spans.iter().map(|it| Span {
            trace: text(&it["traceId"]),
            id: text(&it["spanId"]),
            parent: text(&it["parentSpanId"]),
            state: text(&it["traceState"]),
            name: text(&it["name"]),
            kind: it["kind"].as_u64().unwrap(),
            when: (number(&it["startTimeUnixNano"]), number(&it["endTimeUnixNano"])),
            attributes: json_attributes(&it["attributes"]),
            has_failed: it["status"]["code"] == 2,
            flags: it["flags"].as_u64().unwrap(),
        }));
    }

    /// By the numbers of `trace.proto`, `common.proto` and `resource.proto`.
    fn take_protobuf(&mut self, body: &[u8]) {
        for (_, resource_spans) in messages(body, 1) {
            for (number, part) in messages(resource_spans, 0) {
                match number {
                    1 => self.resource = attributes(part, 1),
                    2 => self.spans.extend(messages(part, 2).map(|it| span(it.1))),
                    other => panic!("field {other} of ResourceSpans"),
                }
            }
        }
    }
}

async fn axum_serve(listener: TcpListener, router: Router) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        let stream = hyper_util::rt::TokioIo::new(stream);
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(stream, service);
        // Who goes away in the middle has gone.
        tokio::spawn(async move { serving.await.ok() });
    }
}

fn json_attributes(list: &Value) -> BTreeMap<String, Value> {
    let value = |it: &Value| {
        let it = it.as_object().unwrap();
        match it.get("intValue") {
            Some(number) => json!(number.as_str().unwrap().parse::<i64>().unwrap()),
            None => it.values().next().unwrap().clone(),
        }
    };
    let pair = |it: &Value| (it["key"].as_str().unwrap().to_owned(), value(&it["value"]));
    list.as_array().unwrap().iter().map(pair).collect()
}

fn span(bytes: &[u8]) -> Span {
    let mut span = Span::default();
    for (number, field) in fields(bytes) {
        match (number, field) {
            (1, Field::Bytes(it)) => span.trace = hex(it),
            (2, Field::Bytes(it)) => span.id = hex(it),
            (3, Field::Bytes(it)) => span.state = text(it),
            (4, Field::Bytes(it)) => span.parent = hex(it),
            (5, Field::Bytes(it)) => span.name = text(it),
            (6, Field::Number(it)) => span.kind = it,
            (7, Field::Fixed64(it)) => span.when.0 = it,
            (8, Field::Fixed64(it)) => span.when.1 = it,
            (9, Field::Bytes(it)) => span.attributes.extend([key_value(it)]),
            (15, Field::Bytes(it)) => {
                span.has_failed = fields(it).contains(&(3, Field::Number(2)));
            }
            (16, Field::Fixed32(it)) => span.flags = it.into(),
            other => panic!("{other:?} is no field of Span"),
        }
    }
    span
}

fn attributes(bytes: &[u8], number: u64) -> BTreeMap<String, Value> {
    messages(bytes, number).map(|it| key_value(it.1)).collect()
}

fn key_value(bytes: &[u8]) -> (String, Value) {
    let (mut key, mut value) = (String::new(), Value::Null);
    for (number, field) in fields(bytes) {
        match (number, field) {
            (1, Field::Bytes(it)) => key = text(it),
            (2, Field::Bytes(it)) => value = any_value(it),
            other => panic!("{other:?} is no field of KeyValue"),
        }
    }
    (key, value)
}

fn any_value(bytes: &[u8]) -> Value {
    match fields(bytes).as_slice() {
        [(1, Field::Bytes(it))] => json!(text(it)),
        [(2, Field::Number(it))] => json!(*it == 1),
        [(3, Field::Number(it))] => json!(it),
        other => panic!("{other:?} is no AnyValue of ours"),
    }
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Field<'a> {
    Number(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The fields of a message with the number, or all if that is 0, which must be bytes.
fn messages(bytes: &[u8], number: u64) -> impl Iterator<Item = (u64, &[u8])> {
    let chosen = move |it: &(u64, Field<'_>)| number == 0 || it.0 == number;
    fields(bytes).into_iter().filter(chosen).map(|(number, field)| {
        let Field::Bytes(it) = field else { panic!("{field:?} is no message") };
        (number, it)
    })
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Fixed64(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                Field::Bytes(take(&mut bytes, length))
            }
            5 => Field::Fixed32(u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap())),
            other => panic!("{other} is no wire type"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number without an end");
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

fn hex(bytes: &[u8]) -> String {
    let digit = |it: u8| char::from_digit(it.into(), 16).unwrap();
    bytes.iter().flat_map(|it| [digit(it >> 4), digit(it & 15)]).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

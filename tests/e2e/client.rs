//! rmcp's client over each transport, in each revision of the protocol.

use std::{collections::BTreeMap, pin::Pin};

use parallel_dispatch::model::DispatchId;
use rmcp::{
    ClientHandler, ClientLifecycleMode, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest,
        Implementation, ProgressNotificationParam, ProtocolVersion, Tool,
    },
    serve_client, serve_client_with_lifecycle,
    service::{
        NotificationContext, PeerRequestOptions, RequestHandle, RunningService, RxJsonRpcMessage,
        TxJsonRpcMessage,
    },
    transport::{
        IntoTransport, StreamableHttpClientTransport,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    schema,
    space::{Program, TestSpace, within},
    sse::EventStream,
};

/// The longest answer of a tool, in characters.
const ANSWER_CHARS_MAX: usize = 40_000;

/// A way in which clients reach the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    Stdio,
    Http,
    Sse,
}

type Session = RunningService<RoleClient, Ear>;

/// An open session with the program.
pub(crate) struct Client {
    session: Session,
    outputs: BTreeMap<String, Value>,
    /// Ends with the session.
    program: Program,
}

/// A tool's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) is_error: bool,
    pub(crate) content: Value,
}

/// A client that remembers the progress that it was told.
struct Ear {
    config: ClientConfig,
    progress: watch::Sender<Vec<ProgressNotificationParam>>,
}

impl Face {
    /// The revisions that this face serves, oldest first.
    pub(crate) fn versions(self) -> Vec<ProtocolVersion> {
        let mut versions = vec![
            ProtocolVersion::V_2024_11_05,
            ProtocolVersion::V_2025_03_26,
            ProtocolVersion::V_2025_06_18,
            ProtocolVersion::V_2025_11_25,
        ];
        if self != Self::Sse {
            versions.push(ProtocolVersion::V_2026_07_28);
        }
        versions
    }

    /// Starts the program and opens a session with it.
    pub(crate) async fn open(self, space: &TestSpace, version: &ProtocolVersion) -> Client {
        let (session, program) = match self {
            Self::Stdio => return Client::over_stdio(space.start(&["serve"]), version).await,
            Self::Http => {
                let (program, url) = space.serve_http().await;
                return Client::over_http(program, &url, version).await;
            }
            Self::Sse => {
                let (program, url) = space.serve_http().await;
                (greet(over_sse(&url).await, version).await, program)
            }
        };
        Client::new(session, program).await
    }
}

impl Client {
    /// Opens a session with a program that serves its standard streams.
    pub(crate) async fn over_stdio(mut program: Program, version: &ProtocolVersion) -> Self {
        let session = greet(program.streams(), version).await;
        Self::new(session, program).await
    }

    /// Opens a session with a program that serves HTTP at `url`.
    pub(crate) async fn over_http(program: Program, url: &str, version: &ProtocolVersion) -> Self {
        let config = StreamableHttpClientTransportConfig::with_uri(format!("{url}/mcp"));
        let transport = StreamableHttpClientTransport::with_client(http(), config);
        Self::new(greet(transport, version).await, program).await
    }

    async fn new(session: Session, program: Program) -> Self {
        let mut client = Self { session, outputs: BTreeMap::new(), program };
        let output = |it: &Tool| json!(it.output_schema.clone().unwrap());
        let tools = client.tools().await;
        client.outputs = tools.iter().map(|it| (it.name.to_string(), output(it))).collect();
        client
    }

    /// The program behind the session; nothing more is said to it.
    pub(crate) fn into_program(self) -> Program {
        self.program
    }

    /// Kills the program as a crash of the machine would.
    pub(crate) async fn kill(self) {
        self.program.kill().await;
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Waits until the program has logged a line with `part`.
    pub(crate) async fn logged(&mut self, part: &str) {
        self.program.line_with(part).await;
    }

    /// What the server says of itself: as JSON, for the types differ between the revisions.
    pub(crate) fn server(&self) -> Value {
        json!(self.session.peer_info().unwrap())
    }

    pub(crate) async fn tools(&self) -> Vec<Tool> {
        within(self.session.list_all_tools()).await.unwrap()
    }

    /// Calls a tool, and checks what is promised of every answer.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Answer {
        let result = within(self.session.call_tool(params(tool, arguments))).await;
        let result = result.unwrap();
        let text = &result.content[0].as_text().unwrap().text;
        let content = result.structured_content.unwrap();
        assert_eq!(result.content.len(), 1);
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), content);
        assert!(text.chars().count() <= ANSWER_CHARS_MAX, "{tool} answers too much");
        let is_error = result.is_error.unwrap_or(false);
        if !is_error {
            schema::check(&content, &self.outputs[tool]);
        }
        Answer { is_error, content }
    }

    /// Calls a tool that must do what it is asked.
    pub(crate) async fn ask(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.call(tool, arguments).await;
        assert!(!answer.is_error, "{tool} refused: {}", answer.content);
        answer.content
    }

    /// The same, with `_meta` that says so.
    pub(crate) async fn ask_as(&self, tool: &str, arguments: Value, meta: Value) -> Value {
        let mut params = params(tool, arguments);
        params.meta = Some(serde_json::from_value(meta).unwrap());
        let result = within(self.session.call_tool(params)).await.unwrap();
        assert_ne!(result.is_error, Some(true), "{tool} refused: {result:?}");
        result.structured_content.unwrap()
    }

    /// Calls a tool that must do what it is asked, of a program that may crash meanwhile.
    pub(crate) async fn ask_if_it_lives(&self, tool: &str, arguments: Value) -> Option<Value> {
        let result = within(self.session.call_tool(params(tool, arguments))).await.ok()?;
        assert_ne!(result.is_error, Some(true), "{tool} refused: {result:?}");
        result.structured_content
    }

    /// Calls a tool that must refuse, and answers the codes of all faults.
    pub(crate) async fn refusal(&self, tool: &str, arguments: Value) -> Vec<String> {
        let answer = self.call(tool, arguments).await;
        assert!(answer.is_error, "{tool} did it: {}", answer.content);
        let (first, all) = (&answer.content["error"], answer.content["errors"].as_array().unwrap());
        assert_eq!(first, &all[0]);
        assert_eq!(answer.content["error_count"], all.len());
        assert!(all.iter().all(|it| it["message"].is_string() && it["hint"].is_string()));
        assert!(answer.content.to_string().len() <= 4_096);
        all.iter().map(|it| it["code"].as_str().unwrap().to_owned()).collect()
    }

    /// Calls a tool that there is not, and answers the error's message.
    pub(crate) async fn call_unknown(&self, tool: &str) -> String {
        let result = within(self.session.call_tool(params(tool, json!({})))).await;
        result.unwrap_err().to_string()
    }

    /// Calls a tool without waiting for its answer.
    pub(crate) async fn begin(&self, tool: &str, arguments: Value) -> RequestHandle<RoleClient> {
        let call = CallToolRequest::new(params(tool, arguments));
        let (request, options) =
            (ClientRequest::CallToolRequest(call), PeerRequestOptions::no_options());
        within(self.session.send_cancellable_request(request, options)).await.unwrap()
    }

    /// Waits until so many progress notifications came, and answers them.
    pub(crate) async fn progress(&self, n_told: usize) -> Vec<ProgressNotificationParam> {
        let mut told = self.session.service().progress.subscribe();
        within(told.wait_for(|it| it.len() >= n_told)).await.unwrap().clone()
    }
}

impl Ear {
    fn new(version: &ProtocolVersion) -> Self {
        let who = Implementation::new("test", "1");
        let mut config = ClientConfig::new(ClientCapabilities::default(), who);
        config.protocol_version = version.clone();
        Self { config, progress: watch::Sender::new(Vec::new()) }
    }
}

impl ClientHandler for Ear {
    fn get_info(&self) -> ClientConfig {
        self.config.clone()
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.progress.send_modify(|it| it.push(params));
    }
}

/// The id of a dispatch in an answer.
pub(crate) fn id_of(result: &Value) -> DispatchId {
    result["dispatch_id"].as_str().unwrap().parse().unwrap()
}

/// Opens a session in the way of the revision.
fn greet<T, E, A>(
    transport: T,
    version: &ProtocolVersion,
) -> Pin<Box<impl Future<Output = Session> + use<T, E, A>>>
where
    T: IntoTransport<RoleClient, E, A>,
    E: std::error::Error + Send + Sync + 'static,
{
    let version = version.clone();
    Box::pin(async move {
        let ear = Ear::new(&version);
        let session = if version == ProtocolVersion::V_2026_07_28 {
            let preferred_versions = vec![version.clone()];
            let discover = ClientLifecycleMode::Discover { preferred_versions };
            within(serve_client_with_lifecycle(ear, transport, discover)).await
        } else {
            within(serve_client(ear, transport)).await
        };
        let session = session.unwrap();
        assert_eq!(session.peer_info().unwrap().protocol_version, version);
        session
    })
}

fn params(tool: &str, arguments: Value) -> CallToolRequestParams {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments)
}

pub(crate) fn http() -> reqwest::Client {
    // A second provider is refused, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Both directions of a legacy session, as rmcp's client takes them.
async fn over_sse(
    url: &str,
) -> (
    futures::channel::mpsc::UnboundedSender<TxJsonRpcMessage<RoleClient>>,
    futures::channel::mpsc::UnboundedReceiver<RxJsonRpcMessage<RoleClient>>,
) {
    let client = http();
    let mut events = EventStream::open(&client, format!("{url}/sse")).await;
    let endpoint = format!("{url}{}", events.endpoint);
    let (say, mut to_say) = futures::channel::mpsc::unbounded();
    let (hear, heard) = futures::channel::mpsc::unbounded();
    tokio::spawn(async move {
        while let Some((name, data)) = events.event_whenever().await {
            // Comments keep the stream alive and say nothing.
            if name == "message"
                && hear.unbounded_send(serde_json::from_str(&data).unwrap()).is_err()
            {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(message) = futures::StreamExt::next(&mut to_say).await {
            let body = serde_json::to_string(&message).unwrap();
            let post = client.post(&endpoint).header("content-type", "application/json");
            assert_eq!(post.body(body).send().await.unwrap().status(), 202);
        }
    });
    (say, heard)
}

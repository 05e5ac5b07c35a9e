//! rmcp's client over each transport, in each revision of the protocol.

use std::{collections::BTreeMap, pin::Pin};

use parallel_dispatch::model::DispatchId;
use rmcp::{
    ClientHandler, ClientLifecycleMode, ErrorData, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientConfig,
        ClientRequest, ElicitRequestParams, ElicitResult, ElicitationAction, Implementation,
        ProgressNotificationParam, ProtocolVersion, ResourceUpdatedNotificationParam,
        ServerNotification, SubscribeRequestParams, SubscriptionFilter, Tool,
    },
    serve_client, serve_client_with_lifecycle,
    service::{
        NotificationContext, Peer, PeerRequestOptions, RequestContext, RequestHandle,
        RunningService, RxJsonRpcMessage, TxJsonRpcMessage,
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

/// A client that remembers what it was told, and what its user was asked: who says `go` to
/// everything.
struct Ear {
    config: ClientConfig,
    progress: watch::Sender<Vec<ProgressNotificationParam>>,
    asked: watch::Sender<Vec<String>>,
    /// The resources that changed, and `lists` for their lists.
    news: watch::Sender<Vec<String>>,
}

/// What stands for changed lists among changed resources.
pub(crate) const LISTS: &str = "lists";

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
        self.open_as(space, version, ClientCapabilities::default()).await
    }

    /// The same for a client that says that it can do more.
    pub(crate) async fn open_as(
        self,
        space: &TestSpace,
        version: &ProtocolVersion,
        can: ClientCapabilities,
    ) -> Client {
        let who = (version, can);
        let (session, program) = match self {
            Self::Stdio => {
                let mut program = space.start(&["serve"]);
                (greet(program.streams(), who).await, program)
            }
            Self::Http => {
                let (program, url) = space.serve_http().await;
                let config = StreamableHttpClientTransportConfig::with_uri(format!("{url}/mcp"));
                let transport = StreamableHttpClientTransport::with_client(http(), config);
                (greet(transport, who).await, program)
            }
            Self::Sse => {
                let (program, url) = space.serve_http().await;
                (greet(over_sse(&url).await, who).await, program)
            }
        };
        Client::new(session, program).await
    }
}

impl Client {
    /// Opens a session with a program that serves its standard streams.
    pub(crate) async fn over_stdio(mut program: Program, version: &ProtocolVersion) -> Self {
        let who = (version, ClientCapabilities::default());
        let session = greet(program.streams(), who).await;
        Self::new(session, program).await
    }

    /// Opens a session with a program that serves HTTP at `url`.
    pub(crate) async fn over_http(program: Program, url: &str, version: &ProtocolVersion) -> Self {
        let config = StreamableHttpClientTransportConfig::with_uri(format!("{url}/mcp"));
        let transport = StreamableHttpClientTransport::with_client(http(), config);
        let who = (version, ClientCapabilities::default());
        Self::new(greet(transport, who).await, program).await
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
        let links = &result.content[1..];
        assert!(links.iter().all(|it| it.as_resource_link().is_some()), "{links:?}");
        assert!(links.is_empty() || self.version() >= ProtocolVersion::V_2025_06_18);
        let n_chars = |it| serde_json::to_string(it).unwrap().chars().count();
        let in_links: usize = links.iter().map(n_chars).sum();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), content);
        let n_chars = text.chars().count() + in_links;
        assert!(n_chars <= ANSWER_CHARS_MAX, "{tool} answers too much");
        let is_error = result.is_error.unwrap_or(false);
        if !is_error {
            schema::check(&content, &self.outputs[tool]);
        }
        Answer { is_error, content }
    }

    /// The resources that an answer links to.
    pub(crate) async fn links(&self, tool: &str, arguments: Value) -> Vec<String> {
        let result = within(self.session.call_tool(params(tool, arguments))).await.unwrap();
        let links = result.content.iter().filter_map(|it| it.as_resource_link());
        links.map(|it| it.uri.clone()).collect()
    }

    /// The session itself.
    pub(crate) fn peer(&self) -> &Peer<RoleClient> {
        self.session.peer()
    }

    /// The revision that is spoken.
    pub(crate) fn version(&self) -> ProtocolVersion {
        self.session.peer_info().unwrap().protocol_version.clone()
    }

    /// Hears of changes of these resources and of the lists from now on, in the way of the
    /// revision.
    pub(crate) async fn follow(&self, uris: &[String]) {
        if self.version() < ProtocolVersion::V_2026_07_28 {
            for uri in uris {
                let subscribe = SubscribeRequestParams::new(uri.clone());
                #[expect(deprecated, reason = "it is what these revisions have")]
                within(self.session.subscribe(subscribe)).await.unwrap();
            }
            within(self.session.list_resources(None)).await.unwrap();
            return;
        }
        let filter = SubscriptionFilter::builder().resources_list_changed();
        let filter = filter.resource_subscriptions(uris.iter().cloned()).build();
        let mut subscription = within(self.session.listen(filter.clone())).await.unwrap();
        assert_eq!(subscription.acknowledged(), &filter);
        let news = self.session.service().news.clone();
        tokio::spawn(async move {
            while let Ok(Some(notification)) = subscription.next().await {
                let told = if let ServerNotification::ResourceUpdatedNotification(it) = notification
                {
                    it.params.uri
                } else {
                    // Nothing else was asked for.
                    LISTS.to_owned()
                };
                news.send_modify(|it| it.push(told));
            }
        });
    }

    /// Waits until each of these was told of `n` times at least, and answers all that was told.
    pub(crate) async fn news(&self, of: &[&str], n: usize) -> Vec<String> {
        let mut news = self.session.service().news.subscribe();
        let count = |all: &[String], wanted: &str| all.iter().filter(|it| *it == wanted).count();
        let has_all = |all: &Vec<String>| of.iter().all(|it| count(all, it) >= n);
        within(news.wait_for(has_all)).await.unwrap().clone()
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

    /// Calls a tool and answers whatever comes first, be it a task or a question.
    pub(crate) async fn call_once(&self, tool: &str, arguments: Value) -> CallToolResponse {
        within(self.session.call_tool_once(params(tool, arguments))).await.unwrap()
    }

    /// What the user was asked so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.session.service().asked.borrow().clone()
    }

    /// Waits until so many progress notifications came, and answers them.
    pub(crate) async fn progress(&self, n_told: usize) -> Vec<ProgressNotificationParam> {
        let mut told = self.session.service().progress.subscribe();
        within(told.wait_for(|it| it.len() >= n_told)).await.unwrap().clone()
    }
}

impl Ear {
    fn new(version: &ProtocolVersion, can: ClientCapabilities) -> Self {
        let mut config = ClientConfig::new(can, Implementation::new("test", "1"));
        config.protocol_version = version.clone();
        let (progress, asked) = (watch::Sender::new(Vec::new()), watch::Sender::new(Vec::new()));
        Self { config, progress, asked, news: watch::Sender::new(Vec::new()) }
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

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let asked = serde_json::to_string(&request).unwrap();
        self.asked.send_modify(|it| it.push(asked));
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "decision": "go" })))
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.news.send_modify(|it| it.push(params.uri));
    }

    async fn on_resource_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.news.send_modify(|it| it.push(LISTS.to_owned()));
    }
}

/// The id of a dispatch in an answer.
pub(crate) fn id_of(result: &Value) -> DispatchId {
    result["dispatch_id"].as_str().unwrap().parse().unwrap()
}

/// Opens a session in the way of the revision.
fn greet<T, E, A>(
    transport: T,
    (version, can): (&ProtocolVersion, ClientCapabilities),
) -> Pin<Box<impl Future<Output = Session> + use<T, E, A>>>
where
    T: IntoTransport<RoleClient, E, A>,
    E: std::error::Error + Send + Sync + 'static,
{
    let version = version.clone();
    Box::pin(async move {
        let ear = Ear::new(&version, can);
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

//! A server of the library alone, in a process of its own: the reference.

use std::{
    io::Write as _,
    process::{Command, Stdio as Pipe},
    sync::{Arc, OnceLock},
};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ServerCapabilities,
        ServerConfig,
    },
    service::RequestContext,
    transport::{
        stdio,
        streamable_http_server::{
            StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
        },
    },
};
use serde_json::Value;

use super::{
    Failed,
    wire::{Http, Running, Stdio},
};

/// The word that makes this binary the reference over stdio.
pub(super) const OVER_STDIO: &str = "bare-stdio";
/// The word that makes this binary the reference over HTTP.
pub(super) const OVER_HTTP: &str = "bare-http";

/// Answers what it was told to, in text and as structured content.
#[derive(Clone, Default)]
struct Echo(Arc<OnceLock<(String, Value)>>);

impl ServerHandler for Echo {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        if request.name == "echo" {
            return Ok(answer(arguments.to_string(), arguments).into());
        }
        let (text, value) = self.0.get_or_init(|| (arguments.to_string(), arguments));
        Ok(answer(text.clone(), value.clone()).into())
    }
}

fn answer(text: String, value: Value) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(value);
    result
}

pub(super) fn over_stdio() -> Result<(), Failed> {
    tokio::runtime::Runtime::new()?.block_on(async {
        Box::pin(Echo::default().serve(stdio())).await?.waiting().await?;
        Ok(())
    })
}

pub(super) fn over_http() -> Result<(), Failed> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let config = StreamableHttpServerConfig::default().with_json_response(true);
        let (echo, sessions) = (Echo::default(), Arc::new(NeverSessionManager::default()));
        let service = StreamableHttpService::new(move || Ok(echo.clone()), sessions, config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{}", listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                if let Err(error) = served.await {
                    eprintln!("a connection broke off: {error}");
                }
            });
        }
    })
}

/// The reference over stdio.
pub(super) fn start_stdio() -> Result<Stdio, Failed> {
    Stdio::new(command(OVER_STDIO)?.spawn()?)
}

/// The reference over HTTP.
pub(super) fn start_http() -> Result<(Running, Http), Failed> {
    let mut child = command(OVER_HTTP)?.spawn()?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    let running = Running(child);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
    Ok((running, Http::connect(line.trim())?))
}

fn command(word: &str) -> Result<Command, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(word).stdin(Pipe::piped()).stdout(Pipe::piped()).stderr(Pipe::null());
    Ok(command)
}

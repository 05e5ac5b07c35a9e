//! `serve`: the MCP server, over stdio or HTTP, until its client or the system ends it.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{access, descriptors, renewal::Renewal, secret, service::Service, signals};
use crate::{
    cli::{Exit, ServeArguments},
    config::{Role, Settings},
    mcp::DispatchServer,
    runtime::Recover,
    transport::{self, Glimpse, HttpOptions, HttpServer},
    web,
};

/// What those see of `/health` who show no token.
const GLIMPSE: Glimpse = Glimpse { path: "/health", fields: &["status", "version"] };
/// How long putting the work away may take, all in all.
const STOP_MAX: Duration = Duration::from_secs(8);

pub(super) async fn serve(arguments: ServeArguments, settings: Settings) -> anyhow::Result<Exit> {
    let address = arguments.http;
    // What is wrong with a secret is said before any work is taken up.
    let options = address.map(|_| options(&settings)).transpose()?;
    let shutdown = CancellationToken::new();
    let stop = CancellationToken::new();
    let interrupted = signals::interrupted();
    let service = Service::start(&settings, Role::Serve, Recover::AtStart, shutdown.clone())?;
    let (handle, monitored) = (service.handle.clone(), service.monitored());
    let load = service.load();
    let bytes_max = settings.limits.document_bytes_max;
    let seal = secret::seal(&settings.state_dir)?;
    let handler = DispatchServer::new(handle.clone(), stop.clone(), bytes_max, seal);
    let serving = async {
        match address.zip(options) {
            None => {
                let serving = Box::pin(transport::serve_stdio(handler, stop.clone()));
                serving.await.context("failed to serve stdio")
            }
            Some((address, mut options)) => {
                descriptors::raise();
                options.load = load;
                let is_encrypted = options.tls.is_some();
                let renewal = Renewal::new(&settings.server, &options);
                let server = HttpServer::bind(address, options).await?;
                let address = server.local_addr();
                info!(is_encrypted, %address, "serving /mcp, /sse, /health and /metrics");
                let monitored = monitored.context("nothing is counted")?;
                let extra = web::router(handle.clone(), monitored);
                // Whoever leaves ends it.
                let mut renewing = JoinSet::new();
                renewing.spawn(renewal.run());
                let new_handler = move || handler.for_session();
                server.serve(new_handler, extra, stop.clone()).await.context("failed to serve HTTP")
            }
        }
    };
    let mut serving = Box::pin(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        () = interrupted => {
            stop.cancel();
            // The answers that are on their way still go out.
            tokio::time::timeout(STOP_MAX / 2, serving).await.unwrap_or(Ok(()))
        }
    };
    shutdown.cancel();
    let _late = tokio::time::timeout(STOP_MAX, service.stop()).await;
    served.map(|()| Exit::Success)
}

fn options(settings: &Settings) -> anyhow::Result<HttpOptions> {
    let server = &settings.server;
    let (access, warnings) = access::access(server)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(HttpOptions {
        access,
        glimpses: vec![GLIMPSE],
        tls: access::tls(server)?,
        allowed_hosts: server.allowed_hosts.clone(),
        allowed_origins: server.allowed_origins.clone(),
        connections_max: server.connections_max as usize,
        sessions_max: server.sessions_max as usize,
        ..HttpOptions::default()
    })
}

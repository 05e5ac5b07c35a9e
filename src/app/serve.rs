//! `serve`: the MCP server, over stdio or HTTP, until its client or the system ends it.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use axum::Router;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{access, descriptors, renewal::Renewal, secret, service::Service, signals};
use crate::{
    cli::{Exit, ServeArguments},
    config::{Role, Settings},
    mcp::DispatchServer,
    runtime::Recover,
    transport::{self, Glimpse, HttpOptions, HttpServer, Load},
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
    // A place that is taken is found out before any work is taken up, too.
    let bound = match address.zip(options) {
        Some((address, options)) => Some(Bound::new(address, options, &settings).await?),
        None => None,
    };
    let service = Service::start(&settings, Role::Serve, Recover::AtStart, shutdown.clone())?;
    let bytes_max = settings.limits.document_bytes_max;
    let handle = service.handle.clone();
    let seal = secret::seal(&settings.state_dir)?;
    let handler = DispatchServer::new(handle.clone(), stop.clone(), bytes_max, seal);
    let monitored = bound.as_ref().and_then(|it| service.monitored(&it.load));
    let serving = async {
        match bound {
            None => {
                let serving = Box::pin(transport::serve_stdio(handler, stop.clone()));
                serving.await.context("failed to serve stdio")
            }
            Some(bound) => {
                let monitored = monitored.context("nothing is counted")?;
                bound.serve(handler, web::router(handle, monitored), stop.clone()).await
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

/// A server that has its place, and does not serve yet.
struct Bound {
    server: HttpServer,
    is_encrypted: bool,
    load: Load,
    renewal: Renewal,
}

impl Bound {
    async fn new(
        address: SocketAddr,
        options: HttpOptions,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        descriptors::raise();
        let (is_encrypted, load) = (options.tls.is_some(), options.load.clone());
        let renewal = Renewal::new(&settings.server, &options);
        let server = HttpServer::bind(address, options).await?;
        Ok(Self { server, is_encrypted, load, renewal })
    }

    async fn serve(
        self,
        handler: DispatchServer,
        extra: Router,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let Self { server, is_encrypted, renewal, .. } = self;
        let address = server.local_addr();
        info!(is_encrypted, %address, "serving /mcp, /sse, /health and /metrics");
        // Whoever leaves ends it.
        let mut renewing = JoinSet::new();
        renewing.spawn(renewal.run());
        let new_handler = move || handler.for_session();
        server.serve(new_handler, extra, stop).await.context("failed to serve HTTP")
    }
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

//! `serve`: the MCP server, over stdio or HTTP, until its client or the system ends it.

use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{service::Service, signals};
use crate::{
    cli::{Exit, ServeArguments},
    config::{Role, Settings},
    mcp::DispatchServer,
    runtime::Recover,
    transport::{self, HttpOptions, HttpServer},
    web,
};

/// How long putting the work away may take, all in all.
const STOP_MAX: Duration = Duration::from_secs(8);

pub(super) async fn serve(arguments: ServeArguments, settings: Settings) -> anyhow::Result<Exit> {
    let shutdown = CancellationToken::new();
    let stop = CancellationToken::new();
    let interrupted = signals::interrupted();
    let service = Service::start(&settings, Role::Serve, Recover::AtStart, shutdown.clone())?;
    let (handle, monitored) = (service.handle.clone(), service.monitored());
    let bytes_max = settings.limits.document_bytes_max;
    let serving = async {
        match arguments.http {
            None => {
                let server = DispatchServer::new(handle, stop.clone(), bytes_max);
                let serving = Box::pin(transport::serve_stdio(server, stop.clone()));
                serving.await.context("failed to serve stdio")
            }
            Some(address) => {
                let server = HttpServer::bind(address, options(&settings)).await?;
                let address = server.local_addr();
                info!(%address, "serving /mcp, /sse, /health and /metrics");
                let monitored = monitored.context("nothing is counted")?;
                let extra = web::router(handle.clone(), monitored);
                let closing = stop.clone();
                let new_handler =
                    move || DispatchServer::new(handle.clone(), closing.clone(), bytes_max);
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

fn options(settings: &Settings) -> HttpOptions {
    HttpOptions {
        allowed_origins: settings.server.allowed_origins.clone(),
        connections_max: settings.server.connections_max as usize,
        sessions_max: settings.server.sessions_max as usize,
        ..HttpOptions::default()
    }
}

//! The HTTP client of one upstream: its connections, and where it may go.

use reqwest::{Client, Url, redirect};

use super::{UpstreamError, UpstreamSettings};
use crate::model::FailureCode;

/// Keeps connections open between calls; goes to the address in the settings and nowhere else.
pub(super) fn build(settings: &UpstreamSettings) -> Result<Client, UpstreamError> {
    build_client(settings).map_err(|error| {
        let message = format!("failed to set up HTTP: {}", error.without_url());
        UpstreamError::new(FailureCode::UpstreamUnavailable, &message)
    })
}

fn build_client(settings: &UpstreamSettings) -> Result<Client, reqwest::Error> {
    install_tls();
    let mut builder = Client::builder()
        .pool_max_idle_per_host(settings.max_concurrent.max(1))
        .tcp_nodelay(true)
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(settings.connect_timeout);
    let url = settings.transport.url().and_then(|it| Url::parse(it).ok());
    if url.as_ref().is_some_and(is_loopback) {
        builder = builder.no_proxy();
    }
    if url.as_ref().is_some_and(|it| it.scheme() == "http") {
        // Reading the system's certificates takes longer than all the rest of the start.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// Chooses ring for the whole process, unless that was done before.
fn install_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::ring::default_provider().install_default().is_err()
    {
        tracing::trace!("another thread chose the TLS provider first");
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|it| it.is_loopback())
}

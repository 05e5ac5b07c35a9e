//! Is anything there? A look at an upstream from outside, without opening a session.

use std::time::Duration;

use reqwest::{Client, Url};
use serde_json::Value;

/// What stands at an upstream's address.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Whether anything listens there.
    pub presence: Presence,
    /// What `GET /health` answered, if it did; judge by the status, the rest is for people.
    pub health: Option<Health>,
}

/// Whether anything listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Connections are refused, or there is no such host.
    Nothing,
    /// Something takes connections, be it healthy or not.
    Something,
}

/// An answer to `GET /health`.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// The HTTP status.
    pub status: u16,
    /// The body, if it is JSON of at most 64 KiB.
    pub body: Option<Value>,
}

/// A server that takes longer than this to answer `/health` is there, but not well. It is less than
/// whoever asks for the own `/health` waits, so that what was found out is kept.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1_500);
const BODY_BYTES_MAX: usize = 64 * 1024;

impl Probe {
    pub(super) const PRESENT: Self = Self { presence: Presence::Something, health: None };
    const ABSENT: Self = Self { presence: Presence::Nothing, health: None };

    pub(super) async fn of(http: &Client, endpoint: &str, timeout: Duration) -> Self {
        let Some(url) = health_url(endpoint) else { return Self::ABSENT };
        let look = async {
            match http.get(url).send().await {
                Ok(response) => Self::from_response(response).await,
                Err(error) if error.is_connect() && !error.is_timeout() => Self::ABSENT,
                Err(_) => Self::PRESENT,
            }
        };
        tokio::time::timeout(timeout.min(PROBE_TIMEOUT), look).await.unwrap_or(Self::PRESENT)
    }

    async fn from_response(mut response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        let body = serde_json::from_slice(&body).ok();
        Self { presence: Presence::Something, health: Some(Health { status, body }) }
    }
}

/// The health page beside an endpoint: `…/mcp` becomes `…/health`.
fn health_url(endpoint: &str) -> Option<Url> {
    let mut url = Url::parse(endpoint).ok()?;
    url.set_query(None);
    let path = url.path().trim_end_matches('/');
    let base = path.rsplit_once('/').map_or("", |it| it.0);
    let path = format!("{base}/health");
    url.set_path(&path);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_stands_beside_the_endpoint() {
        let made = |text| health_url(text).unwrap().to_string();
        assert_eq!(made("http://localhost:8051/mcp"), "http://localhost:8051/health");
        assert_eq!(made("https://host/archon/mcp/?x=1"), "https://host/archon/health");
    }
}

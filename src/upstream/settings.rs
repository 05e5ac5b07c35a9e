//! What an upstream is reached by, and what is granted to it.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures::channel::mpsc;
use reqwest::Url;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};

use crate::model::text;

/// The client's end of a connection in this process: messages are handed over as they are, and
/// nobody writes or reads JSON.
pub type MemoryLink = (mpsc::Sender<ClientJsonRpcMessage>, mpsc::Receiver<ServerJsonRpcMessage>);

/// Opens a connection to an upstream in this process; called once a session.
pub type Connect = Arc<dyn Fn() -> MemoryLink + Send + Sync>;

/// How to reach one upstream, and its limits.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Its name in the settings, for messages and traces.
    pub name: String,
    /// Where it is.
    pub transport: UpstreamTransport,
    /// How its sessions begin.
    pub protocol: Era,
    /// The longest that one call may take, whatever the caller grants.
    pub call_timeout: Duration,
    /// The longest that opening a connection, and with it a session, may take.
    pub connect_timeout: Duration,
    /// How many calls may be in flight at once; further ones wait their turn.
    pub max_concurrent: usize,
    /// The largest answer that is let in, in bytes after decoding.
    pub response_bytes_max: usize,
}

/// Where an upstream is.
#[derive(Clone)]
pub enum UpstreamTransport {
    /// Streamable HTTP.
    Http {
        /// The MCP endpoint, as [`normalise_url`] gives it.
        url: String,
        /// Sent with every request; values are never logged.
        headers: BTreeMap<String, String>,
    },
    /// A server in this process.
    InMemory {
        /// Opens a connection to it.
        connect: Connect,
    },
}

/// How a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// With `initialize`, always: some servers hang for good on a `server/discover` probe.
    Legacy,
    /// With `server/discover`; with `initialize` if the server does not know that.
    Auto,
}

/// Why a text is not the URL of an upstream. It does not repeat the text, which may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL.
    #[error("it is not a URL such as http://localhost:8051")]
    NotAUrl,
    /// Another scheme than the two that are spoken.
    #[error("its scheme must be http or https")]
    Scheme,
    /// A user name or password in the URL would end up in logs.
    #[error("it must hold no user name and no password; set a header instead")]
    Credentials,
}

impl UpstreamSettings {
    /// The largest answer unless set, in bytes.
    pub const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

    /// Settings with the usual limits: 300 s a call, 10 s to connect, 256 calls at once, 16 MiB.
    pub fn new(name: impl Into<String>, transport: UpstreamTransport, protocol: Era) -> Self {
        Self {
            name: name.into(),
            transport,
            protocol,
            call_timeout: Duration::from_mins(5),
            connect_timeout: Duration::from_secs(10),
            max_concurrent: 256,
            response_bytes_max: Self::RESPONSE_BYTES_MAX,
        }
    }
}

impl UpstreamTransport {
    /// Streamable HTTP at `url`, without own headers.
    pub fn http(url: impl Into<String>) -> Self {
        Self::Http { url: url.into(), headers: BTreeMap::new() }
    }

    /// Where the upstream is, for messages: a URL without query, or "this process".
    pub fn describe(&self) -> String {
        match self {
            Self::Http { url, .. } => describe_url(url),
            Self::InMemory { .. } => "this process".to_owned(),
        }
    }
}

impl fmt::Debug for UpstreamTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { url, headers } => f
                .debug_struct("Http")
                .field("url", &describe_url(url))
                .field("headers", &headers.keys().collect::<Vec<_>>())
                .finish(),
            Self::InMemory { .. } => f.write_str("InMemory"),
        }
    }
}

/// Makes the URL of an MCP endpoint from what a user wrote: a server's base gets `/mcp`.
pub fn normalise_url(text: &str) -> Result<String, UrlError> {
    let mut url = Url::parse(text.trim()).map_err(|_| UrlError::NotAUrl)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UrlError::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    if url.path() == "/" {
        url.set_path("/mcp");
    }
    url.set_fragment(None);
    Ok(url.into())
}

/// The URL as it may be shown: without user info, query and fragment.
fn describe_url(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "an address that is no URL".to_owned() };
    // Neither can fail on a URL with a host; on others there is nothing to hide.
    if url.set_username("").is_ok() && url.set_password(None).is_ok() {
        url.set_query(None);
        url.set_fragment(None);
    }
    text::escape(&text::cut(url.as_str(), 200))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_gets_the_endpoints_path() {
        let made = |text| normalise_url(text).unwrap();
        assert_eq!(made("http://localhost:8051"), "http://localhost:8051/mcp");
        assert_eq!(made(" http://localhost:8051/ "), "http://localhost:8051/mcp");
        assert_eq!(made("http://localhost:8051/mcp"), "http://localhost:8051/mcp");
        assert_eq!(made("https://host/a/mcp/?x=1#f"), "https://host/a/mcp/?x=1");
        assert_eq!(made("http://[::1]:9"), "http://[::1]:9/mcp");
    }

    #[test]
    fn what_cannot_be_an_endpoint_is_refused() {
        let refused = |text| normalise_url(text).unwrap_err();
        assert_eq!(refused("localhost"), UrlError::NotAUrl);
        assert_eq!(refused(""), UrlError::NotAUrl);
        assert_eq!(refused("localhost:8051"), UrlError::Scheme);
        assert_eq!(refused("file:///etc/passwd"), UrlError::Scheme);
        assert_eq!(refused("http://me:pw@host/mcp"), UrlError::Credentials);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let mut transport = UpstreamTransport::http("http://a:b@host/mcp?key=s3cret");
        if let UpstreamTransport::Http { headers, .. } = &mut transport {
            headers.insert("authorization".to_owned(), "Bearer s3cret".to_owned());
        }
        let shown = format!("{transport:?}");
        assert_eq!(shown, r#"Http { url: "http://host/mcp", headers: ["authorization"] }"#);
    }
}

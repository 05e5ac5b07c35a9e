//! What an upstream is reached by, and what is granted to it.

use std::{fmt, sync::Arc, time::Duration};

use futures::channel::mpsc;
use reqwest::Url;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use sha2::{Digest as _, Sha256};

use super::{Supply, ToolFilter};
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
    /// How calls that certainly did not arrive are sent again.
    pub retry: Retry,
    /// When calls are kept away.
    pub breaker: BreakerSettings,
    /// Which tools may be used.
    pub tools_allow: ToolFilter,
    /// How many files a child process may have open, where it is less than this process may (Linux
    /// only). The same as this process unless set.
    pub open_files: Option<u64>,
}

/// How a call is sent again that certainly did not arrive; by default not at all, but once where
/// the server has forgotten the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// How often.
    pub attempts_max: u32,
    /// The wait before the first time; doubled each time.
    pub backoff: Duration,
}

/// When calls are kept away from an upstream that fails again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// After how many failures in a row.
    pub failures_max: u32,
    /// For how long the first time; doubled by each probe that fails, up to half a minute.
    pub pause: Duration,
}

/// Where an upstream is.
#[derive(Clone)]
pub enum UpstreamTransport {
    /// Streamable HTTP.
    Http {
        /// The MCP endpoint, as [`normalise_url`] gives it.
        url: String,
        /// Sent with every request.
        headers: Supply,
    },
    /// The older HTTP+SSE.
    Sse {
        /// Where a session is opened.
        url: String,
        /// Sent with every request.
        headers: Supply,
    },
    /// A child process.
    Stdio {
        /// The program: a name on PATH, or a path.
        command: String,
        /// Its arguments as they stand; no shell reads them.
        args: Vec<String>,
        /// Its whole environment.
        env: Supply,
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
            retry: Retry::default(),
            breaker: BreakerSettings::default(),
            tools_allow: ToolFilter::default(),
            open_files: None,
        }
    }
}

impl UpstreamTransport {
    /// Streamable HTTP at `url`, without own headers.
    pub fn http(url: impl Into<String>) -> Self {
        Self::Http { url: url.into(), headers: Supply::default() }
    }

    /// HTTP+SSE at `url`, without own headers.
    pub fn sse(url: impl Into<String>) -> Self {
        Self::Sse { url: url.into(), headers: Supply::default() }
    }

    /// What the settings call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Sse { .. } => "sse",
            Self::Stdio { .. } => "stdio",
            Self::InMemory { .. } => "embedded",
        }
    }

    /// Its address, if it has one.
    pub(super) fn url(&self) -> Option<&str> {
        match self {
            Self::Http { url, .. } | Self::Sse { url, .. } => Some(url),
            Self::Stdio { .. } | Self::InMemory { .. } => None,
        }
    }

    /// Where the upstream is, for messages: a URL without query, a program without its arguments,
    /// or "this process".
    pub fn describe(&self) -> String {
        match self {
            Self::Http { url, .. } | Self::Sse { url, .. } => describe_url(url),
            Self::Stdio { command, .. } => text::escape(&text::cut(command, 200)),
            Self::InMemory { .. } => "this process".to_owned(),
        }
    }

    /// Tells it from every other server, as far as that can be told without secrets: a hash of its
    /// kind and its whole URL, or of its command and arguments. Neither headers nor variables
    /// count.
    pub(super) fn identity(&self) -> String {
        let place: Vec<&str> = match self {
            Self::Http { url, .. } | Self::Sse { url, .. } => vec![url],
            Self::Stdio { command, args, .. } => {
                std::iter::once(command).chain(args).map(String::as_str).collect()
            }
            Self::InMemory { .. } => Vec::new(),
        };
        let mut hash = Sha256::new();
        for part in std::iter::once(self.kind()).chain(place) {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        hash.finalize().iter().fold(String::new(), |text, it| text + &format!("{it:02x}"))
    }
}

impl fmt::Debug for UpstreamTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = match self {
            Self::Http { .. } => f.debug_struct("Http"),
            Self::Sse { .. } => f.debug_struct("Sse"),
            Self::Stdio { .. } => f.debug_struct("Stdio"),
            Self::InMemory { .. } => return f.write_str("InMemory"),
        };
        match self {
            Self::Http { url, headers } | Self::Sse { url, headers } => {
                shown.field("url", &describe_url(url)).field("headers", headers);
            }
            Self::Stdio { command, args, env } => {
                shown.field("command", command).field("n_args", &args.len()).field("env", env);
            }
            Self::InMemory { .. } => {}
        }
        shown.finish()
    }
}

impl Default for BreakerSettings {
    /// Five failures in a row, for a second.
    fn default() -> Self {
        Self { failures_max: 5, pause: Duration::from_secs(1) }
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
    fn every_other_place_has_another_identity_which_shows_nothing() {
        let child = |args: &[&str]| {
            let args = args.iter().map(|it| (*it).to_owned()).collect();
            UpstreamTransport::Stdio { command: "npx".to_owned(), args, env: Supply::default() }
        };
        let places = [
            UpstreamTransport::http("http://host/mcp"),
            UpstreamTransport::sse("http://host/mcp"),
            UpstreamTransport::http("http://host/mcp?key=s3cret"),
            UpstreamTransport::http("http://host/mcp?key=0ther"),
            child(&[]),
            child(&["one"]),
            child(&["one", "two"]),
            child(&["onetwo"]),
        ];
        for (at, it) in places.iter().enumerate() {
            assert_eq!(it.identity(), it.clone().identity());
            assert!(it.identity().chars().all(|it| it.is_ascii_hexdigit()));
            for other in &places[..at] {
                assert_ne!(it.identity(), other.identity(), "{it:?}, {other:?}");
            }
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let secret = [("authorization".to_owned(), "Bearer s3cret".to_owned())];
        let transport = UpstreamTransport::Http {
            url: "http://a:b@host/mcp?key=s3cret".to_owned(),
            headers: Supply::fixed(secret.into()),
        };
        let shown = format!("{transport:?}");
        assert_eq!(shown, r#"Http { url: "http://host/mcp", headers: ["authorization"] }"#);
    }
}

//! The limits of the HTTP server.

use std::time::Duration;

use super::{Load, Tls};
use crate::transport::{access::Access, guard::Glimpse};

/// The limits of an [`HttpServer`](super::HttpServer); the default suits one machine's users.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Who may call; anybody unless set, and then only loopback addresses are bound.
    pub access: Access,
    /// What those see who show no token where one is needed; nothing unless set.
    pub glimpses: Vec<Glimpse>,
    /// What the server proves by who it is; connections are not encrypted unless set.
    pub tls: Option<Tls>,
    /// Names and addresses by which the server is reached besides localhost, loopback addresses,
    /// the bound one and the host of the OAuth resource; without a port, addresses of version 6 in
    /// brackets. None unless set.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that are let in besides localhost, 127.0.0.1 and `[::1]`; each exactly
    /// as a browser sends it (`https://app.example:8443`). None unless set.
    pub allowed_origins: Vec<String>,
    /// How many connections are served at once, 1 at least; others wait in the system's queue.
    /// 4,096 unless set.
    pub connections_max: usize,
    /// How many sessions there may be on `/mcp`, and on `/sse`; more are `busy`, but for those on
    /// `/mcp` that take the place of one that was left alone for a minute. 1,000 unless set.
    pub sessions_max: usize,
    /// How many of the sessions on `/mcp` that do nothing stay awake. The others have no handler
    /// until their clients come back. 256 unless set: some 25 MiB, and enough for those whom a
    /// crowd of clients asks in turn.
    pub sessions_awake_max: usize,
    /// After how long without a message or an open stream a session on `/mcp` ends. 300 s unless
    /// set.
    pub session_idle: Duration,
    /// How long a request's head may take to arrive, and how long a connection may wait for its
    /// next request. 10 s unless set.
    pub header_timeout: Duration,
    /// How long a request's body may take to arrive. 20 s unless set.
    pub body_timeout: Duration,
    /// How long what is sent may find no room because the client does not read. 30 s unless set.
    pub write_timeout: Duration,
    /// How long a message posted to `/messages` may wait for room in its session. 10 s unless set.
    pub post_timeout: Duration,
    /// How often an idle event stream says that it is alive. 15 s unless set.
    pub keep_alive: Duration,
    /// How long running requests get to end at shutdown. 5 s unless set.
    pub grace: Duration,
    /// Where the server shows how many connections and sessions there are.
    pub load: Load,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            access: Access::default(),
            glimpses: Vec::new(),
            tls: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            connections_max: 4_096,
            sessions_max: 1_000,
            sessions_awake_max: 256,
            session_idle: Duration::from_mins(5),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            write_timeout: Duration::from_secs(30),
            post_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(15),
            grace: Duration::from_secs(5),
            load: Load::default(),
        }
    }
}

//! The settings of the HTTP server: who may connect, how many, and how they show who they are.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    error::{ConfigError, Source},
    layer::Merged,
    place::to_http_url,
    supply::SecretText,
};
use crate::model::Sees;

/// Who may connect over HTTP, and how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Names and addresses by which the server is reached besides localhost and the bound address,
    /// each without a port; at most 64, default none.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may connect besides those of this machine, each as
    /// `https://host` or `https://host:port`; at most 64, default none.
    pub allowed_origins: Vec<String>,
    /// Open connections: 1 to 65,536, default 4,096.
    pub connections_max: u32,
    /// Open sessions: 1 to 1,000,000, default 10,000.
    pub sessions_max: u32,
    /// Callers by name, each with a token; anybody may call unless there are some, or `oauth`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, TokenSettings>,
    /// The authorization server whose tokens are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuthSettings>,
    /// The certificate that is shown; connections are not encrypted unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,
}

/// A caller who shows a token that was agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// The token; should refer to a variable or a private file.
    pub bearer: SecretText,
    /// `own` (default): what they dispatched themselves; `all`: everything.
    pub sees: Sees,
}

/// The authorization server whose tokens (JWT) are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuthSettings {
    /// The `iss` of its tokens, exactly: an https address, or one of this machine.
    pub issuer: String,
    /// What must be among the `aud` of a token; usually the address of this server's `/mcp`.
    pub audience: String,
    /// That address, where the audience is something else.
    pub resource: String,
    /// Its public keys (JWKS): a file, an https address, or one of this machine.
    pub jwks: String,
    /// Where clients get tokens; the issuer unless set.
    pub authorization_servers: Vec<String>,
    /// Scopes that every token must have; at most 64, default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The scope that lets a caller see everything; there is none unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_scope: Option<String>,
    /// What callers without that scope see: `own` (default) or `all`.
    pub sees: Sees,
}

/// A certificate and its key, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The file of the certificate, with those that lead to its authority after it.
    pub certificate: PathBuf,
    /// The file of the private key, which only its owner may read.
    pub key: PathBuf,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            connections_max: 4_096,
            sessions_max: 10_000,
            tokens: BTreeMap::new(),
            oauth: None,
            tls: None,
        }
    }
}

/// Fills in what is left out, and refuses what says only half.
pub(super) fn derive(merged: &mut Merged, faults: &mut Vec<ConfigError>) {
    let mut deriving = Deriving { merged, faults };
    for name in deriving.callers() {
        let section = format!("server.tokens.{name}");
        deriving.require(&section, "bearer", "is missing: a caller needs a token");
        deriving.fill(&section, "sees", json!("own"));
    }
    if deriving.said("server.tls").is_some() {
        deriving.require("server.tls", "certificate", "is missing: TLS needs one");
        deriving.require("server.tls", "key", "is missing: TLS needs the certificate's");
    }
    if deriving.said("server.oauth").is_some() {
        deriving.oauth();
    }
}

struct Deriving<'a> {
    merged: &'a mut Merged,
    faults: &'a mut Vec<ConfigError>,
}

impl Deriving<'_> {
    fn oauth(&mut self) {
        let section = "server.oauth";
        self.require(section, "issuer", "is missing: tokens are taken of one issuer only");
        self.require(section, "audience", "is missing: tokens must be for this server");
        self.require(section, "jwks", "is missing: tokens are checked by the issuer's keys");
        self.fill(section, "sees", json!("own"));
        if let Some(issuer) = self.value("server.oauth.issuer") {
            self.fill(section, "authorization_servers", json!([issuer]));
        }
        let Some(audience) = self.value("server.oauth.audience") else { return };
        if audience.as_str().is_some_and(|it| to_http_url(it).is_ok()) {
            self.fill(section, "resource", audience);
        } else {
            let message =
                "is missing: the audience is no address at which clients reach this server";
            self.require(section, "resource", message);
        }
    }

    /// The names of the callers who have tokens.
    fn callers(&self) -> Vec<String> {
        let names = self.merged.iter().filter_map(|it| it.0.strip_prefix("server.tokens."));
        let mut names: Vec<String> =
            names.filter_map(|it| it.split('.').next()).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn value(&self, key: &str) -> Option<Value> {
        self.merged.get(key).map(|it| it.0.clone())
    }

    fn fill(&mut self, section: &str, field: &str, value: Value) {
        self.merged.fill(&format!("{section}.{field}"), || (value, Source::BuiltIn));
    }

    fn require(&mut self, section: &str, field: &str, message: &str) {
        let key = format!("{section}.{field}");
        if self.merged.get(&key).is_none() {
            let place = self.said(section).unwrap_or(Source::BuiltIn);
            self.faults.push(ConfigError::new(place, &key, message));
        }
    }

    /// The place of a section, or of the first field in it.
    fn said(&self, section: &str) -> Option<Source> {
        let inner = format!("{section}.");
        let mut said = self.merged.iter().filter(|it| it.0 == section || it.0.starts_with(&inner));
        said.next().map(|it| it.2.clone())
    }
}

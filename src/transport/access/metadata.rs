//! What clients read before they have a token: which authorization servers to ask (RFC 9728).

use axum::{Router, http::header, routing::get};
use serde_json::json;

use super::jwt::OAuthOptions;

/// Where clients look for it.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// Where they look for that of `/mcp`.
const WELL_KNOWN_MCP: &str = "/.well-known/oauth-protected-resource/mcp";

/// The metadata of this server as a protected resource.
#[derive(Clone, Debug)]
pub(in crate::transport) struct Metadata {
    origin: String,
    /// The path of the resource; empty if it is the whole origin.
    path: String,
    host: Option<String>,
    body: String,
}

impl Metadata {
    /// What the settings of the authorization server say about this one.
    pub(super) fn of(options: &OAuthOptions) -> Self {
        let mut body = json!({
            "resource": options.resource,
            "authorization_servers": options.authorization_servers,
            "bearer_methods_supported": ["header"],
        });
        let mut scopes = options.scopes.clone();
        scopes.extend(options.all_scope.clone());
        if !scopes.is_empty() {
            body["scopes_supported"] = json!(scopes);
        }
        let url = options.resource.parse::<reqwest::Url>().ok();
        Self {
            origin: url.as_ref().map(|it| it.origin().ascii_serialization()).unwrap_or_default(),
            path: url.as_ref().map(|it| it.path().trim_end_matches('/')).unwrap_or_default().into(),
            host: url.and_then(|it| it.host_str().map(str::to_owned)),
            body: body.to_string(),
        }
    }

    /// The address that clients are told.
    pub(super) fn url(&self) -> String {
        format!("{}{WELL_KNOWN}{}", self.origin, self.path)
    }

    /// The name under which clients reach this server.
    pub(in crate::transport) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The paths that are open to everybody.
    pub(in crate::transport) fn paths(&self) -> Vec<String> {
        let own = format!("{WELL_KNOWN}{}", self.path);
        let mut paths = vec![WELL_KNOWN.to_owned(), WELL_KNOWN_MCP.to_owned()];
        // These would be patterns to the router.
        if !paths.contains(&own) && !own.contains(['{', '}', '*', ':']) {
            paths.push(own);
        }
        paths
    }

    /// The routes.
    pub(in crate::transport) fn routes(&self) -> Router {
        self.paths().iter().fold(Router::new(), |router, path| {
            let body = self.body.clone();
            let answer = ([(header::CONTENT_TYPE, "application/json")], body);
            router.route(path, get(move || std::future::ready(answer.clone())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(resource: &str) -> Metadata {
        Metadata::of(&OAuthOptions { resource: resource.to_owned(), ..OAuthOptions::default() })
    }

    #[test]
    fn clients_are_told_where_the_metadata_of_their_resource_are() {
        let base = "https://pd.example/.well-known/oauth-protected-resource";
        assert_eq!(of("https://pd.example/mcp").url(), format!("{base}/mcp"));
        assert_eq!(of("https://pd.example").url(), base);
        assert_eq!(of("https://pd.example/a/mcp/").url(), format!("{base}/a/mcp"));
        assert_eq!(of("https://pd.example/mcp").paths(), [WELL_KNOWN, WELL_KNOWN_MCP]);
        let own = format!("{WELL_KNOWN}/a/mcp");
        assert_eq!(of("https://pd.example/a/mcp").paths(), [WELL_KNOWN, WELL_KNOWN_MCP, &own]);
        assert_eq!(of("https://pd.example/:a").paths().len(), 2);
        assert_eq!(of("https://pd.example:8443/mcp").host(), Some("pd.example"));
    }
}

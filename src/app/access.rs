//! Who may call over HTTP, and what the server shows of itself, as the settings say it.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use crate::{
    config::{OAuthSettings, Server, TlsSettings, TokenSettings, read_private},
    model::Identity,
    transport::{Access, BearerTokens, KeySource, OAuth, OAuthOptions, Tls},
};

/// Shorter tokens are guessed too easily.
const TOKEN_BYTES_MIN: usize = 16;
/// The largest file of a certificate, in bytes.
const CERTIFICATE_BYTES_MAX: u64 = 1 << 20;

/// Reads the secrets; answers who is let in, and what looks like a mistake.
pub(super) fn access(server: &Server) -> anyhow::Result<(Access, Vec<String>)> {
    let mut warnings = Vec::new();
    let tokens = tokens(server, &mut warnings)?;
    let oauth = server.oauth.as_ref().map(oauth).transpose()?;
    Ok((Access::new(tokens, oauth), warnings))
}

/// Reads the certificate and its key, if there are any.
pub(super) fn tls(server: &Server) -> anyhow::Result<Option<Tls>> {
    let Some(settings) = &server.tls else { return Ok(None) };
    let (chain, key) = read_pair(settings)?;
    let tls = Tls::from_pem(&chain, key.as_bytes());
    tls.map(Some).with_context(|| place_of(settings))
}

/// The certificate and its key, as they are now.
pub(super) fn read_pair(settings: &TlsSettings) -> anyhow::Result<(Vec<u8>, String)> {
    let chain = read_certificate(&settings.certificate).context("server.tls.certificate")?;
    Ok((chain, read_private(&settings.key).context("server.tls.key")?))
}

/// Where the two are, for whoever must mend them.
pub(super) fn place_of(TlsSettings { certificate, key }: &TlsSettings) -> String {
    format!("server.tls: {} with {}", certificate.display(), key.display())
}

/// The authorization server's side of [`access`].
pub(super) fn oauth(it: &OAuthSettings) -> anyhow::Result<OAuth> {
    let options = OAuthOptions {
        issuer: it.issuer.clone(),
        audience: it.audience.clone(),
        resource: it.resource.clone(),
        authorization_servers: it.authorization_servers.clone(),
        scopes: it.scopes.clone(),
        all_scope: it.all_scope.clone(),
        sees: it.sees,
    };
    let source = if it.jwks.contains("://") {
        KeySource::Url(it.jwks.clone())
    } else {
        KeySource::File(PathBuf::from(&it.jwks))
    };
    OAuth::new(options, source).context("server.oauth.jwks")
}

/// Who shows a token of the settings.
pub(super) fn identity(name: &str, it: &TokenSettings) -> anyhow::Result<Identity> {
    Identity::new(name, it.sees).ok_or_else(|| anyhow!("server.tokens.{name}: cannot name anybody"))
}

fn tokens(server: &Server, warnings: &mut Vec<String>) -> anyhow::Result<BearerTokens> {
    let mut tokens = BearerTokens::default();
    for (name, it) in &server.tokens {
        let key = || format!("server.tokens.{name}.bearer");
        let token = it.bearer.resolve().with_context(key)?;
        let identity = identity(name, it)?;
        tokens.add(&token, identity).with_context(key)?;
        if token.len() < TOKEN_BYTES_MIN {
            warnings.push(format!(
                "server.tokens.{name}.bearer has less than {TOKEN_BYTES_MIN} characters; make it \
                 longer, for instance by `openssl rand -hex 32`"
            ));
        }
    }
    Ok(tokens)
}

fn read_certificate(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let shown = || path.display().to_string();
    let metadata = path.metadata().with_context(shown)?;
    anyhow::ensure!(
        metadata.is_file() && metadata.len() <= CERTIFICATE_BYTES_MAX,
        "{} is not a regular file of at most 1 MiB",
        shown()
    );
    std::fs::read(path).with_context(shown)
}

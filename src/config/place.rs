//! Paths and addresses made whole: absolute, and checked as far as their text allows.

use std::path::{Component, Path, PathBuf};

use reqwest::Url;

/// Where a relative path begins, and where `~` is.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) dir: PathBuf,
    pub(super) home: Option<PathBuf>,
}

impl Base {
    /// Makes `path` absolute: `~/` is the home directory, other relative paths begin at `dir`.
    pub(super) fn resolve(&self, path: &str) -> Result<PathBuf, String> {
        if path.is_empty() {
            return Err("must not be empty".to_owned());
        }
        if path.contains('\0') {
            return Err("must not hold a NUL character".to_owned());
        }
        let whole = match path.strip_prefix("~/") {
            Some(rest) => {
                self.home.as_ref().ok_or("begins at `~`, but HOME is not set")?.join(rest)
            }
            None => self.dir.join(path),
        };
        // Drops `.` and doubled slashes, and leaves `..` alone, which symlinks can redirect.
        Ok(whole.components().collect())
    }
}

/// Whether `path` stays beneath `root` whatever lies there: no `..`, and no link on the way.
pub(super) fn stays_beneath(root: &Path, path: &Path) -> bool {
    let Ok(inner) = path.strip_prefix(root) else {
        return false;
    };
    let mut at = root.to_owned();
    inner.components().all(|it| {
        at.push(it);
        let is_link = || at.symlink_metadata().is_ok_and(|it| it.is_symlink());
        matches!(it, Component::Normal(_)) && !is_link()
    })
}

/// Reads the address of an MCP server; a bare host gets `/mcp`.
pub(super) fn to_mcp_url(text: &str) -> Result<String, String> {
    let mut url = to_http_url(text)?;
    if url.fragment().is_some() {
        return Err("must not have a fragment".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(if path.is_empty() { "/mcp" } else { &path });
    Ok(url.into())
}

/// Reads the address of a collector, and leaves it as it is.
pub(super) fn to_address(text: &str) -> Result<String, String> {
    let url = to_http_url(text)?;
    if url.fragment().is_some() {
        return Err("must not have a fragment".to_owned());
    }
    Ok(url.into())
}

/// Reads the origin of a web page: scheme, host, and perhaps a port.
pub(super) fn to_origin(text: &str) -> Result<String, String> {
    let form = "must be an origin such as https://host or https://host:8443";
    let url = to_http_url(text).map_err(|it| format!("{form}: {it}"))?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{form}, without a path"));
    }
    Ok(url.origin().ascii_serialization())
}

/// Reads an address with http or https, and without a user in it.
pub(super) fn to_http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|it| format!("not an address ({it})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or a password".to_owned());
    }
    Ok(url)
}

//! Values that name places of a network: hosts, addresses that may be trusted, scopes.

use reqwest::Url;
use serde_json::Value;

use super::{
    list::{ANY, list},
    place::{Base, to_http_url},
    yaml::Yaml,
};
use crate::model::text;

const SHOWN_CHARS_MAX: usize = 80;

/// A list of names and addresses, each as a client's Host header has it before the port.
pub(super) fn hosts(value: &Yaml) -> Result<Value, String> {
    list(value, ("hosts", ANY), |text| {
        let form = "must hold hosts such as pd.example or 10.0.0.5, without a port";
        let shown = text::escape(&text::cut(text, SHOWN_CHARS_MAX));
        // An address of version 6 is written with brackets or without.
        let whole = match text.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => text.to_ascii_lowercase(),
        };
        let url = Url::parse(&format!("http://{whole}/")).ok();
        let is_host = url.is_some_and(|it| it.host_str() == Some(whole.as_str()));
        if is_host { Ok(whole) } else { Err(format!("{form}, holds \"{shown}\"")) }
    })
}

/// A list of addresses as [`address`] takes them.
pub(super) fn addresses(value: &Yaml) -> Result<Value, String> {
    let checked = list(value, ("addresses", ANY), address)?;
    if checked.as_array().is_some_and(Vec::is_empty) {
        return Err("must name at least one address; leave it out to mean the issuer".to_owned());
    }
    Ok(checked)
}

/// An address that nobody on the way can pretend to be, as it was written.
pub(super) fn address(text: &str) -> Result<String, String> {
    let url = to_http_url(text)?;
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    let is_here = host == "localhost" || ip.is_ok_and(|it| it.is_loopback());
    if url.scheme() != "https" && !is_here {
        return Err("must begin with https://, since it is not on this machine".to_owned());
    }
    if url.fragment().is_some() || text.chars().any(|it| it.is_control() || it == '"') {
        return Err("must be an address without a fragment".to_owned());
    }
    Ok(text.to_owned())
}

/// A file, or an address.
pub(super) fn address_or_file(text: &str, base: &Base) -> Result<String, String> {
    if text.contains("://") {
        return address(text);
    }
    let path = base.resolve(text)?.into_os_string().into_string();
    path.map_err(|_| "must be a path in UTF-8".to_owned())
}

/// A list of scopes.
pub(super) fn scopes(value: &Yaml) -> Result<Value, String> {
    list(value, ("scopes", ANY), scope)
}

/// One scope, in the characters that RFC 6749 gives it.
pub(super) fn scope(text: &str) -> Result<String, String> {
    let is_inner = |it: u8| it.is_ascii_graphic() && it != b'"' && it != b'\\';
    if (1..=256).contains(&text.len()) && text.bytes().all(is_inner) {
        return Ok(text.to_owned());
    }
    let shown = text::escape(&text::cut(text, SHOWN_CHARS_MAX));
    Err(format!("must be made of scopes without spaces and quotes, holds \"{shown}\""))
}

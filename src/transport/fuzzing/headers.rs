//! What holds of every set of headers: only who may come in comes in.

use std::net::IpAddr;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Method, Request, StatusCode},
};
use hyper::service::Service as _;

use super::{house, run};

/// The headers that the guard decides by; others would only make the search longer.
const NAMES: [&str; 5] = ["host", "origin", "content-type", "content-encoding", "authorization"];

/// Sends any header lines: the first byte chooses the method, and each line that of its value.
///
/// # Panics
/// When a promise is broken: a request is let in that must not be, or is answered with a fault of
/// the server.
#[doc(hidden)]
pub fn fuzz_headers(bytes: &[u8]) {
    let Some((choice, lines)) = bytes.split_first() else { return };
    let method = if choice % 2 == 0 { Method::GET } else { Method::POST };
    let headers: Vec<_> = lines.split(|it| *it == b'\n').take(8).filter_map(header).collect();
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method.clone();
    *request.uri_mut() = axum::http::Uri::from_static("/nowhere");
    for (name, value) in &headers {
        request.headers_mut().append(name, value.clone());
    }
    let served = run(async { house().routes().call(request).await });
    let Ok(response) = served;
    let values = |name: &str| {
        let those = headers.iter().filter(|it| it.0 == name);
        those.map(|it| it.1.as_bytes().to_ascii_lowercase()).collect::<Vec<_>>()
    };
    let may_come_in = is_here(&values("host"))
        && values("origin").iter().all(|it| is_from_here(it))
        && (method == Method::GET || is_json(&values("content-type"), &values("content-encoding")));
    let is_let_in = response.status() == StatusCode::NOT_FOUND;
    assert!(may_come_in || !is_let_in, "{method} {headers:?} is let in");
    assert!(is_let_in || response.status().is_client_error(), "{} {headers:?}", response.status());
}

/// A header of a line like `0 value`: its first byte is the place of its name.
fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let (choice, value) = line.split_first()?;
    let name = NAMES[usize::from(*choice) % NAMES.len()];
    Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?))
}

/// One host, and this machine's.
fn is_here(hosts: &[Vec<u8>]) -> bool {
    let [host] = hosts else { return false };
    std::str::from_utf8(host).is_ok_and(is_local)
}

fn is_from_here(origin: &[u8]) -> bool {
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    rest.is_some_and(is_local)
}

/// `localhost` or a loopback address, and maybe a port.
fn is_local(authority: &str) -> bool {
    if authority.contains(['@', '/', '?', '#']) {
        return false;
    }
    let (name, rest) = match authority.strip_prefix('[').map(|it| it.split_once(']')) {
        Some(Some(parts)) => parts,
        Some(None) => return false,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_name = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
    is_name && (rest.is_empty() || rest.starts_with(':'))
}

fn is_json(types: &[Vec<u8>], encodings: &[Vec<u8>]) -> bool {
    let [kind] = types else { return false };
    let rest = kind.trim_ascii_start().strip_prefix(b"application/json");
    let is_json = rest.is_some_and(|it| matches!(it.trim_ascii_start(), [] | [b';', ..]));
    is_json && encodings.iter().all(|it| it == b"identity")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::mutants;

    #[test]
    fn mutants_of_headers_keep_the_promises() {
        let seeds = [
            include_str!("../../../fuzz/seeds/headers/json"),
            include_str!("../../../fuzz/seeds/headers/page"),
            include_str!("../../../fuzz/seeds/headers/foreign"),
            include_str!("../../../fuzz/seeds/headers/token"),
        ];
        mutants(&seeds, 5_000, fuzz_headers);
    }
}

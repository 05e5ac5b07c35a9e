//! Checks the Host header, so that a name which a foreign page points at this machine gets nothing
//! (DNS rebinding).

use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode, header, request::Parts, uri::Authority};

use super::Refused;

/// Lets in loopback names and addresses, the `bound` address, and all of `allowed`, with any port.
pub(super) fn check(parts: &Parts, bound: IpAddr, allowed: &[String]) -> Result<(), Refused> {
    let host = read(&parts.headers)?;
    // A request line may name a host, too; what the handlers see must not differ from the header.
    let hosts = parts.uri.authority().into_iter().chain([&host]);
    for host in hosts {
        if !is_allowed(host, bound, allowed) {
            return Err(Refused::new(
                StatusCode::FORBIDDEN,
                "host_not_allowed",
                &format!("the host {:?} is not served", host.as_str()),
                "",
                "call this server as localhost or 127.0.0.1; if the name is its own, set \
                 server.allowed_hosts",
            ));
        }
    }
    Ok(())
}

fn read(headers: &HeaderMap) -> Result<Authority, Refused> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            Authority::try_from(host.as_bytes()).map_err(|_| refuse("the Host header is malformed"))
        }
        (None, _) => Err(refuse("there is no Host header")),
        (Some(_), Some(_)) => Err(refuse("there is more than one Host header")),
    }
}

fn refuse(message: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "host_not_allowed", message, "", "send one Host header")
}

fn is_allowed(authority: &Authority, bound: IpAddr, allowed: &[String]) -> bool {
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    // The type lets more than a port follow an address in brackets.
    let is_port = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    let rest = authority.as_str().strip_prefix(host).unwrap_or_default();
    if !rest.is_empty() && !rest.strip_prefix(':').is_some_and(is_port) {
        return false;
    }
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_own = match address {
        Ok(address) => address.is_loopback() || address == bound,
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    };
    is_own || allowed.iter().any(|it| it.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::http::Request;

    use super::*;

    fn status(uri: &str, hosts: &[&str]) -> Option<u16> {
        let request =
            hosts.iter().fold(Request::builder().uri(uri), |it, host| it.header("host", *host));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let allowed = ["pd.example".to_owned(), "[fd00::1]".to_owned()];
        let refused = check(&parts, Ipv4Addr::LOCALHOST.into(), &allowed).err();
        refused.map(|it| it.status().as_u16())
    }

    #[test]
    fn listed_hosts_are_let_in_with_any_port() {
        for host in ["pd.example", "PD.example:8443", "[fd00::1]:1"] {
            assert_eq!(status("/", &[host]), None, "{host}");
        }
        for host in ["a.pd.example", "pd.example.evil.example", "[fd00::2]"] {
            assert_eq!(status("/", &[host]), Some(403), "{host}");
        }
    }

    #[test]
    fn loopback_hosts_are_let_in_with_any_port() {
        for host in
            ["localhost", "LocalHost:1", "127.0.0.1:8080", "127.9.9.9", "[::1]:65535", "[::1]"]
        {
            assert_eq!(status("/", &[host]), None, "{host}");
        }
    }

    #[test]
    fn other_hosts_are_forbidden() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "x@localhost",
            "[::1]evil.example",
        ] {
            assert_eq!(status("/", &[host]), Some(403), "{host}");
        }
        assert_eq!(status("http://evil.example/", &["localhost"]), Some(403));
    }

    #[test]
    fn a_host_must_be_named_once() {
        assert_eq!(status("/", &[]), Some(400));
        assert_eq!(status("/", &[""]), Some(400));
        assert_eq!(status("/", &["localhost", "localhost"]), Some(400));
        assert_eq!(status("/", &["local host"]), Some(400));
    }
}

//! Checks the Origin header, so that no foreign web page gets in.

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::Refused;

/// Lets in requests without an origin, from a page of this machine, or from one of `allowed`.
pub(super) fn check(headers: &HeaderMap, allowed: &[String]) -> Result<(), Refused> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    if origins.all(|it| is_let_in(it, allowed)) {
        return Ok(());
    }
    Err(Refused::new(
        StatusCode::FORBIDDEN,
        "origin_not_allowed",
        "pages of this origin may not call this server",
        "",
        "add the origin to the settings if the page is yours",
    ))
}

/// Whether pages of this origin may call.
pub(super) fn is_let_in(origin: &HeaderValue, allowed: &[String]) -> bool {
    let is_listed = |origin: &str| allowed.iter().any(|it| it.eq_ignore_ascii_case(origin));
    origin.to_str().is_ok_and(|it| is_local(it) || is_listed(it))
}

fn is_local(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let Some(authority) = uri.authority() else { return false };
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_bare = uri.path_and_query().is_none_or(|it| it == "/") && !origin.ends_with('/');
    let host = authority.host();
    // The parser drops what follows a `#`, and lets more than a port stand behind a bracket.
    let is_whole = origin.split_once("://").is_some_and(|it| it.1 == authority.as_str());
    let rest = authority.as_str().strip_prefix(host).filter(|_| is_whole);
    is_web
        && is_bare
        && !authority.as_str().contains('@')
        && rest.is_some_and(|it| it.is_empty() || it.starts_with(':'))
        && (host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_let_in(origins: &[&str], allowed: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(header::ORIGIN, origin.parse().unwrap());
        }
        let allowed: Vec<_> = allowed.iter().map(|it| (*it).to_owned()).collect();
        check(&headers, &allowed).is_ok()
    }

    #[test]
    fn pages_of_this_machine_and_programs_are_let_in() {
        assert!(are_let_in(&[], &[]));
        for origin in
            ["http://localhost", "https://localhost:3000", "http://127.0.0.1:1", "http://[::1]:80"]
        {
            assert!(are_let_in(&[origin], &[]), "{origin}");
        }
    }

    #[test]
    fn foreign_pages_are_kept_out() {
        for origin in [
            "https://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://evil.example:80/localhost",
            "http://localhost@evil.example",
            "http://evil@localhost",
            "http://[::1]evil.example",
            "http://localhost#evil.example",
            "http://localhost#localhost",
            "file://localhost",
            "chrome-extension://localhost",
            "null",
            "localhost",
            "",
        ] {
            assert!(!are_let_in(&[origin], &[]), "{origin}");
        }
        assert!(!are_let_in(&["http://localhost", "https://evil.example"], &[]));
    }

    #[test]
    fn listed_origins_are_let_in_exactly() {
        let allowed = ["https://app.example", "null"];
        assert!(are_let_in(&["https://APP.example"], &allowed));
        assert!(are_let_in(&["null"], &allowed));
        assert!(!are_let_in(&["https://app.example:8443"], &allowed));
        assert!(!are_let_in(&["http://app.example"], &allowed));
    }
}

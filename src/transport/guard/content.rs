//! Checks the type of what is posted: a foreign page can post plain text without asking, not JSON.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};

use super::Refused;

/// Lets a POST in only with a body of uncompressed JSON.
pub(super) fn check(parts: &Parts) -> Result<(), Refused> {
    if parts.method != Method::POST || is_json(&parts.headers) && !is_encoded(&parts.headers) {
        return Ok(());
    }
    Err(Refused::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "content_type_not_allowed",
        "a POST must carry uncompressed JSON",
        "",
        "send the header Content-Type: application/json, and no Content-Encoding",
    ))
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return false };
    let Ok(kind) = kind.to_str() else { return false };
    let essence = kind.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let is_identity = |it: &HeaderValue| it.as_bytes().eq_ignore_ascii_case(b"identity");
    !headers.get_all(header::CONTENT_ENCODING).iter().all(is_identity)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn is_let_in(method: &str, headers: &[(&str, &str)]) -> bool {
        let request = Request::builder().method(method);
        let request = headers.iter().fold(request, |it, (name, value)| it.header(*name, *value));
        check(&request.body(()).unwrap().into_parts().0).is_ok()
    }

    #[test]
    fn only_json_may_be_posted() {
        assert!(is_let_in("POST", &[("content-type", "application/json")]));
        assert!(is_let_in("POST", &[("content-type", "Application/JSON; charset=utf-8")]));
        for kind in ["text/plain", "application/json2", "text/plain;application/json", ""] {
            assert!(!is_let_in("POST", &[("content-type", kind)]), "{kind}");
        }
        assert!(!is_let_in("POST", &[]));
        let twice = [("content-type", "application/json"), ("content-type", "text/plain")];
        assert!(!is_let_in("POST", &twice));
        let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
        assert!(!is_let_in("POST", &packed));
    }

    #[test]
    fn other_methods_need_no_type() {
        assert!(is_let_in("GET", &[]));
        assert!(is_let_in("DELETE", &[]));
    }
}

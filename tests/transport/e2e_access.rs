//! Who is let in, by tokens of the settings and of an authorization server.

use std::{fs, path::Path, time::Duration};

use parallel_dispatch::{
    model::{Identity, Sees},
    transport::{Access, BearerTokens, Glimpse, HttpOptions, KeySource, OAuth, OAuthOptions},
};
use serde_json::{Value, json};

use crate::{
    forged::{claims_but, confused_token, rsa},
    jwt::{AUDIENCE, ISSUER, Signer, claims, key_set, now, unsigned},
    raw::{Server, call, http, initialize, initialized, modern, within},
    sse::EventStream,
};

const ADA: (&str, &str) = ("authorization", "Bearer token-of-ada-0123456789");
const BOB: (&str, &str) = ("authorization", "bearer token-of-bob-0123456789");
const MODERN: [(&str, &str); 3] =
    [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "who")];
const METADATA: &str = "/.well-known/oauth-protected-resource";

fn with_tokens() -> HttpOptions {
    let mut tokens = BearerTokens::default();
    for name in ["ada", "bob"] {
        let identity = Identity::new(name, Sees::Own).unwrap();
        tokens.add(&format!("token-of-{name}-0123456789"), identity).unwrap();
    }
    let glimpses = vec![Glimpse { path: "/health", fields: &["status"] }];
    HttpOptions { access: Access::new(tokens, None), glimpses, ..HttpOptions::default() }
}

fn with_oauth(jwks: &Path) -> HttpOptions {
    let options = OAuthOptions {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        resource: AUDIENCE.to_owned(),
        authorization_servers: vec![ISSUER.to_owned()],
        scopes: vec!["a".to_owned()],
        all_scope: Some("all".to_owned()),
        sees: Sees::Own,
    };
    let oauth = OAuth::new(options, KeySource::File(jwks.to_owned())).unwrap();
    HttpOptions {
        access: Access::new(BearerTokens::default(), Some(oauth)),
        ..HttpOptions::default()
    }
}

/// Who the handler thinks calls.
async fn who(server: &Server, token: &str) -> (u16, Value) {
    let bearer = format!("Bearer {token}");
    let headers = [MODERN[0], MODERN[1], MODERN[2], ("authorization", &*bearer)];
    let body = modern(call(5, "who")).to_string();
    let (status, answer) = within(server.post("/mcp", &headers, body)).await;
    let said = match status {
        200 => answer["result"]["content"][0]["text"].clone(),
        _ => answer["error"]["code"].clone(),
    };
    (status, said)
}

#[tokio::test]
async fn e2e_without_a_token_every_route_is_closed_before_the_body_is_read() {
    let server = Server::start(with_tokens()).await;
    let no_error = "www-authenticate: Bearer realm=\"parallel-dispatch\"\r\n";
    let invalid =
        "www-authenticate: Bearer realm=\"parallel-dispatch\", error=\"invalid_token\"\r\n";
    for path in ["/mcp", "/sse", "/messages?session_id=x", "/health", "/metrics", "/nowhere"] {
        for (header, status, code, challenge) in [
            ("", 401, "unauthorized", no_error),
            ("authorization: Basic YTpi\r\n", 401, "unauthorized", no_error),
            ("authorization: Bearer token-of-ada\r\n", 401, "invalid_token", invalid),
            ("authorization: Bearer\r\n", 400, "invalid_request", "invalid_request"),
            ("authorization: Bearer a\r\nauthorization: Bearer b\r\n", 400, "invalid_request", ""),
        ] {
            // A body is announced, and never sent.
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\n{header}content-length: 99\r\n\
                 content-type: application/json\r\nconnection: close\r\n\r\n"
            );
            let answer = within(server.exchange(head.as_bytes())).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
            assert!(answer.contains(&format!(r#"{{"error":{{"code":"{code}","#)), "{answer}");
            assert!(answer.contains(challenge), "{answer}");
            assert!(!answer.contains("token-of"), "{answer}");
        }
    }
    for query in ["access_token", "token"] {
        let path = format!("/mcp?{query}=token-of-ada-0123456789");
        let (status, _) = server.post(&path, &[], call(1, "who").to_string()).await;
        assert_eq!(status, 401, "a token in an address is not read");
    }
    server.stop().await;
}

#[tokio::test]
async fn e2e_a_stranger_sees_a_glimpse_and_a_caller_the_whole() {
    let server = Server::start(with_tokens()).await;
    let get = |headers: &[(&'static str, &'static str)]| {
        let request = http().get(server.url("/health"));
        headers.iter().fold(request, |it, (name, value)| it.header(*name, *value)).send()
    };
    assert_eq!(get(&[]).await.unwrap().text().await.unwrap(), "{}", "it is no JSON here");
    assert_eq!(get(&[ADA]).await.unwrap().text().await.unwrap(), "well");
    let wrong = get(&[("authorization", "Bearer wrong")]).await.unwrap();
    assert_eq!(wrong.status(), 401);
    let (status, _) = server.post("/health", &[], "{}").await;
    assert_eq!(status, 401, "only reading shows something");
    server.stop().await;
}

#[tokio::test]
async fn e2e_handlers_learn_who_calls_and_never_by_what_token() {
    let server = Server::start(with_tokens()).await;
    assert_eq!(who(&server, "token-of-ada-0123456789").await, (200, json!("ada own")));
    assert_eq!(who(&server, "token-of-bob-0123456789").await, (200, json!("bob own")));
    server.stop().await;
    let open = Server::start(HttpOptions::default()).await;
    assert_eq!(who(&open, "token-of-ada-0123456789").await, (200, json!("nobody")));
    open.stop().await;
}

#[tokio::test]
async fn e2e_a_session_is_of_whom_it_was_opened_by() {
    let server = Server::start(with_tokens()).await;
    let request = http().post(server.url("/mcp")).header(ADA.0, ADA.1);
    let request = request.header("content-type", "application/json");
    let request = request.header("accept", "application/json, text/event-stream");
    let opened = request.body(initialize("2025-11-25").to_string()).send().await.unwrap();
    let session = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let headers = [ADA, ("mcp-session-id", session.as_str())];
    assert_eq!(server.post("/mcp", &headers, initialized().to_string()).await.0, 202);
    let call = call(5, "who").to_string();
    let post = async |who: (&str, &str), id: &str| {
        within(server.post("/mcp", &[who, ("mcp-session-id", id)], call.clone())).await
    };
    let foreign = post(BOB, &session).await;
    assert_eq!(foreign.0, 404);
    assert_eq!(foreign, post(BOB, "no-such-session").await, "there is no difference to see");
    let delete = http().delete(server.url("/mcp")).header("mcp-session-id", &session);
    delete.header(BOB.0, BOB.1).send().await.unwrap();
    let get = http().get(server.url("/mcp")).header("mcp-session-id", &session);
    let get = get.header("accept", "text/event-stream").header(BOB.0, BOB.1);
    assert_eq!(get.send().await.unwrap().status(), 404);
    let (status, answer) = post(ADA, &session).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer.to_string().contains("ada own"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn e2e_a_session_over_sse_is_of_whom_it_was_opened_by() {
    let server = Server::start(with_tokens()).await;
    let mut ada = reqwest::header::HeaderMap::new();
    ada.insert(ADA.0, ADA.1.parse().unwrap());
    let client = reqwest::Client::builder().no_proxy().default_headers(ada).build().unwrap();
    let mut stream = EventStream::open(&client, server.url("/sse")).await;
    let endpoint = stream.endpoint.clone();
    let post = async |who: (&str, &str), message: Value| {
        within(server.post(&endpoint, &[who], message.to_string())).await
    };
    let (status, answer) = post(BOB, initialize("2025-11-25")).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("unknown_session")));
    assert_eq!(post(ADA, initialize("2025-11-25")).await.0, 202);
    assert_eq!(post(ADA, initialized()).await.0, 202);
    assert_eq!(post(ADA, call(5, "who")).await.0, 202);
    let mut said = String::new();
    while !said.contains("ada own") {
        said = stream.event().await.unwrap().1;
    }
    server.stop().await;
}

#[tokio::test]
async fn e2e_tokens_of_the_authorization_server_are_taken_by_its_keys_only() {
    let dir = tempfile::tempdir().unwrap();
    let jwks = dir.path().join("jwks.json");
    let (signer, other) = (Signer::new("one"), Signer::new("one"));
    let (rsa_key, rsa_tokens) = rsa(&claims("rsa"));
    fs::write(&jwks, key_set(&[signer.jwk(), rsa_key])).unwrap();
    let server = Server::start(with_oauth(&jwks)).await;

    let ada = json!(format!("{ISSUER}#ada own"));
    assert_eq!(who(&server, &signer.token(&claims("ada"))).await, (200, ada.clone()));
    let without_id = signer.token_with(&json!({ "alg": "ES256" }), &claims("ada"));
    assert_eq!(who(&server, &without_id).await, (200, ada.clone()));
    for token in &rsa_tokens {
        assert_eq!(who(&server, token).await, (200, json!(format!("{ISSUER}#rsa own"))));
    }
    for good in [
        claims_but("aud", json!(["x", AUDIENCE])),
        claims_but("exp", json!(now() - 30)),
        claims_but("nbf", json!(now() + 30)),
    ] {
        assert_eq!(who(&server, &signer.token(&good)).await, (200, ada.clone()), "{good}");
    }
    let all = signer.token(&claims_but("scope", json!("all a")));
    assert_eq!(who(&server, &all).await, (200, json!(format!("{ISSUER}#ada all"))));
    let less = signer.token(&claims_but("scope", json!("all aa")));
    assert_eq!(who(&server, &less).await, (403, json!("insufficient_scope")));

    let forged = [
        other.token(&claims("ada")),
        confused_token(&signer, &claims("ada")),
        format!("{}.", unsigned(&json!({ "alg": "none" }), &claims("ada"))),
        signer.token_with(&json!({ "alg": "RS256", "kid": "one" }), &claims("ada")),
        signer.token_with(&json!({ "alg": "ES256", "kid": "two" }), &claims("ada")),
        signer.token_with(&json!({ "alg": "ES256", "kid": "one", "crit": ["x"] }), &claims("ada")),
        signer.token(&claims("ada")) + "A",
        "a.b.c".to_owned(),
        "a".to_owned(),
    ];
    for token in forged {
        assert_eq!(who(&server, &token).await, (401, json!("invalid_token")), "{token}");
    }
    for wrong in [
        claims_but("iss", json!("https://login.example")),
        claims_but("iss", Value::Null),
        claims_but("iss", json!(5)),
        claims_but("aud", json!("https://pd.example")),
        claims_but("aud", json!([])),
        claims_but("aud", Value::Null),
        claims_but("exp", json!(now() - 90)),
        claims_but("exp", Value::Null),
        claims_but("nbf", json!(now() + 90)),
        claims_but("sub", json!("")),
        claims_but("sub", json!("a\nb")),
        claims_but("sub", Value::Null),
    ] {
        let answer = who(&server, &signer.token(&wrong)).await;
        assert_eq!(answer, (401, json!("invalid_token")), "{wrong}");
    }
    server.stop().await;
}

#[tokio::test]
async fn e2e_clients_are_told_where_to_get_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(with_oauth(&dir.path().join("none.json"))).await;
    for path in [METADATA.to_owned(), format!("{METADATA}/mcp")] {
        let told = http().get(server.url(&path)).send().await.unwrap();
        assert_eq!(told.headers()["content-type"], "application/json");
        let told: Value = serde_json::from_str(&told.text().await.unwrap()).unwrap();
        assert_eq!(
            told,
            json!({ "resource": AUDIENCE, "authorization_servers": [ISSUER],
                "bearer_methods_supported": ["header"], "scopes_supported": ["a", "all"] })
        );
    }
    let refused = http().get(server.url("/mcp")).header("host", "pd.example").send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(
        refused.headers()["www-authenticate"],
        format!("Bearer resource_metadata=\"https://pd.example{METADATA}/mcp\", scope=\"a\"")
    );
    // Without keys nobody is let in, and no token is called bad.
    let token = Signer::new("one").token(&claims("ada"));
    assert_eq!(who(&server, &token).await, (503, json!("busy")));
    server.stop().await;
}

#[tokio::test]
async fn e2e_pages_that_are_let_in_may_ask_and_read_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let allowed_origins = vec!["https://app.example".to_owned()];
    let options = with_oauth(&dir.path().join("none.json"));
    let server = Server::start(HttpOptions { allowed_origins, ..options }).await;
    let ask = async |method: &str, path: &str, host: &str, origin: &str| {
        let origin = match origin {
            "" => String::new(),
            origin => format!("origin: {origin}\r\n"),
        };
        // What a page wants to send is never read before the page is known; nothing comes here.
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{origin}content-length: 9\r\n\
             access-control-request-method: POST\r\nconnection: close\r\n\
             access-control-request-headers: authorization,mcp-param-x\r\n\r\n"
        );
        within(server.exchange(head.as_bytes())).await
    };
    for path in ["/mcp", METADATA, "/sse", "/messages", "/nowhere"] {
        for origin in ["https://app.example", "http://localhost:6274"] {
            let told = ask("OPTIONS", path, "localhost", origin).await;
            for part in [
                "HTTP/1.1 200 ",
                &format!("access-control-allow-origin: {origin}\r\n"),
                "access-control-allow-methods: GET,POST,DELETE\r\n",
                "access-control-allow-headers: authorization,mcp-param-x\r\n",
                "x-content-type-options: nosniff\r\n",
            ] {
                assert!(told.contains(part), "{path}: {part} is not in {told}");
            }
            assert!(!told.contains("credentials"), "{told}");
        }
        for (host, origin, status) in [
            ("localhost", "https://evil.example", "403"),
            ("localhost", "null", "403"),
            ("evil.example", "https://app.example", "403"),
            ("evil.example", "", "403"),
        ] {
            let told = ask("OPTIONS", path, host, origin).await;
            assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
            assert!(!told.contains("access-control"), "{told}");
        }
    }
    let refused = ask("POST", "/mcp", "localhost", "https://app.example").await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    for part in [
        "access-control-allow-origin: https://app.example\r\n",
        "access-control-expose-headers: mcp-session-id,mcp-protocol-version,www-authenticate,",
        "www-authenticate: Bearer resource_metadata=",
    ] {
        assert!(refused.contains(part), "{part} is not in {refused}");
    }
    let refused = ask("POST", "/mcp", "localhost", "").await;
    assert!(!refused.contains("access-control-allow-origin"), "{refused}");
    let told = http().get(server.url(METADATA)).header("origin", "https://app.example");
    let told = told.send().await.unwrap();
    assert_eq!(told.headers()["access-control-allow-origin"], "https://app.example");
    server.stop().await;
}

#[tokio::test]
async fn e2e_streams_end_when_their_callers_token_is_taken_no_more() {
    let options = HttpOptions { keep_alive: Duration::from_millis(20), ..with_tokens() };
    let access = options.access.clone();
    let server = Server::start(options).await;
    let open = async |header: (&'static str, &'static str)| {
        let get = http().get(server.url("/sse")).header(header.0, header.1);
        get.send().await.unwrap()
    };
    let (ada, mut bob) = (open(ADA).await, open(BOB).await);
    assert!(access.renew(|before| {
        let mut left = BearerTokens::default();
        left.keep(before, &Identity::new("bob", Sees::Own).unwrap());
        left
    }));
    within(ada.bytes()).await.unwrap();
    for _ in 0..10 {
        assert!(within(bob.chunk()).await.unwrap().is_some(), "the other one goes on");
    }
    assert_eq!(who(&server, "token-of-ada-0123456789").await.0, 401);
    server.stop().await;
}

#[tokio::test]
async fn e2e_streams_end_with_their_callers_token() {
    let dir = tempfile::tempdir().unwrap();
    let (jwks, signer) = (dir.path().join("jwks.json"), Signer::new("one"));
    fs::write(&jwks, key_set(&[signer.jwk()])).unwrap();
    let server = Server::start(with_oauth(&jwks)).await;
    let bearer = |exp: i64| format!("Bearer {}", signer.token(&claims_but("exp", json!(exp))));
    // Tokens are taken for a minute longer than they say.
    let soon = bearer(now() - 60 + 3);
    let ada = [("authorization", soon.as_str())];
    let request = http().post(server.url("/mcp")).header(ada[0].0, ada[0].1);
    let request = request.header("content-type", "application/json");
    let request = request.header("accept", "application/json, text/event-stream");
    let opened = request.body(initialize("2025-11-25").to_string()).send().await.unwrap();
    let session = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let headers = [ada[0], ("mcp-session-id", session.as_str())];
    let get = |path: &str| {
        let get = http().get(server.url(path)).header("accept", "text/event-stream");
        headers.iter().fold(get, |it, (name, value)| it.header(*name, *value)).send()
    };
    let streams = [get("/mcp").await.unwrap(), get("/sse").await.unwrap()];
    assert!(streams.iter().all(|it| it.status() == 200));
    let slow = within(server.post("/mcp", &headers, call(5, "slow").to_string()));
    let heard = async {
        for stream in streams {
            // It ends as a stream ends, and not as a connection breaks.
            within(stream.bytes()).await.unwrap();
        }
    };
    let ((status, answer), ()) = tokio::join!(slow, heard);
    assert_eq!(status, 200);
    assert!(!answer.to_string().contains("released"), "{answer}");
    assert_eq!(get("/mcp").await.unwrap().status(), 401, "the token has ended");

    // The call goes on, and so does the session for whoever has a token still.
    server.strings.release.notify_one();
    let later = bearer(now() + 100);
    let headers = [("authorization", later.as_str()), headers[1]];
    let (status, answer) = server.post("/mcp", &headers, call(6, "who").to_string()).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer.to_string().contains("ada own"), "{answer}");
    server.stop().await;
}

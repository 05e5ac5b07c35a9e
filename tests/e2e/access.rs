//! Serving a network: tokens, an authorization server, TLS, and what is refused at the start.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    client::http,
    jwt::{AUDIENCE, ISSUER, Signer, claims, key_set},
    space::{Program, TestSpace, within},
};

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys");
const FROM_FILE: &str = "token-of-ada-from-a-file";
const FROM_ENVIRONMENT: &str = "token-of-bob-from-the-environment";

/// An authorization server as far as keys go: what it answers, and how often it was asked.
#[derive(Clone, Default)]
struct Login {
    keys: Arc<Mutex<String>>,
    n_asked: Arc<AtomicUsize>,
    url: String,
}

impl Login {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let login = Self { url, ..Self::default() };
        let told = login.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4_096];
                if stream.read(&mut head).await.unwrap() == 0 {
                    continue;
                }
                told.n_asked.fetch_add(1, Ordering::SeqCst);
                let keys = told.keys.lock().clone();
                let length = keys.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{keys}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        login
    }
}

/// A space whose server has these settings.
fn space(server: &str) -> TestSpace {
    let space = TestSpace::offline();
    fs::write(space.config_file(), format!("server:\n{server}")).unwrap();
    space
}

fn private(space: &TestSpace, name: &str, text: &[u8]) -> PathBuf {
    let path = PathBuf::from(space.path(name));
    // Whoever looks meanwhile finds the whole file of before, or of now.
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, &path).unwrap();
    path
}

/// A space with one token in a file and one in the environment.
fn with_tokens() -> TestSpace {
    let space = space("");
    let path = private(&space, "token", format!("{FROM_FILE}\n").as_bytes());
    let settings = format!(
        "server: {{tokens: {{ada: {{bearer: '${{file:{}}}', sees: all}}, \
         bob: {{bearer: '${{env:BOBS_TOKEN}}'}}}}}}\n",
        path.display()
    );
    fs::write(space.config_file(), settings).unwrap();
    space
}

async fn serve(space: &TestSpace, listen: &str) -> (Program, SocketAddr) {
    let mut command = space.command(&["serve", "--http", listen]);
    command.env("BOBS_TOKEN", FROM_ENVIRONMENT).env("DISPATCH_DEBUG", "1");
    let mut program = Program::new(command.spawn().unwrap());
    let line = program.line_with("serving /mcp").await;
    let address = line.split("address=").nth(1).unwrap().trim().parse().unwrap();
    (program, address)
}

async fn health(url: &str, token: Option<&str>) -> (u16, Value) {
    let request = http().get(format!("{url}/health"));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let response = within(request.send()).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn e2e_tokens_come_from_a_private_file_and_from_the_environment() {
    let space = with_tokens();
    let (program, address) = serve(&space, "127.0.0.1:0").await;
    let url = format!("http://{address}");
    let (status, glimpse) = health(&url, None).await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((status, glimpse), (200, json!({ "status": "healthy", "version": version })));
    for token in [FROM_FILE, FROM_ENVIRONMENT] {
        let (status, whole) = health(&url, Some(token)).await;
        assert!(status == 200 && whole["agents_available"].is_array(), "{whole}");
    }
    assert_eq!(health(&url, Some("wrong")).await.1["error"]["code"], "invalid_token");
    program.signal(rustix::process::Signal::TERM);
    let said = program.output().await;
    assert_eq!(said.code, Some(0));
    assert!(!said.stderr.contains("token-of"), "{}", said.stderr);
}

#[tokio::test]
async fn e2e_counts_are_for_callers_that_see_all() {
    let space = with_tokens();
    let (_program, address) = serve(&space, "127.0.0.1:0").await;
    for (token, status) in [(Some(FROM_FILE), 200), (Some(FROM_ENVIRONMENT), 403), (None, 401)] {
        let request = http().get(format!("http://{address}/metrics"));
        let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        let answer = within(request.send()).await.unwrap();
        assert_eq!(answer.status(), status, "{token:?}");
        let body = within(answer.text()).await.unwrap();
        assert_eq!(body.contains("dispatch_tasks_total"), status == 200, "{body}");
        if status == 403 {
            let refusal: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(refusal["error"]["code"], "not_allowed", "{refusal}");
        }
    }
}

#[tokio::test]
async fn e2e_a_token_is_taken_anew_from_its_file_without_a_restart() {
    let space = with_tokens();
    let (mut program, address) = serve(&space, "127.0.0.1:0").await;
    let url = format!("http://{address}");
    let status = async |token: &str| health(&url, Some(token)).await.0;
    assert_eq!(status(FROM_FILE).await, 200);
    let path = private(&space, "token", b"another-token-of-ada");
    program.line_with("tokens taken anew").await;
    assert_eq!((status("another-token-of-ada").await, status(FROM_FILE).await), (200, 401));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    program.line_with("is open to others").await;
    assert_eq!(status("another-token-of-ada").await, 200);
    fs::remove_file(&path).unwrap();
    program.line_with("ada is not let in").await;
    assert_eq!(status("another-token-of-ada").await, 401);
    assert_eq!(status(FROM_ENVIRONMENT).await, 200);
    program.signal(rustix::process::Signal::TERM);
    let said = program.output().await;
    assert_eq!(said.code, Some(0));
    assert!(!said.stderr.contains("token-of"), "{}", said.stderr);
}

#[tokio::test]
async fn e2e_neither_settings_nor_doctor_show_a_token() {
    let space = with_tokens();
    let explained = space.run(&["config", "--explain"], "").await;
    assert!(explained.stdout.contains("server.tokens.bob.bearer = ${env:BOBS_TOKEN}"));
    assert!(explained.stdout.contains("server.tokens.bob.sees = own  (built in)"));
    assert!(!explained.stdout.contains("token-of"));
    let examined = space.run(&["doctor"], "").await;
    let said = &examined.stdout;
    assert!(
        said.contains("server.tokens.bob.bearer: the environment variable BOBS_TOKEN"),
        "{said}"
    );
    assert!(!said.contains("token-of"));
    let refused = space.run(&["serve", "--http", "127.0.0.1:0"], "").await;
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("BOBS_TOKEN is not set"), "{}", refused.stderr);
    let open = PathBuf::from(space.path("token"));
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = space.run(&["serve", "--http", "127.0.0.1:0"], "").await;
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("is open to others"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("token-of"), "{}", refused.stderr);
}

#[tokio::test]
async fn e2e_a_network_is_served_only_if_callers_are_known() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = space("  sessions_max: 5\n").run(&["serve", "--http", address], "").await;
        assert_eq!(refused.code, Some(2));
        assert!(refused.stderr.contains("server.tokens"), "{}", refused.stderr);
    }
    let space = space(
        "  allowed_hosts: [pd.example]\n  tokens: {ada: {bearer: token-of-ada-0123456789}}\n",
    );
    let (mut program, address) = serve(&space, "0.0.0.0:0").await;
    program.line_with("unencrypted").await;
    let url = format!("http://127.0.0.1:{}", address.port());
    assert_eq!(health(&url, Some("token-of-ada-0123456789")).await.0, 200);
    for (host, status) in [("pd.example", 200), ("evil.example", 403)] {
        let request = http().get(format!("{url}/health")).header("host", host);
        assert_eq!(within(request.send()).await.unwrap().status(), status, "{host}");
    }
}

#[tokio::test]
async fn e2e_keys_of_the_authorization_server_may_change() {
    let (login, one, two, three) =
        (Login::start().await, Signer::new("one"), Signer::new("two"), Signer::new("three"));
    let space = space(&format!(
        "  oauth:\n    issuer: {ISSUER}\n    audience: {AUDIENCE}\n    jwks: {}\n",
        login.url
    ));
    let (_program, address) = serve(&space, "127.0.0.1:0").await;
    let url = format!("http://{address}");
    *login.keys.lock() = key_set(&[one.jwk()]);
    let ask = |signer: &Signer| {
        let (url, token) = (url.clone(), signer.token(&claims("ada")));
        async move { health(&url, Some(&token)).await.0 }
    };
    assert_eq!((ask(&one).await, ask(&one).await), (200, 200));
    assert_eq!(login.n_asked.load(Ordering::SeqCst), 1, "keys are kept");
    *login.keys.lock() = key_set(&[one.jwk(), two.jwk()]);
    assert_eq!((ask(&two).await, ask(&one).await), (200, 200));
    assert_eq!(login.n_asked.load(Ordering::SeqCst), 2, "an unknown key is looked for");
    for _ in 0..20 {
        assert_eq!(ask(&three).await, 401);
    }
    assert_eq!(login.n_asked.load(Ordering::SeqCst), 2, "but not again and again");
    let told = http().get(format!("{url}/.well-known/oauth-protected-resource/mcp"));
    let told = within(told.send()).await.unwrap().text().await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["authorization_servers"][0], ISSUER);
}

#[tokio::test]
async fn e2e_a_token_is_not_refused_because_the_keys_cannot_be_read() {
    let (login, signer) = (Login::start().await, Signer::new("one"));
    let space = space(&format!(
        "  oauth:\n    issuer: {ISSUER}\n    audience: {AUDIENCE}\n    jwks: {}\n",
        login.url
    ));
    let (_program, address) = serve(&space, "127.0.0.1:0").await;
    *login.keys.lock() = "no keys".to_owned();
    let request = http().get(format!("http://{address}/health"));
    let request = request.bearer_auth(signer.token(&claims("ada")));
    let answer = within(request.send()).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    assert!(!answer.headers().contains_key("www-authenticate"), "the token may be good");
}

#[tokio::test]
async fn e2e_connections_are_encrypted_with_the_certificate_of_the_settings() {
    let space = space("");
    let key = private(&space, "tls.key", &fs::read(format!("{KEYS}/tls.key")).unwrap());
    let write = |certificate: &str| {
        let (key, token) = (key.display(), "token-of-ada-0123456789");
        let settings = format!(
            "server:\n  tls: {{certificate: {certificate}, key: {key}}}\n  \
             tokens: {{ada: {{bearer: {token}}}}}\n"
        );
        fs::write(space.config_file(), settings).unwrap();
    };
    let certificate = format!("{KEYS}/tls.crt");
    write(&certificate);
    let (_program, address) = serve(&space, "127.0.0.1:0").await;

    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    within(plain.read_to_end(&mut heard)).await.ok();
    assert!(!heard.starts_with(b"HTTP"), "plain HTTP is not answered");
    // One who says nothing keeps nobody away.
    let _silent = TcpStream::connect(address).await.unwrap();

    let url = format!("https://localhost:{}/health", address.port());
    let request = trusting(&certificate).get(&url).bearer_auth("token-of-ada-0123456789");
    assert_eq!(within(request.send()).await.unwrap().status(), 200);
    assert!(within(http().get(&url).send()).await.is_err(), "nobody else vouches for it");

    write(&format!("{KEYS}/rsa.key"));
    let refused = space.run(&["serve", "--http", "127.0.0.1:0"], "").await;
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("certificate"), "{}", refused.stderr);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = space.run(&["serve", "--http", "127.0.0.1:0"], "").await;
    assert!(refused.stderr.contains("is open to others"), "{}", refused.stderr);
    assert!(space.run(&["doctor"], "").await.stdout.contains("server tls"));
}

/// A client for which a certificate is its own authority.
fn trusting(certificate: &str) -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    let trusted = reqwest::Certificate::from_pem(&fs::read(certificate).unwrap()).unwrap();
    reqwest::Client::builder().no_proxy().tls_certs_only([trusted]).build().unwrap()
}

#[tokio::test]
async fn e2e_a_certificate_is_taken_anew_from_its_files_without_a_restart() {
    let space = space("");
    let copy =
        |from: &str, to: &str| private(&space, to, &fs::read(format!("{KEYS}/{from}")).unwrap());
    let (certificate, key) = (copy("tls.crt", "crt"), copy("tls.key", "key"));
    let (certificate, key) = (certificate.display(), key.display());
    let settings = format!("server:\n  tls: {{certificate: {certificate}, key: {key}}}\n");
    fs::write(space.config_file(), settings).unwrap();
    let (mut program, address) = serve(&space, "127.0.0.1:0").await;
    let url = format!("https://localhost:{}/health", address.port());
    let is_trusted = async |name: &str| {
        within(trusting(&format!("{KEYS}/{name}")).get(&url).send()).await.is_ok()
    };
    assert!(is_trusted("tls.crt").await && !is_trusted("renewed.crt").await);
    copy("renewed.crt", "crt");
    program.line_with("cannot be used with the key").await;
    assert!(is_trusted("tls.crt").await && !is_trusted("renewed.crt").await);
    copy("renewed.key", "key");
    program.line_with("certificate taken anew").await;
    assert!(is_trusted("renewed.crt").await && !is_trusted("tls.crt").await);
}

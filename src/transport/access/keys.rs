//! The public keys of an authorization server: read when needed, kept when they cannot be.

use std::{
    fmt,
    io::{self, Read as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{Jwk, KeyAlgorithm, PublicKeyUse},
};
use parking_lot::Mutex;
use reqwest::{Client, Url, redirect};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{self, Instant},
};

use super::signatures;
use crate::model::text;

/// The largest set of keys, in bytes.
const BYTES_MAX: usize = 1 << 20;
/// How long reading them may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long unknown keys are not looked for after they were, so that nobody can make this server
/// ask all the time.
const PAUSE: Duration = Duration::from_secs(30);
/// The same while there are no keys at all.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// After how long keys are read again, so that one that was withdrawn is forgotten.
const AGE_MAX: Duration = Duration::from_mins(10);

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// At an address.
    Url(String),
}

/// Why the keys could not be read.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {0}", path = .1.display())]
    File(io::Error, PathBuf),
    /// The address does not answer as it should.
    #[error("{1} cannot be read: {0}")]
    Url(String, String),
    /// There is too much.
    #[error("{0} has more than {BYTES_MAX} bytes")]
    TooLarge(KeySource),
    /// There is something else.
    #[error("{0} is no set of keys (JWKS): {1}")]
    NoKeys(KeySource, String),
}

/// The keys of one authorization server.
#[derive(Debug)]
pub(super) struct Keys {
    source: KeySource,
    client: Option<Client>,
    /// Guards the last set that was read, for the length of one look or exchange.
    known: Mutex<Known>,
    /// Held by whoever reads; the others wait for what he finds.
    reading: AsyncMutex<()>,
}

#[derive(Debug)]
struct Known {
    set: Arc<[Key]>,
    read_at: Option<Instant>,
    /// Before that, nothing is read for the sake of an unknown key.
    not_before: Option<Instant>,
    /// Whether they could not be read when that was tried last.
    is_failing: bool,
}

/// A public key, and the ways of signing that it is for.
#[derive(Clone, Debug)]
pub(super) struct Key {
    id: Option<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) public: DecodingKey,
}

/// Each key is read by itself: one of a new kind must not hide the others (RFC 7517, section 5).
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Keys {
    pub(super) fn new(source: KeySource) -> Result<Self, KeysError> {
        let client = match &source {
            KeySource::File(_) => None,
            KeySource::Url(url) => Some(build_client(url).map_err(|it| unreadable(url, it))?),
        };
        let known =
            Known { set: Arc::from([]), read_at: None, not_before: None, is_failing: false };
        Ok(Self { source, client, known: Mutex::new(known), reading: AsyncMutex::new(()) })
    }

    /// The key of an id, or the only one that there is for the algorithm.
    pub(super) async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Key> {
        if let Some(key) = self.known_key(id, algorithm) {
            if !self.is_old() {
                return Some(key);
            }
            // Whoever comes meanwhile takes the key that is known.
            let Ok(_reading) = self.reading.try_lock() else { return Some(key) };
            self.read().await;
            return self.known_key(id, algorithm);
        }
        let _reading = self.reading.lock().await;
        if self.known_key(id, algorithm).is_none() && self.may_read() {
            self.read().await;
        }
        self.known_key(id, algorithm)
    }

    /// Whether a key may be unknown only because the keys could not be read.
    pub(super) fn is_failing(&self) -> bool {
        self.known.lock().is_failing
    }

    /// Reads the keys; answers how many of them can be used.
    pub(super) async fn look(&self) -> Result<usize, KeysError> {
        let set = self.fetch().await?;
        Ok(set.len())
    }

    fn known_key(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Key> {
        let set = Arc::clone(&self.known.lock().set);
        let mut fitting = set.iter().filter(|it| it.is_for(id, algorithm));
        let first = fitting.next()?;
        // Without an id, only one key can be meant.
        (id.is_some() || fitting.next().is_none()).then(|| first.clone())
    }

    fn is_old(&self) -> bool {
        let known = self.known.lock();
        let is_old = known.read_at.is_none_or(|it| it.elapsed() > AGE_MAX);
        is_old && may_read(&known)
    }

    fn may_read(&self) -> bool {
        may_read(&self.known.lock())
    }

    /// Reads the keys, or keeps those that are known.
    async fn read(&self) {
        let read = self.fetch().await;
        let now = Instant::now();
        let mut known = self.known.lock();
        let is_first = known.read_at.is_none();
        known.is_failing = read.is_err();
        match read {
            Ok(set) => {
                known.set = set.into();
                known.read_at = Some(now);
                // Keys may change right after they were read for the first time.
                known.not_before = (!is_first).then(|| now + PAUSE);
            }
            Err(error) => {
                tracing::warn!(%error, "keys of the authorization server not read");
                known.not_before = Some(now + if is_first { FIRST_PAUSE } else { PAUSE });
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Key>, KeysError> {
        let bytes = match (&self.source, &self.client) {
            (KeySource::Url(url), Some(client)) => {
                let read = time::timeout(TIMEOUT, download(client, url)).await;
                read.unwrap_or_else(|_| Err("no answer within 5 s".to_owned()))
                    .map_err(|it| KeysError::Url(it, url.clone()))?
            }
            (KeySource::Url(url), None) => {
                return Err(KeysError::Url("there is no client".to_owned(), url.clone()));
            }
            (KeySource::File(path), _) => {
                read_file(path).map_err(|it| KeysError::File(it, path.clone()))?
            }
        };
        if bytes.len() > BYTES_MAX {
            return Err(KeysError::TooLarge(self.source.clone()));
        }
        parse(&bytes).map_err(|it| KeysError::NoKeys(self.source.clone(), it))
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(url),
        }
    }
}

impl Key {
    fn of(jwk: &Value) -> Option<Self> {
        let jwk = Jwk::deserialize(jwk).ok()?;
        let is_to_sign =
            jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature);
        let public = DecodingKey::from_jwk(&jwk).ok().filter(|_| is_to_sign)?;
        let mut algorithms = signatures::algorithms(&jwk, &public);
        let is_said = |it: &Algorithm| {
            jwk.common.key_algorithm.is_none_or(|said| said == KeyAlgorithm::from(*it))
        };
        algorithms.retain(is_said);
        let id = jwk.common.key_id;
        (!algorithms.is_empty()).then_some(Self { id, algorithms, public })
    }

    fn is_for(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        id.is_none_or(|it| self.id.as_deref() == Some(it)) && self.algorithms.contains(&algorithm)
    }
}

fn may_read(known: &Known) -> bool {
    known.not_before.is_none_or(|it| it <= Instant::now())
}

/// Goes to the one address and nowhere else.
fn build_client(url: &str) -> Result<Client, reqwest::Error> {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::ring::default_provider().install_default().is_err()
    {
        tracing::trace!("another thread chose the TLS provider first");
    }
    let mut builder = Client::builder().redirect(redirect::Policy::none()).referer(false);
    if Url::parse(url).is_ok_and(|it| it.scheme() == "http") {
        // Only a loopback address may be without TLS; no proxy leads there.
        builder = builder.no_proxy().tls_certs_only([]);
    }
    builder.build()
}

async fn download(client: &Client, url: &str) -> Result<Vec<u8>, String> {
    let said = |it: reqwest::Error| text::escape(&chain(&it.without_url()));
    let mut response = client.get(url).send().await.map_err(said)?;
    if response.status() != 200 {
        return Err(format!("it answers {}", response.status()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(said)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > BYTES_MAX {
            break;
        }
    }
    Ok(bytes)
}

fn chain(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |it| it.source());
    causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}

fn unreadable(url: &str, error: reqwest::Error) -> KeysError {
    KeysError::Url(error.without_url().to_string(), url.to_owned())
}

/// A small file of this machine is there at once.
fn read_file(path: &PathBuf) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The keys that can be used; the others are of no concern here.
fn parse(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let set: KeySet = serde_json::from_slice(bytes).map_err(|it| text::escape(&it.to_string()))?;
    let keys: Vec<Key> = set.keys.iter().filter_map(Key::of).collect();
    if keys.is_empty() { Err("it has none that can be used".to_owned()) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn write(path: &PathBuf, ids: &[&str]) {
        let x = "A".repeat(43);
        let key =
            |id: &&str| json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x, "use": "sig" });
        let keys: Vec<_> = ids.iter().map(key).collect();
        fs::write(path, json!({ "keys": keys }).to_string()).unwrap();
    }

    fn keys(ids: &[&str]) -> (tempfile::TempDir, PathBuf, Keys) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        write(&path, ids);
        let keys = Keys::new(KeySource::File(path.clone())).unwrap();
        (dir, path, keys)
    }

    async fn has(keys: &Keys, id: &str) -> bool {
        keys.find(Some(id), Algorithm::EdDSA).await.is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_is_looked_for_at_most_every_30_s() {
        let (_dir, path, keys) = keys(&["a"]);
        assert!(has(&keys, "a").await);
        write(&path, &["a", "b"]);
        assert!(has(&keys, "b").await);
        write(&path, &["a", "b", "c"]);
        assert!(!has(&keys, "c").await);
        time::advance(Duration::from_secs(29)).await;
        assert!(!has(&keys, "c").await);
        time::advance(Duration::from_secs(2)).await;
        assert!(has(&keys, "c").await);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_kept_when_they_cannot_be_read_and_forgotten_when_withdrawn() {
        let (_dir, path, keys) = keys(&["a"]);
        assert!(has(&keys, "a").await);
        fs::remove_file(&path).unwrap();
        time::advance(AGE_MAX + PAUSE).await;
        assert!(has(&keys, "a").await);
        write(&path, &["b"]);
        assert!(has(&keys, "a").await, "it was tried just now");
        time::advance(PAUSE).await;
        assert!(!has(&keys, "a").await);
        assert!(has(&keys, "b").await);
    }

    #[tokio::test]
    async fn a_key_is_for_its_own_kind_of_algorithm_and_need_not_be_named_if_it_is_alone() {
        let (_dir, _path, one) = keys(&["a"]);
        let (ed, es) = (Algorithm::EdDSA, Algorithm::ES256);
        assert!(one.find(None, ed).await.is_some());
        assert!(one.find(None, es).await.is_none());
        assert!(one.find(Some("a"), es).await.is_none());
        let (_dir, _path, two) = keys(&["a", "b"]);
        assert!(two.find(None, ed).await.is_none());
    }

    #[test]
    fn what_is_no_set_of_keys_is_said() {
        for wrong in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let secret = r#"{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}"#;
        assert!(parse(secret.as_bytes()).is_err(), "a shared secret is no public key");
        let encrypts = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA","use":"enc"}]}"#;
        assert!(parse(encrypts.as_bytes()).is_err());
    }
}

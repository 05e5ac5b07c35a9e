//! Takes tokens and certificates anew from their files, while the server runs.

use std::{collections::BTreeMap, io::ErrorKind, time::Duration};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use tokio::time::{self, MissedTickBehavior};

use super::access;
use crate::{
    config::{Server, SupplyError, TokenSettings},
    model::Identity,
    transport::{Access, BearerTokens, HttpOptions, Tls},
};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// What is taken anew, and what was said of it.
#[derive(Debug)]
pub(super) struct Renewal {
    server: Server,
    access: Access,
    tls: Option<Tls>,
    /// The digest of the certificate and the key that are shown, once they were looked at.
    shown: Option<[u8; 32]>,
    /// The fault of each setting when it was last looked at; each is said once.
    faults: BTreeMap<String, String>,
}

impl Renewal {
    pub(super) fn new(server: &Server, options: &HttpOptions) -> Self {
        let (access, tls) = (options.access.clone(), options.tls.clone());
        Self { server: server.clone(), access, tls, shown: None, faults: BTreeMap::new() }
    }

    /// Looks at the files again and again.
    pub(super) async fn run(mut self) {
        let mut ticks = time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.server.tokens.is_empty() || self.tls.is_some() {
            ticks.tick().await;
            // Files may lie on a disk that is far away.
            let looked = tokio::task::spawn_blocking(move || {
                self.refresh();
                self
            });
            match looked.await {
                Ok(same) => self = same,
                Err(error) => {
                    tracing::error!(%error, "tokens and certificate are not renewed any more");
                    return;
                }
            }
        }
    }

    /// Takes what the files have now. What cannot be taken leaves all as it was, but for a token
    /// whose file is gone or empty: its caller is not let in any more.
    fn refresh(&mut self) {
        let mut faults = BTreeMap::new();
        self.renew_tokens(&mut faults);
        self.renew_certificate(&mut faults);
        for (setting, fault) in &faults {
            if self.faults.get(setting) != Some(fault) {
                tracing::warn!("{fault}");
            }
        }
        self.faults = faults;
    }

    fn renew_tokens(&self, faults: &mut BTreeMap<String, String>) {
        let is_new = self.access.renew(|before| {
            let mut tokens = BearerTokens::default();
            for (name, it) in &self.server.tokens {
                let setting = format!("server.tokens.{name}.bearer");
                if let Err(error) = renew_token(&mut tokens, before, (name, it)) {
                    faults.insert(setting.clone(), format!("{setting}: {error:#}"));
                }
            }
            tokens
        });
        if is_new {
            tracing::info!("tokens taken anew");
        }
    }

    fn renew_certificate(&mut self, faults: &mut BTreeMap<String, String>) {
        let (Some(tls), Some(settings)) = (&self.tls, &self.server.tls) else { return };
        let renewed = access::read_pair(settings).and_then(|(chain, key)| {
            let found = digest(&chain, &key);
            if self.shown == Some(found) {
                return Ok(());
            }
            tls.renew(&chain, key.as_bytes()).with_context(|| access::place_of(settings))?;
            if self.shown.replace(found).is_some() {
                tracing::info!("certificate taken anew");
            }
            Ok(())
        });
        if let Err(error) = renewed {
            let fault = format!("{error:#}; the certificate of before is shown");
            faults.insert("server.tls".to_owned(), fault);
        }
    }
}

/// Adds the token that a caller has now.
fn renew_token(
    tokens: &mut BearerTokens,
    before: &BearerTokens,
    (name, it): (&str, &TokenSettings),
) -> anyhow::Result<()> {
    let identity = access::identity(name, it)?;
    let token = match it.bearer.resolve() {
        Err(SupplyError::Unreadable(_, cause)) if cause.kind() == ErrorKind::NotFound => {
            String::new()
        }
        resolved => resolved.or_else(|it| kept(tokens, before, &identity, it))?,
    };
    anyhow::ensure!(!token.is_empty(), "there is none any more, so {name} is not let in");
    tokens.add(&token, identity.clone()).or_else(|it| kept(tokens, before, &identity, it))
}

/// Leaves a caller the token of before, and says why.
fn kept<T>(
    tokens: &mut BearerTokens,
    before: &BearerTokens,
    identity: &Identity,
    fault: impl Into<anyhow::Error>,
) -> anyhow::Result<T> {
    tokens.keep(before, identity);
    Err(fault.into().context(format!("the token of before is taken from {identity}")))
}

fn digest(chain: &[u8], key: &str) -> [u8; 32] {
    Sha256::new().chain_update(chain).chain_update(key).finalize().into()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        path::{Path, PathBuf},
    };

    use super::*;
    use crate::{
        config::{SecretText, TlsSettings},
        model::Sees,
    };

    const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys");

    fn write(path: &Path, text: &[u8], mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Two callers, whose tokens are in the files that come with them.
    fn two_callers() -> (tempfile::TempDir, [PathBuf; 2], Renewal) {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["ada", "bob"].map(|it| dir.path().join(it));
        let mut server = Server::default();
        for (name, path) in ["ada", "bob"].into_iter().zip(&paths) {
            write(path, format!("first-of-{name}\n").as_bytes(), 0o600);
            let bearer = format!("${{file:{}}}", path.display());
            let bearer = SecretText::try_from(bearer).unwrap();
            server.tokens.insert(name.to_owned(), TokenSettings { bearer, sees: Sees::Own });
        }
        let (access, _) = access::access(&server).unwrap();
        let options = HttpOptions { access, ..HttpOptions::default() };
        (dir, paths, Renewal::new(&server, &options))
    }

    /// Refreshes, and finds exactly these tokens taken and these faults found.
    fn check(renewal: &mut Renewal, taken: &[(&str, &str)], faults: &[&str]) {
        renewal.refresh();
        let said: Vec<_> = renewal.faults.values().collect();
        assert_eq!(said.len(), faults.len(), "{said:?}");
        for (said, fault) in said.iter().zip(faults) {
            assert!(said.contains(fault) && !said.contains("-of-"), "{said}");
        }
        let is_other = renewal.access.renew(|_| {
            let mut tokens = BearerTokens::default();
            for (name, token) in taken {
                tokens.add(token, Identity::new(name, Sees::Own).unwrap()).unwrap();
            }
            tokens
        });
        assert!(!is_other, "others than {taken:?}");
        assert!(renewal.access.is_restricted());
    }

    #[test]
    fn a_token_that_was_replaced_or_removed_counts_no_more() {
        let (_dir, [ada, bob], mut renewal) = two_callers();
        check(&mut renewal, &[("ada", "first-of-ada"), ("bob", "first-of-bob")], &[]);
        write(&ada, b"second-of-ada", 0o600);
        check(&mut renewal, &[("ada", "second-of-ada"), ("bob", "first-of-bob")], &[]);
        fs::remove_file(&ada).unwrap();
        check(&mut renewal, &[("bob", "first-of-bob")], &["ada is not let in"]);
        write(&bob, b"\n", 0o600);
        check(&mut renewal, &[], &["ada is not let in", "bob is not let in"]);
        write(&ada, b"third-of-ada", 0o600);
        check(&mut renewal, &[("ada", "third-of-ada")], &["bob is not let in"]);
    }

    #[test]
    fn a_faulty_file_of_a_token_leaves_its_caller_the_one_of_before_and_others_alone() {
        let (_dir, [ada, bob], mut renewal) = two_callers();
        write(&bob, b"second-of-bob", 0o600);
        for (text, mode, fault) in [
            (&b"second-of-ada"[..], 0o644, "open to others"),
            (b"second of ada", 0o600, "without spaces"),
            (b"\xff\xfe", 0o600, "does not hold text"),
        ] {
            write(&ada, text, mode);
            let taken = [("ada", "first-of-ada"), ("bob", "second-of-bob")];
            check(&mut renewal, &taken, &[fault]);
        }
        write(&ada, b"second-of-ada", 0o600);
        check(&mut renewal, &[("ada", "second-of-ada"), ("bob", "second-of-bob")], &[]);
        write(&bob, b"second-of-ada", 0o600);
        let taken = [("ada", "second-of-ada"), ("bob", "second-of-bob")];
        check(&mut renewal, &taken, &["is the token of ada, too"]);
    }

    #[test]
    fn a_faulty_certificate_leaves_the_one_of_before() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        let settings = TlsSettings { certificate: place("crt"), key: place("key") };
        let copy = |from: &str, to: &Path| {
            write(to, &fs::read(format!("{KEYS}/{from}")).unwrap(), 0o600);
        };
        copy("tls.crt", &settings.certificate);
        copy("tls.key", &settings.key);
        let server = Server { tls: Some(settings.clone()), ..Server::default() };
        let tls = access::tls(&server).unwrap();
        let options = HttpOptions { tls, ..HttpOptions::default() };
        let mut renewal = Renewal::new(&server, &options);
        let mut check = |fault: Option<&str>| {
            renewal.refresh();
            let said = renewal.faults.get("server.tls");
            assert_eq!(said.is_some(), fault.is_some(), "{said:?}");
            assert!(said.is_none_or(|it| it.contains(fault.unwrap())), "{said:?}");
            renewal.shown.unwrap()
        };
        let first = check(None);
        copy("renewed.crt", &settings.certificate);
        assert_eq!(check(Some("cannot be used with the key")), first);
        copy("renewed.key", &settings.key);
        let second = check(None);
        assert_ne!(first, second);
        write(&settings.certificate, b"no PEM", 0o600);
        assert_eq!(check(Some("there is none")), second);
        copy("renewed.crt", &settings.certificate);
        fs::set_permissions(&settings.key, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(check(Some("open to others")), second);
    }
}

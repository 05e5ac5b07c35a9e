//! TLS by rustls: the certificate and its key, from PEM, and others in their place later.

use std::{fmt, sync::Arc};

use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// A certificate with its key, ready to be shown to clients.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

/// What clients are shown. Guards the pair, for the length of one look or exchange.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

/// Why a certificate or key cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificate is no PEM, or there is none in it.
    #[error("the certificate is not one in PEM: {0}")]
    Certificate(String),
    /// The key is no PEM, or there is none in it.
    #[error("the key is not one in PEM: {0}")]
    Key(String),
    /// The two do not fit each other, or are of a kind that is not served.
    #[error("the certificate cannot be used with the key: {0}")]
    Pair(#[from] rustls::Error),
}

impl Tls {
    /// Takes a certificate, with those that lead to its authority after it, and its private key.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let shown = Arc::new(Shown(RwLock::new(read(certificate, key)?)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Shown>::clone(&shown);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), shown })
    }

    /// Shows another certificate from the next connection on; if it cannot be used, the one that
    /// is shown already.
    pub fn renew(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        *self.shown.0.write() = read(certificate, key)?;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

fn read(certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|it| TlsError::Certificate(it.to_string()))?;
    if chain.is_empty() {
        return Err(TlsError::Certificate("there is none".to_owned()));
    }
    // What is wrong with a key is said without the key.
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| TlsError::Key("there is no private key that can be read".to_owned()))?;
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &ring::default_provider())?))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: [&[u8]; 2] = [
        include_bytes!("../../../tests/keys/tls.crt"),
        include_bytes!("../../../tests/keys/tls.key"),
    ];
    const SECOND: [&[u8]; 2] = [
        include_bytes!("../../../tests/keys/renewed.crt"),
        include_bytes!("../../../tests/keys/renewed.key"),
    ];

    #[test]
    fn another_certificate_is_shown_if_it_can_be_used() {
        let tls = Tls::from_pem(FIRST[0], FIRST[1]).unwrap();
        let shown = || Arc::clone(&tls.shown.0.read()).cert.clone();
        let first = shown();
        let wrong =
            [[FIRST[0], SECOND[1]], [SECOND[0], FIRST[1]], [b"", SECOND[1]], [SECOND[0], b""]];
        for [certificate, key] in wrong {
            assert!(tls.renew(certificate, key).is_err());
            assert_eq!(shown(), first);
        }
        tls.renew(SECOND[0], SECOND[1]).unwrap();
        assert_ne!(shown(), first);
    }
}

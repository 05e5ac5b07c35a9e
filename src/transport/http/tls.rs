//! TLS by rustls: the certificate and its key, from PEM.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// A certificate with its key, ready to be shown to clients.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

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
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.map_err(|it| TlsError::Certificate(it.to_string()))?;
        if chain.is_empty() {
            return Err(TlsError::Certificate("there is none".to_owned()));
        }
        // What is wrong with a key is said without the key.
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| TlsError::Key("there is no private key that can be read".to_owned()))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

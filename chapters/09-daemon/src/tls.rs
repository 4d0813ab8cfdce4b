//! TLS with certificates on both sides: whoever may speak to the daemon is root on its machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::error::{Error, Result};

/// The files, named as dockerd's options name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Who signs the clients' certificates.
    pub ca: PathBuf,
    /// The server's own certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

impl Files {
    // ANCHOR: read
    /// What rustls needs to know.
    ///
    /// # Errors
    /// Where a file cannot be read, or holds nothing of its kind.
    pub fn read(&self) -> Result<Arc<ServerConfig>> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|why| Error::invalid(self.ca.display().to_string(), why.to_string()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|why| Error::invalid(self.key.display().to_string(), why.to_string()))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(certificates(&self.cert)?, key)?;
        Ok(Arc::new(config))
    }
    // ANCHOR_END: read
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let invalid = |why: String| Error::invalid(path.display().to_string(), why);
    let all: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect());
    match all.map_err(|why| invalid(why.to_string()))? {
        none if none.is_empty() => Err(invalid("holds no certificate in PEM".to_owned())),
        all => Ok(all),
    }
}

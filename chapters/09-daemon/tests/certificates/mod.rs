//! Certificates in files.

use std::path::Path;

use corten_daemon::tls::Files;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Names by which tests reach a server: here, and from another VM.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "10.78.0.1"];

/// An authority's certificate, and a certificate and key that it has signed.
pub fn issue(directory: &Path, name: &str) -> Files {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(NAMES.map(str::to_owned).to_vec()).unwrap();
    let certificate = own.signed_by(&key, &authority).unwrap();
    let file = |kind: &str, text: String| {
        let path = directory.join(format!("{name}-{kind}.pem"));
        std::fs::write(&path, text).unwrap();
        path
    };
    Files {
        ca: file("ca", authority.pem()),
        cert: file("cert", certificate.pem()),
        key: file("key", key.serialize_pem()),
    }
}

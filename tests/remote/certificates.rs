//! Certificates for both sides, as `docker` and `dockerd` take them.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority, and a certificate of its with the key.
#[derive(Debug, Clone)]
pub struct Files {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Files {
    /// `--tlscacert` and the others.
    pub fn options(&self) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let all = [("--tlscacert", &self.ca), ("--tlscert", &self.cert), ("--tlskey", &self.key)];
        all.into_iter().flat_map(|(name, path)| [name.to_owned(), text(path)]).collect()
    }

    /// A directory for DOCKER_CERT_PATH.
    pub fn as_docker_has_them(&self, directory: &Path) -> PathBuf {
        let path = directory.join("certificates");
        std::fs::create_dir(&path).unwrap();
        for (from, name) in [(&self.ca, "ca.pem"), (&self.cert, "cert.pem"), (&self.key, "key.pem")]
        {
            std::fs::copy(from, path.join(name)).unwrap();
        }
        path
    }
}

fn issue(directory: &Path, name: &str) -> Files {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost", "127.0.0.1", "10.78.0.1"].map(str::to_owned);
    let own = CertificateParams::new(names.to_vec()).unwrap();
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

/// Those of a daemon and its clients, and those of a stranger.
pub fn make(directory: &Path) -> (Files, Files) {
    (issue(directory, "known"), issue(directory, "stranger"))
}

//! Certificates for both sides, as `docker` and `dockerd` take them.

#[path = "../../chapters/09-daemon/tests/certificates/mod.rs"]
mod files;

use std::path::{Path, PathBuf};

pub use corten_daemon::tls::Files;

/// `--tlscacert` and the others.
pub fn options(files: &Files) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let all = [("--tlscacert", &files.ca), ("--tlscert", &files.cert), ("--tlskey", &files.key)];
    all.into_iter().flat_map(|(name, path)| [name.to_owned(), text(path)]).collect()
}

/// A directory for DOCKER_CERT_PATH.
pub fn as_docker_has_them(files: &Files, directory: &Path) -> PathBuf {
    let path = directory.join("certificates");
    std::fs::create_dir(&path).unwrap();
    for (from, name) in [(&files.ca, "ca.pem"), (&files.cert, "cert.pem"), (&files.key, "key.pem")]
    {
        std::fs::copy(from, path.join(name)).unwrap();
    }
    path
}

/// Those of a daemon and its clients, and those of a stranger.
pub fn make(directory: &Path) -> (Files, Files) {
    (files::issue(directory, "known"), files::issue(directory, "stranger"))
}

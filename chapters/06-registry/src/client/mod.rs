//! (being written)
use crate::error::Result;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a [`Client`]. `Default` gives what Docker does.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Hosts (`host` or `host:port`) that may be spoken to without a verified certificate or TLS.
    pub insecure: Vec<String>,
    /// Whether loopback hosts count as insecure, as for Docker.
    pub loopback_is_insecure: bool,
    /// PEM files with further certificate authorities, for every host.
    pub ca_files: Vec<PathBuf>,
    /// Directory with `HOST/ca.crt` files: /etc/docker/certs.d.
    pub certs_dir: PathBuf,
    /// Docker's config.json with credentials; `None` reads no credentials.
    pub docker_config: Option<PathBuf>,
    /// Limit for a connection to be made.
    pub connect_timeout: Duration,
    /// Limit for the beginning of an answer, and window in which a body must make progress.
    pub stall_timeout: Duration,
    /// How often a request that is worth it is repeated.
    pub retries: u32,
    /// Wait before the first repetition; doubled each time.
    pub backoff: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        unimplemented!()
    }
}

/// A client of the distribution protocol, for any number of registries.
#[derive(Debug)]
pub struct Client {
    options: ClientOptions,
}

impl Client {
    /// A client; nothing is sent yet.
    pub fn new(options: ClientOptions) -> Result<Client> {
        Ok(Client { options })
    }
}

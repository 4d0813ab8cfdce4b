//! The configuration file of registries: mirrors, and who may be spoken to without TLS.
//!
//! ```json
//! {
//!   "insecure-registries": ["registry.lan:5000", "10.0.0.0/8"],
//!   "registry-mirrors": ["https://mirror.example"],
//!   "mirrors": {"registry.example": ["https://near.example/cache"]}
//! }
//! ```
//!
//! The first two are Docker's (daemon.json), the second for the default registry alone, as there.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ClientOptions;
use super::url::name_of;
use crate::error::{At, Error, Result};

/// Where the file is, unless `CORTEN_REGISTRIES` names another.
pub const REGISTRIES_FILE: &str = "/etc/corten/registries.json";

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    #[serde(default)]
    insecure_registries: Vec<String>,
    #[serde(default)]
    registry_mirrors: Vec<String>,
    #[serde(default)]
    mirrors: HashMap<String, Vec<String>>,
}

impl ClientOptions {
    /// The defaults with what this machine's configuration file says, if there is one.
    ///
    /// # Errors
    /// Where the file cannot be read or understood.
    pub fn system() -> Result<ClientOptions> {
        let own = std::env::var_os("CORTEN_REGISTRIES").map(PathBuf::from);
        let default = ClientOptions::default();
        match own {
            Some(path) => default.with_file(&path),
            None => match default.clone().with_file(Path::new(REGISTRIES_FILE)) {
                Err(Error::Kernel(e)) if e.errno() == Some(nix::errno::Errno::ENOENT) => {
                    Ok(default)
                }
                result => result,
            },
        }
    }

    /// These options with what the file says beside them.
    ///
    /// # Errors
    /// Where the file cannot be read or understood.
    pub fn with_file(mut self, path: &Path) -> Result<ClientOptions> {
        let what = path.display().to_string();
        let text = fs::read(path).at("read", path)?;
        let file: File =
            serde_json::from_slice(&text).map_err(|e| Error::malformed(what.as_str(), e))?;
        let mut mirrors = file.mirrors;
        if !file.registry_mirrors.is_empty() {
            mirrors.insert("docker.io".to_owned(), file.registry_mirrors);
        }
        for url in mirrors.values().flatten() {
            if !url.starts_with("https://") && !url.starts_with("http://") {
                let why = format!("mirror {url:?} must be a URL that begins with http(s)://");
                return Err(Error::malformed(what, why));
            }
        }
        self.insecure.extend(file.insecure_registries);
        self.mirrors.extend(mirrors);
        Ok(self)
    }
}

/// Whether `entry` (a host, a host and port, or a network such as `10.0.0.0/8`) covers `host`.
pub(super) fn covers(entry: &str, host: &str) -> bool {
    let name = name_of(host).trim_start_matches('[').trim_end_matches(']');
    if let Some((network, bits)) = entry.split_once('/') {
        let (Ok(network), Ok(bits), Ok(address)) =
            (network.parse::<IpAddr>(), bits.parse::<u32>(), name.parse::<IpAddr>())
        else {
            return false;
        };
        return in_network(network, bits, address);
    }
    entry == host || entry == name_of(host)
}

fn in_network(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    let (a, b, width) = match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let differ: u128 = a ^ b;
    bits <= width && differ.checked_shr(width - bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insecure_hosts_are_named_by_host_port_or_network() {
        for (entry, host, is) in [
            ("reg", "reg:5000", true),
            ("reg:5000", "reg:5000", true),
            ("reg:5000", "reg:5001", false),
            ("reg", "reg.example", false),
            ("10.0.0.0/8", "10.1.2.3:5000", true),
            ("10.0.0.0/8", "11.1.2.3:5000", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("fd00::/8", "[fd12::1]:5000", true),
            ("fd00::/8", "[fe80::1]:5000", false),
            ("10.0.0.0/99", "10.0.0.0", false),
            ("10.0.0.0/8", "10.example", false),
        ] {
            assert_eq!(covers(entry, host), is, "{entry} {host}");
        }
    }

    #[test]
    fn a_file_adds_to_the_options_and_a_mistake_in_it_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registries.json");
        let load = |text: &str| {
            fs::write(&path, text).unwrap();
            ClientOptions::default().with_file(&path)
        };
        let options = load(
            r#"{"insecure-registries":["a:1"],"registry-mirrors":["https://m"],
                "mirrors":{"b":["http://c/d"]}}"#,
        )
        .unwrap();
        assert_eq!(options.insecure, ["a:1"]);
        assert_eq!(options.mirrors["docker.io"], ["https://m"]);
        assert_eq!(options.mirrors["b"], ["http://c/d"]);
        for (text, why) in [
            (r#"{"mirror":{}}"#, "unknown field `mirror`"),
            (r#"{"registry-mirrors":["m"]}"#, "must be a URL"),
            ("{", "registries.json: "),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}

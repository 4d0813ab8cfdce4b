//! Whom a host is trusted by: authorities, client certificates, proxies; one agent, and so one pool
//! of connections, for each host.
//!
//! `/etc/docker/certs.d/HOST[:PORT]/` holds, as for Docker, authorities as `*.crt` and certificates
//! of ours as pairs `NAME.cert` and `NAME.key`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy};

use super::ClientOptions;
use super::url::is_loopback;
use crate::error::{At, Error, Result};

/// The distribution's bundle of certificate authorities: Debian's place, then Fedora's.
const SYSTEM_CAS: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// The agent for a host. `insecure` hosts may have any certificate.
pub(super) fn agent(options: &ClientOptions, host: &str, insecure: bool) -> Result<Agent> {
    let dir = options.certs_dir.join(host);
    let tls = TlsConfig::builder()
        .root_certs(roots(options, &dir)?)
        .client_cert(client_certificate(&dir)?)
        .disable_verification(insecure)
        .build();
    let stall = Some(options.stall_timeout);
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("corten/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .tls_config(tls)
        .max_idle_connections_per_host(options.concurrency.max(1))
        .timeout_connect(Some(options.connect_timeout))
        .timeout_send_request(stall)
        .timeout_recv_response(stall)
        .timeout_per_read(stall)
        .timeout_per_write(stall);
    if let Some(proxy) = &options.proxy {
        let bad = |_| Error::invalid("proxy", proxy, "expected http://[USER:PASSWORD@]HOST:PORT");
        config = config.proxy(Some(Proxy::new(proxy).map_err(bad)?));
    } else if is_loopback(host) {
        config = config.proxy(None);
    }
    Ok(config.build().into())
}

/// The authorities that may sign the host's certificate: the system's (or Mozilla's, where the
/// system has no bundle), those of the options, and those in Docker's certs.d.
fn roots(options: &ClientOptions, dir: &Path) -> Result<RootCerts> {
    let mut own = options.ca_files.clone();
    own.extend(files(dir, "crt")?);
    let system = SYSTEM_CAS.iter().map(Path::new).find(|path| path.exists());
    if own.is_empty() && system.is_none() {
        return Ok(RootCerts::WebPki);
    }
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for path in own.iter().map(AsRef::as_ref).chain(system) {
        certificates.extend(pem(path)?.into_iter().filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        }));
    }
    Ok(RootCerts::from(certificates))
}

/// Our certificate for the host: the first pair by name.
fn client_certificate(dir: &Path) -> Result<Option<ClientCert>> {
    let Some(path) = files(dir, "cert")?.into_iter().next() else { return Ok(None) };
    let key_path = path.with_extension("key");
    if !key_path.exists() {
        let why =
            format!("there is no {} beside it, which Docker's rule wants", key_path.display());
        return Err(Error::malformed(path.display().to_string(), why));
    }
    let chain: Vec<Certificate<'static>> = pem(&path)?
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    let key: Option<PrivateKey<'static>> =
        pem(&key_path)?.into_iter().find_map(|item| match item {
            PemItem::PrivateKey(key) => Some(key),
            _ => None,
        });
    let key = key.ok_or_else(|| {
        Error::malformed(key_path.display().to_string(), "there is no private key in it")
    })?;
    if chain.is_empty() {
        return Err(Error::malformed(path.display().to_string(), "there is no certificate in it"));
    }
    Ok(Some(ClientCert::new_with_certs(&chain, key)))
}

/// The files of a directory with this extension, sorted; none where there is no directory.
fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).at("read directory", dir),
        Ok(entries) => {
            for entry in entries {
                let path = entry.at("read directory", dir)?.path();
                found.extend(Some(path).filter(|p| p.extension().is_some_and(|e| e == extension)));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn pem(path: &Path) -> Result<Vec<PemItem<'static>>> {
    let text = fs::read(path).at("read", path)?;
    parse_pem(&text)
        .map(|item| item.map_err(|e| Error::malformed(path.display().to_string(), e)))
        .collect()
}

//! The driver `local`, and its options `type`, `device` and `o`.
//!
//! With options, a volume is no directory but something to be mounted. dockerd mounts it on `_data`
//! in the host's tree when its first container starts. Here nothing is mounted where the host sees
//! it: each container mounts it for itself, which for a file system on a device or a server is the
//! same file system. Only a tmpfs is another one in each container.

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;

use serde::{Deserialize, Serialize};

use crate::engine::error::{Error, Result};

/// What is mounted for a volume with options: an entry of `mounts` in config.json.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Device {
    /// The type of the file system, or `bind`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The device, server or directory.
    pub source: String,
    /// As mount(8) has them.
    pub options: Vec<String>,
}

/// Checks a volume's driver and options.
///
/// # Errors
/// [`Error::Refused`].
pub fn check(name: &str, driver: &str, options: &BTreeMap<String, String>) -> Result<()> {
    if !["", "local"].contains(&driver) {
        return Err(Error::refused(format!(
            "create {name}: error looking up volume plugin {driver}: plugin {driver:?} not found"
        )));
    }
    let bad = |why: String| Err(Error::refused(format!("create {name}: {why}")));
    if let Some(unknown) =
        options.keys().find(|key| !["type", "device", "o"].contains(&key.as_str()))
    {
        return match unknown.as_str() {
            "size" => bad("quota size requested but no quota support".to_owned()),
            _ => bad(format!("invalid option: {unknown:?}")),
        };
    }
    for (key, needed) in [("device", "type"), ("type", "device"), ("o", "device"), ("o", "type")] {
        if options.contains_key(key) && !options.contains_key(needed) {
            return bad(format!("missing required option: {needed:?}"));
        }
    }
    Ok(())
}

/// What is mounted for a volume with these options; `None` for a plain one. `copy` fills a tmpfs
/// with what the image has in its place, unless the options say whose it is.
///
/// # Errors
/// Where the name of a server has no address.
pub fn device(options: &BTreeMap<String, String>, copy: bool) -> Result<Option<Device>> {
    let get = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
    let (kind, source) = (get("type"), get("device"));
    if kind.is_empty() {
        return Ok(None);
    }
    let mut words = Vec::new();
    for option in get("o").split(',').filter(|option| !option.is_empty()) {
        // The kernel wants an address.
        words.push(match option.strip_prefix("addr=") {
            Some(server) => format!("addr={}", address(server)?),
            None => option.to_owned(),
        });
    }
    let binds = words.iter().any(|option| option == "bind" || option == "rbind");
    let kind = if binds && ["none", "bind", ""].contains(&kind) { "bind" } else { kind };
    // What is copied has the image's owner and mode.
    let dressed = words.iter().any(|option| {
        option.split_once('=').is_some_and(|(name, _)| ["uid", "gid", "mode"].contains(&name))
    });
    if kind == "tmpfs" && copy && !dressed {
        words.push("tmpcopyup".to_owned());
    }
    Ok(Some(Device { kind: kind.to_owned(), source: source.to_owned(), options: words }))
}

fn address(server: &str) -> Result<String> {
    if let Ok(address) = server.parse::<std::net::IpAddr>() {
        return Ok(address.to_string());
    }
    let found = (server, 0).to_socket_addrs().ok().and_then(|mut all| all.next());
    match found {
        Some(address) => Ok(address.ip().to_string()),
        None => Err(Error::refused(format!(
            "error resolving passed in network volume address: lookup {server}: no such host"
        ))),
    }
}

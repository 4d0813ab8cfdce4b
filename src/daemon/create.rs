//! Requests to the engine's types.

use std::collections::BTreeMap;

use corten_daemon::backend::{Create, Created};
use corten_daemon::version::{UNVERSIONED, Version};
use corten_daemon::{Failure, Outcome};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Api, platform};
use crate::engine::Error;
use crate::engine::container::{PullPolicy, Request};
use crate::engine::networks::Attachment;
use crate::engine::options::host::PortBinding;
use crate::engine::options::{Config, HostConfig};
use crate::engine::pull::Event;

/// The version from which on a container may be created on several networks.
const SEVERAL_NETWORKS: Version = Version(1, 44);

/// The version from which on it is told that a port without bindings will once not be published.
const BARE_PORTS: Version = Version(1, 52);

/// The version from which on a container may be asked for by platform.
const PLATFORMS: Version = Version(1, 41);

/// The version from which on a container's IPC namespace is its own where nobody says more; before,
/// others might join it.
const PRIVATE_IPC: Version = Version(1, 40);

/// JSON into one of the engine's types.
pub(super) fn read<T: DeserializeOwned>(value: Value) -> Outcome<T> {
    serde_json::from_value(value).map_err(|why| Failure::invalid(format!("invalid JSON: {why}")))
}

/// Takes null out, where that is not told from what is absent.
pub(super) fn without_null(value: Value) -> Value {
    match value {
        Value::Object(all) => {
            let some = all.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(some.map(|(name, value)| (name, without_null(value))).collect())
        }
        other => other,
    }
}

/// `EndpointsConfig`: what is asked of networks. One without an entry asks for nothing.
fn networks(networking: Option<Value>) -> Outcome<BTreeMap<String, Attachment>> {
    let all = networking.and_then(|mut all| all.get_mut("EndpointsConfig").map(Value::take));
    let Some(Value::Object(all)) = all else { return Ok(BTreeMap::new()) };
    let read = |(name, wanted): (String, Value)| {
        let name = if name == "default" { "bridge".to_owned() } else { name };
        let wanted = if wanted.is_null() { Value::Object(Default::default()) } else { wanted };
        let wanted: Attachment = read(without_null(wanted))?;
        addresses(&wanted)?;
        Ok((name, wanted))
    };
    all.into_iter().map(read).collect()
}

/// Whether fixed addresses are some, in dockerd's words for those that are not.
pub(super) fn addresses(wanted: &Attachment) -> Outcome<()> {
    let Some(fixed) = &wanted.ipam else { return Ok(()) };
    if !fixed.ipv4.is_empty() && fixed.ipv4.parse::<std::net::Ipv4Addr>().is_err() {
        return Err(Failure::invalid(format!("invalid IPv4 address: {}", fixed.ipv4)));
    }
    if !fixed.ipv6.is_empty() && fixed.ipv6.parse::<std::net::Ipv6Addr>().is_err() {
        return Err(Failure::invalid(format!("invalid IPv6 address: {}", fixed.ipv6)));
    }
    Ok(())
}

/// `Config`, `HostConfig` and `NetworkingConfig` of a request.
pub(super) fn request(name: &str, body: Value) -> Outcome<Request> {
    let Value::Object(mut config) = body else {
        return Err(Failure::invalid("invalid JSON: the body is no object"));
    };
    let host_config = match config.remove("HostConfig") {
        None | Some(Value::Null) => HostConfig::default(),
        Some(host_config) => read(host_config)?,
    };
    let networks = networks(config.remove("NetworkingConfig"))?;
    if config.values().all(Value::is_null) {
        return Err(Failure::invalid("Config cannot be empty in order to create a container"));
    }
    let config: Config = read(Value::Object(config))?;
    Ok(Request {
        image: config.image.clone(),
        name: (!name.is_empty()).then(|| name.to_owned()),
        policy: PullPolicy::Never,
        config,
        host_config,
        networks,
        late_networks: true,
        ..Request::default()
    })
}

/// Binds ports for which no binding is named to any port of the host's, as dockerd does; gives those
/// ports.
fn bind(host_config: &mut HostConfig) -> Vec<String> {
    let bare = host_config.port_bindings.iter_mut().filter(|(_, bindings)| bindings.is_empty());
    let bind = |(port, bindings): (&String, &mut Vec<PortBinding>)| {
        bindings.push(PortBinding::default());
        port.clone()
    };
    bare.map(bind).collect()
}

impl Api {
    pub(super) fn make(&self, wanted: &Create) -> Outcome<Created> {
        let mut request = request(&wanted.name, wanted.body.clone())?;
        let bare = bind(&mut request.host_config);
        if let Some(name) = &request.name {
            check_name(name)?;
        }
        let version = wanted.version.unwrap_or(UNVERSIONED);
        if version < PRIVATE_IPC && request.host_config.ipc_mode.is_empty() {
            request.host_config.ipc_mode = "shareable".to_owned();
        }
        if version < SEVERAL_NETWORKS && request.networks.len() > 1 {
            let names: Vec<&str> = request.networks.keys().map(String::as_str).collect();
            return Err(Failure::invalid(format!(
                "Container cannot be connected to network endpoints: {}",
                names.join(", ")
            )));
        }
        if let Some(platform) = platform::read(&wanted.platform)?
            && version >= PLATFORMS
            && let Ok(image) = self.image(&request.image)
        {
            platform::check(&request.image, &image, &[platform])?;
        }
        let mut made = Created::default();
        if version >= BARE_PORTS && !bare.is_empty() {
            made.warnings.push(format!(
                "Following container port(s) have an empty list of port-bindings: {}. Such bindings will \
                 be discarded in a future version.",
                bare.join(", ")
            ));
        }
        let id = self.engine().create(&request, &mut |event| {
            if let Event::Warning(text) = event {
                made.warnings.push(text.to_owned());
            }
        });
        made.id = id.map_err(|error| self.of_making(error))?;
        Ok(made)
    }

    /// What keeps a container from being made.
    pub(super) fn of_making(&self, error: Error) -> Failure {
        match error {
            Error::NameTaken { name, id } => {
                let whole = self.engine().containers().find(&name).map(|(record, _)| record.id);
                let id = whole.unwrap_or(id);
                Failure::conflict(format!(
                    "Conflict. The container name \"/{name}\" is already in use by container \
                     \"{id}\". You have to remove (or rename) that container to be able to reuse \
                     that name."
                ))
            }
            // At this point a neighbour is a part of the request.
            Error::NoSuchContainer { name } => {
                Failure::invalid(format!("No such container: {name}"))
            }
            Error::NotPulled { name } => super::failure::no_such_image(&name),
            other => other.into(),
        }
    }
}

/// dockerd's rule, in its words.
pub(super) fn check_name(name: &str) -> Outcome<()> {
    crate::engine::state::check_name(name).map_err(|_| {
        Failure::invalid(format!(
            "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_is_taken_apart() {
        let body = json!({"Image": "busybox", "Cmd": ["ls"], "HostConfig": {"AutoRemove": true},
            "NetworkingConfig": {"EndpointsConfig": {"default": null, "net": {"Aliases": null,
                "IPAMConfig": {"IPv4Address": "10.0.0.2"}, "Links": null, "DriverOpts": null}}},
            "Whatever": 1});
        let request = request("web", body).unwrap();
        assert_eq!((request.image.as_str(), request.name.as_deref()), ("busybox", Some("web")));
        assert!(request.host_config.auto_remove);
        assert_eq!(request.networks.keys().collect::<Vec<_>>(), ["bridge", "net"]);
        assert_eq!(request.networks["net"], Attachment::default().at("10.0.0.2", ""));
    }

    #[test]
    fn a_port_without_bindings_is_bound_to_any() {
        let body = json!({"Image": "busybox", "HostConfig": {"PortBindings": {"80/tcp": [],
            "81/tcp": null, "82/tcp": [{"HostPort": "8082"}]}}});
        let mut host_config = request("", body).unwrap().host_config;
        assert_eq!(bind(&mut host_config), ["80/tcp", "81/tcp"]);
        let shown = json!(host_config.port_bindings);
        assert_eq!(shown["80/tcp"], json!([{"HostIp": "", "HostPort": ""}]));
        assert_eq!(shown["82/tcp"], json!([{"HostIp": "", "HostPort": "8082"}]));
    }

    #[test]
    fn what_says_nothing_of_a_container_and_addresses_that_are_none_are_refused() {
        let why = |body: Value| request("", body).unwrap_err().message;
        let empty = "Config cannot be empty in order to create a container";
        assert_eq!(why(json!({})), empty);
        assert_eq!(why(json!({"Image": null, "HostConfig": {"Memory": 1}})), empty);
        let at = json!({"Image": "x", "NetworkingConfig": {"EndpointsConfig": {"n": {"IPAMConfig":
            {"IPv4Address": "x"}}}}});
        assert_eq!(why(at), "invalid IPv4 address: x");
    }

    #[test]
    fn wrong_types_are_refused() {
        for body in
            [json!([]), json!({"Image": 1}), json!({"Image": "", "HostConfig": {"Memory": "1"}})]
        {
            assert_eq!(request("", body.clone()).unwrap_err().status, 400, "{body}");
        }
    }
}

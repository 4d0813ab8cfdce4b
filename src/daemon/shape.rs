//! The engine's answers in Docker's shape: null where clients know null.

use corten_daemon::version::Version;
use serde_json::{Value, json};

/// The version from which on an image's configuration has nothing that only a container can have.
const NOTHING_OF_CONTAINERS: Version = Version(1, 50);

/// The version from which on what an image does not say is absent, and not empty.
const NOTHING_EMPTY: Version = Version(1, 52);

/// What an image's configuration had because it was of the same type as a container's.
const OF_CONTAINERS: [&str; 12] = [
    "Hostname",
    "Domainname",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Image",
    "NetworkDisabled",
    "MacAddress",
    "StopTimeout",
];

/// Fields of an image, and of its configuration, that may be absent.
const MAY_BE_ABSENT: ([&str; 4], [&str; 8]) = (
    ["Parent", "Comment", "DockerVersion", "Author"],
    ["Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir"],
);

/// Lists of `HostConfig` that are null while nobody has said anything.
const NULL_IN_HOST: [&str; 10] = [
    "Binds",
    "VolumesFrom",
    "CapAdd",
    "CapDrop",
    "ExtraHosts",
    "GroupAdd",
    "Links",
    "SecurityOpt",
    "DeviceCgroupRules",
    "DeviceRequests",
];

/// A container as `inspect` shows it; `hidden` are the paths that are hidden in it, and those that are
/// read-only.
pub(super) fn container(mut own: Value, hidden: (Vec<String>, Vec<String>)) -> Value {
    let privileged = own["HostConfig"]["Privileged"] == json!(true);
    if let Some(host) = own["HostConfig"].as_object_mut() {
        for (name, paths) in [("MaskedPaths", hidden.0), ("ReadonlyPaths", hidden.1)] {
            // That there are none is null where nobody can have said it, and otherwise an empty list.
            host.insert(name.to_owned(), if privileged { Value::Null } else { json!(paths) });
        }
        let log = &mut host["LogConfig"];
        if log["Type"] == "" {
            log["Type"] = json!("json-file");
        }
        for name in NULL_IN_HOST {
            if host.get(name).is_some_and(is_empty_list) {
                host.insert(name.to_owned(), Value::Null);
            }
        }
    }
    if let Some(config) = own["Config"].as_object_mut() {
        config_of(config);
    }
    own
}

/// A configuration of a container or an image.
fn config_of(config: &mut serde_json::Map<String, Value>) {
    for name in ["Volumes", "OnBuild", "Env"] {
        let none = |value: &Value| {
            is_empty_list(value) || value.as_object().is_some_and(serde_json::Map::is_empty)
        };
        if config.get(name).is_none_or(none) {
            config.insert(name.to_owned(), Value::Null);
        }
    }
    if config.get("ExposedPorts").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
    {
        config.remove("ExposedPorts");
    }
}

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

/// The configuration of an image.
pub(super) fn image_config(mut config: Value) -> Value {
    if let Some(config) = config.as_object_mut() {
        config_of(config);
        if config.get("Labels").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            config.insert("Labels".to_owned(), Value::Null);
        }
    }
    config
}

/// An image as a version shows it.
pub(super) fn image(mut own: Value, version: Version) -> Value {
    let mut remove = |within: &str, names: &[&str], if_empty: bool| {
        let Some(fields) = own.pointer_mut(within).and_then(Value::as_object_mut) else { return };
        fields
            .retain(|name, value| !names.contains(&name.as_str()) || if_empty && !is_empty(value));
    };
    if version >= NOTHING_OF_CONTAINERS {
        remove("/Config", &OF_CONTAINERS, false);
    }
    if version >= NOTHING_EMPTY {
        remove("", &MAY_BE_ABSENT.0, true);
        remove("/Config", &MAY_BE_ABSENT.1, true);
    }
    own
}

/// Whether a value says nothing: null, and lists, maps and texts with nothing in them.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_what_its_version_has() {
        let config = image_config(json!(crate::engine::options::Config::default()));
        let own = json!({"Id": "x", "Parent": "", "Author": "me", "Comment": "", "Config": config});
        let of = |minor: u16| image(own.clone(), Version(1, minor));
        assert_eq!(of(49), own);
        let names =
            |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        let mut expected = MAY_BE_ABSENT.1.map(str::to_owned);
        expected.sort();
        let mut of_51 = names(&of(51)["Config"]);
        of_51.sort();
        assert_eq!(of_51, expected);
        assert_eq!(of(51)["Parent"], "");
        assert_eq!(of(52), json!({"Id": "x", "Author": "me", "Config": {}}));
        let said = json!({"Config": {"Env": ["a=b"], "User": "u", "Hostname": "h"}});
        let expected = json!({"Config": {"Env": ["a=b"], "User": "u"}});
        assert_eq!(image(said, Version(1, 53)), expected);
    }

    #[test]
    fn hidden_paths_are_those_that_are_hidden() {
        let shown = |host: Value, paths: Vec<String>| {
            container(json!({"HostConfig": host}), (paths, Vec::new()))["HostConfig"].take()
        };
        let usual = shown(json!({"LogConfig": {}}), vec!["/proc/keys".to_owned()]);
        assert_eq!(usual["MaskedPaths"], json!(["/proc/keys"]));
        // Made again of this, it shall have all paths again.
        let all = shown(json!({"MaskedPaths": [], "LogConfig": {}}), Vec::new());
        assert_eq!(all["MaskedPaths"], json!([]));
        let privileged = shown(json!({"Privileged": true, "LogConfig": {}}), Vec::new());
        assert_eq!(privileged["MaskedPaths"], Value::Null);
    }
}

//! Docker's shape of what is told: null where clients know null.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::options::mount::MountType;
use super::record::Record;
use super::volumes::{MountPoint, Volume, Volumes};

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
fn config_of(config: &mut Map<String, Value>) {
    for name in ["Volumes", "OnBuild", "Env"] {
        let none =
            |value: &Value| is_empty_list(value) || value.as_object().is_some_and(Map::is_empty);
        if config.get(name).is_none_or(none) {
            config.insert(name.to_owned(), Value::Null);
        }
    }
    if config.get("ExposedPorts").and_then(Value::as_object).is_some_and(Map::is_empty) {
        config.remove("ExposedPorts");
    }
}

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

/// The configuration of an image.
pub(crate) fn image_config(mut config: Value) -> Value {
    if let Some(config) = config.as_object_mut() {
        config_of(config);
        if config.get("Labels").and_then(Value::as_object).is_some_and(Map::is_empty) {
            config.insert("Labels".to_owned(), Value::Null);
        }
    }
    config
}

/// The mounts that both lists and `inspect` show. What `--tmpfs` asks for is in `HostConfig.Tmpfs` alone.
pub(crate) fn mounts(record: &Record) -> Vec<Value> {
    shown_mounts(record).map(mount).collect()
}

/// The same, not written yet.
pub(crate) fn shown_mounts(record: &Record) -> impl Iterator<Item = &MountPoint> {
    let elsewhere = &record.host_config.tmpfs;
    let is_elsewhere = |point: &MountPoint| {
        let own = Path::new(&point.destination);
        point.kind == MountType::Tmpfs && elsewhere.keys().any(|path| Path::new(path) == own)
    };
    record.mount_points.iter().filter(move |point| !is_elsewhere(point))
}

fn mount(point: &MountPoint) -> Value {
    let mut all = Map::new();
    all.insert("Type".into(), json!(point.kind));
    if !point.name.is_empty() {
        all.insert("Name".into(), json!(point.name));
    }
    all.insert("Source".into(), json!(point.source));
    all.insert("Destination".into(), json!(point.destination));
    if !point.driver.is_empty() {
        all.insert("Driver".into(), json!(point.driver));
    }
    // With a name of the user's, dockerd's parser has put a label there that SELinux alone knows.
    let labelled = point.driver == "local" && !point.anonymous && point.mode.is_empty();
    all.insert("Mode".into(), json!(if labelled { "z" } else { point.mode.as_str() }));
    all.insert("RW".into(), json!(point.writable));
    all.insert("Propagation".into(), json!(point.propagation));
    Value::Object(all)
}

/// A volume; maps that are empty are null.
pub(crate) fn volume(volumes: &Volumes, volume: &Volume) -> Value {
    let or_null =
        |map: &BTreeMap<String, String>| if map.is_empty() { Value::Null } else { json!(map) };
    // Whole seconds: a volume's directory is asked by dockerd, in that precision.
    let created = match volume.created_at.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => volume.created_at.clone(),
    };
    json!({
        "CreatedAt": created,
        "Driver": volume.driver,
        "Labels": or_null(&volume.labels),
        "Mountpoint": volumes.data(&volume.name),
        "Name": volume.name,
        "Options": or_null(&volume.options),
        "Scope": "local",
    })
}

/// Where the driver has the parts of a tree. Layers below are many, and mounted by descriptor: no path names
/// the merged tree.
pub(super) fn graph_driver(driver: &str, upper: &str, work: &str) -> Value {
    let data = json!({"LowerDir": "", "MergedDir": "", "UpperDir": upper, "WorkDir": work});
    json!({"Name": driver, "Data": data})
}

#[cfg(test)]
mod tests {
    use super::*;

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

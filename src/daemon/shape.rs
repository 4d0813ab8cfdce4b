//! The engine's answers in Docker's shape: null where clients know null.

use serde_json::{Value, json};

/// Lists of `HostConfig` that are null while nobody has said anything.
const NULL_IN_HOST: [&str; 12] = [
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
    "MaskedPaths",
    "ReadonlyPaths",
];

/// The paths that are hidden in every container, where nobody says otherwise.
const MASKED: [&str; 9] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];

/// Those that are read-only.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A container as `inspect` shows it.
pub(super) fn container(mut own: Value) -> Value {
    let privileged = own["HostConfig"]["Privileged"] == json!(true);
    if let Some(host) = own["HostConfig"].as_object_mut() {
        for (name, usual) in [("MaskedPaths", &MASKED[..]), ("ReadonlyPaths", &READ_ONLY[..])] {
            if !privileged && host.get(name).is_none_or(Value::is_null) {
                // sysfs has one that is hidden, too.
                let mut paths: Vec<&str> = usual.to_vec();
                if name == "MaskedPaths" {
                    paths.push("/sys/firmware");
                }
                host.insert(name.to_owned(), json!(paths));
            }
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

//! The names of fields, however a client writes them.
//!
//! Go's decoder takes `image` for `Image`, and so dockerd does; some clients have never noticed that they
//! write another case (the Python SDK's `detachKeys`). Before a body is read its fields get the names that
//! the API has for them. Keys that a user chooses, such as labels, are left as they are.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

/// The fields of all bodies.
const FIELDS: &str = "Aliases AppArmorProfile Architecture Args AttachStderr AttachStdin AttachStdout \
    Attachable Author AutoRemove BindOptions Binds BlkioDeviceReadBps BlkioDeviceReadIOps \
    BlkioDeviceWriteBps BlkioDeviceWriteIOps BlkioWeight BlkioWeightDevice CapAdd CapDrop Capabilities \
    Cgroup CgroupParent CgroupPermissions CgroupnsMode CheckDuplicate Cmd Comment Config ConfigFrom \
    ConfigOnly ConsoleSize Container ContainerIDFile Count CpuCount CpuPercent CpuPeriod CpuQuota \
    CpuRealtimePeriod CpuRealtimeRuntime CpuShares CpusetCpus CpusetMems CreateMountpoint Detach \
    DetachKeys DeviceCgroupRules DeviceIDs DeviceRequests Devices Dns DnsOptions DnsSearch Domainname \
    Driver DriverConfig DriverOpts EnableIPv4 EnableIPv6 EndpointConfig EndpointsConfig Entrypoint Env \
    ExposedPorts ExtraHosts Force Gateway GroupAdd GwPriority Hard Healthcheck HostConfig HostIp HostPort Hostname \
    IOMaximumBandwidth IOMaximumIOps IPAM IPAMConfig IPRange IPv4Address IPv6Address Image Ingress Init \
    Internal Interval IpcMode Isolation KernelMemory KernelMemoryTCP Labels LinkLocalIPs Links LogConfig \
    MacAddress MaskedPaths MaximumRetryCount Memory MemoryReservation MemorySwap MemorySwappiness Mode \
    Mounts Name NanoCpus NetworkDisabled NetworkMode NetworkingConfig NoCopy NonRecursive OnBuild \
    OomKillDisable OomScoreAdj OpenStdin Options Path PathInContainer PathOnHost PidMode PidsLimit \
    PortBindings Privileged Propagation PublishAllPorts Rate ReadOnly ReadonlyPaths ReadonlyRootfs Resource \
    RestartPolicy Retries Runtime Scope SecurityOpt Shell ShmSize SizeBytes Soft Source StartInterval \
    StartPeriod StdinOnce StopSignal StopTimeout StorageOpt Subnet Subpath Sysctls Target Test Timeout \
    Tmpfs TmpfsOptions Tty Type UTSMode Ulimits User UsernsMode Value VolumeDriver VolumeOptions Volumes \
    VolumesFrom Weight WorkingDir";

/// Objects whose keys are the user's.
const CHOSEN: [&str; 14] = [
    "Annotations",
    "AuxiliaryAddresses",
    "Config",
    "DriverOpts",
    "EndpointsConfig",
    "ExposedPorts",
    "Labels",
    "Options",
    "PortBindings",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "TmpfsOptions",
    "Volumes",
];

static KNOWN: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    let fields = FIELDS.split_whitespace().chain(CHOSEN);
    fields.map(|field| (field.to_ascii_lowercase(), field)).collect()
});

/// The same value, with the fields' usual names. What is there under its usual name counts for more.
pub fn usual(value: Value) -> Value {
    spelled(value, false)
}

fn spelled(value: Value, chosen: bool) -> Value {
    match value {
        Value::Object(all) => Value::Object(object(all, chosen)),
        Value::Array(all) => all.into_iter().map(|value| spelled(value, chosen)).collect(),
        other => other,
    }
}

fn object(all: Map<String, Value>, chosen: bool) -> Map<String, Value> {
    let mut named = Map::new();
    let mut odd = Vec::new();
    for (key, value) in all {
        let field = if chosen { None } else { KNOWN.get(&key.to_ascii_lowercase()).copied() };
        let below = !chosen && field.is_some_and(|field| CHOSEN.contains(&field));
        // Below a list, as in IPAM's `Config`, are fields again.
        let chosen = below && value.is_object();
        let value = spelled(value, chosen);
        match field {
            Some(field) if field != key => odd.push((field, value)),
            _ => drop(named.insert(key, value)),
        }
    }
    for (field, value) in odd {
        named.entry(field).or_insert(value);
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_known_in_any_case_and_a_user_s_keys_are_left_alone() {
        let body = json!({"image": "busybox", "Cmd": ["LS"], "CMD": ["no"], "detachKeys": "ctrl-p",
            "labels": {"image": "a", "Image": "b"}, "unheard": {"image": 1},
            "hostConfig": {"portBindings": {"80/tcp": [{"hostPort": "1"}]}, "sysctls": {"name": "1"},
                "logConfig": {"type": "local", "config": {"mode": "x"}}},
            "ipam": {"config": [{"subnet": "10.0.0.0/8"}]}});
        let usual = usual(body);
        assert_eq!(
            usual,
            json!({"Image": "busybox", "Cmd": ["LS"], "DetachKeys": "ctrl-p",
            "Labels": {"image": "a", "Image": "b"}, "unheard": {"Image": 1},
            "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "1"}]}, "Sysctls": {"name": "1"},
                "LogConfig": {"Type": "local", "Config": {"mode": "x"}}},
            "IPAM": {"Config": [{"Subnet": "10.0.0.0/8"}]}})
        );
    }
}

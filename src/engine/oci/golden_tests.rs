//! What dockerd 20.10 handed to its runtime (tests/dockerd/*.config.json, written by capture.sh),
//! beside what is generated here for the same request. Where the two differ on purpose, [`NORMAL`]
//! and [`normal`] say so by name; all else must be equal. capture.sh has taken out what differs in
//! each run, and the hook by which dockerd connects networks.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::engine::machine::Support;
use crate::engine::options::MountType;
use crate::engine::options::check::check;
use crate::engine::volumes::mount_points;

#[derive(Deserialize)]
struct Create {
    #[serde(flatten)]
    config: Config,
    #[serde(rename = "HostConfig")]
    host: HostConfig,
}

struct Nobody;

impl Neighbours for Nobody {
    fn namespace(&self, container: &str, kind: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/ns/{container}/{kind}")))
    }
    fn directory(&self, container: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/containers/{container}")))
    }
    fn shm(&self, container: &str) -> Result<Option<PathBuf>> {
        Ok(Some(PathBuf::from(format!("/containers/{container}/mounts/shm"))))
    }
}

fn golden(name: &str, kind: &str) -> Value {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dockerd");
    let text = std::fs::read_to_string(directory.join(format!("{name}.{kind}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The machine on which dockerd ran: hybrid groups, so v1 for all that counts.
pub(in crate::engine) fn machine() -> Machine {
    let privileged = golden("privileged", "config");
    let bounding = privileged["process"]["capabilities"]["bounding"].as_array().unwrap();
    Machine {
        hostname: "vm".to_owned(),
        cpus: 2,
        online_cpus: "0-1".to_owned(),
        memory_nodes: "0".to_owned(),
        unified: false,
        cgroup_namespaces: true,
        support: Support::ALL,
        kernel: (6, 18),
        apparmor: false,
        capabilities: bounding.iter().map(|c| c.as_str().unwrap().to_owned()).collect(),
        network_sysctls: true,
        rootless: false,
        cgroups: true,
        given: None,
    }
}

pub(super) fn ours(create: Value) -> Result<Value> {
    let Create { mut config, mut host } = serde_json::from_value(create).unwrap();
    let image = json!({"Cmd": ["sh"], "Env": ["FROM=image"]});
    config.merge(&serde_json::from_value(image).unwrap())?;
    let machine = machine();
    check(&mut config, &mut host, &machine)?;
    let mut points = mount_points(&config, &host, &[])?;
    for point in points.iter_mut().filter(|point| point.kind == MountType::Volume) {
        let name = if point.anonymous { "ANONYMOUS" } else { &point.name };
        point.source = format!("VOLUMES/{name}/_data");
    }
    let accounts = Accounts::parse(
        "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:100::/home/bob:/bin/sh\n",
        "root:x:0:\nusers:x:100:\nwheel:x:10:bob\nvideo:x:44:\n",
    );
    let place = Place {
        rootfs: PathBuf::from("rootfs"),
        directory: PathBuf::from("DATA/containers/ID"),
        init: PathBuf::from("/usr/bin/docker-init"),
        shm: Some(PathBuf::from("DATA/containers/ID/mounts/shm")),
    };
    let spec = generate(&Wanted {
        id: "SHORT",
        config: &config,
        host: &host,
        accounts: &accounts,
        mounts: &points,
        place: &place,
        machine: &machine,
        network: None,
        neighbours: &Nobody,
    })?;
    Ok(serde_json::to_value(spec).unwrap())
}

/// What is taken out on both sides, and why.
const NORMAL: [(&str, &str); 6] = [
    ("/ociVersion", "dockerd's is older"),
    ("/root/path", "where the root is, is each engine's own"),
    ("/annotations", "dockerd has passed them on since 24"),
    ("/linux/seccomp", "looked at by the tests below"),
    ("/linux/devices", "with Privileged all of the machine's: looked at by a test below"),
    ("/linux/cgroupsPath", "/docker there, /corten here"),
];

/// Masked since Docker 27.
const LATER: [&str; 3] = [
    "/proc/interrupts",
    "/sys/devices/virtual/powercap",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
];

fn normal(mut spec: Value, privileged: bool) -> Value {
    for (pointer, _) in NORMAL {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        if name == "devices" && !privileged {
            continue;
        }
        if let Some(parent) = spec.pointer_mut(parent).and_then(Value::as_object_mut) {
            parent.remove(name);
        }
    }
    // dockerd's runtime sets HOME, our engine does.
    let env = spec["process"]["env"].as_array_mut().unwrap();
    env.retain(|variable| !variable.as_str().unwrap().starts_with("HOME="));
    let args = spec["process"]["args"].as_array_mut().unwrap();
    for argument in args.iter_mut().filter(|argument| *argument == INIT) {
        *argument = json!("/sbin/docker-init");
    }
    // dockerd joins a namespace that is the host's, we join none.
    let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["path"] != "EXEC/netns/default");
    if let Some(paths) = spec["linux"]["maskedPaths"].as_array_mut() {
        paths.retain(|path| !LATER.contains(&path.as_str().unwrap()));
    }
    // dockerd writes zeros for what is not asked for.
    let resources = &mut spec["linux"]["resources"];
    for (part, field) in [("blockIO", "weight"), ("cpu", "shares")] {
        if resources[part][field] == 0 {
            resources[part].as_object_mut().unwrap().remove(field);
        }
    }
    // dockerd's order is by depth alone and not stable.
    let mut mounts = std::collections::BTreeMap::new();
    for mount in spec["mounts"].as_array().unwrap() {
        let mut mount = mount.clone();
        // Our init is in /dev, so that no file is made in the container's root for it.
        if mount["destination"] == INIT {
            mount = json!({"destination": "/sbin/docker-init", "type": "bind",
                "source": mount["source"], "options": ["bind", "ro"]});
        }
        let options = mount["options"].as_array_mut().unwrap();
        // Since Docker 25 read-only is recursive.
        for option in options.iter_mut().filter(|option| *option == "rro") {
            *option = json!("ro");
        }
        options.sort_by_key(|option| option.as_str().unwrap().to_owned());
        mounts.insert(mount["destination"].as_str().unwrap().to_owned(), mount);
    }
    spec["mounts"] = json!(mounts);
    // Sets, for the types of the specification.
    for set in spec["process"]["capabilities"].as_object_mut().into_iter().flatten() {
        set.1.as_array_mut().unwrap().sort_by_key(|name| name.as_str().unwrap().to_owned());
    }
    without_nothing(spec)
}

/// Go leaves out what is false or empty.
fn without_nothing(value: Value) -> Value {
    let nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(map) => {
            let map = map.into_iter().map(|(name, value)| (name, without_nothing(value)));
            Value::Object(map.filter(|(_, value)| !nothing(value)).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_nothing).collect()),
        other => other,
    }
}

#[track_caller]
fn compare(name: &str) {
    let privileged = name.starts_with("privileged");
    let theirs = golden(name, "config");
    let own = ours(golden(name, "request")).unwrap();
    let filtered =
        |spec: &Value| !matches!(spec["linux"]["seccomp"], Value::Null | Value::Bool(false));
    assert_eq!(filtered(&own), filtered(&theirs), "{name}: a filter of system calls");
    let (own, theirs) = (normal(own, privileged), normal(theirs, privileged));
    for pointer in ["/process", "/mounts", "/linux", ""] {
        let (own, theirs) = (own.pointer(pointer).unwrap(), theirs.pointer(pointer).unwrap());
        assert!(own == theirs, "{name}{pointer}:\nours   {own}\ntheirs {theirs}");
    }
}

macro_rules! as_dockerd {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            compare($name);
        })*

        #[test]
        fn every_captured_request_is_compared() {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dockerd");
            let mut names = Vec::new();
            for entry in std::fs::read_dir(directory).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                names.extend(name.strip_suffix(".config.json").map(str::to_owned));
            }
            names.sort();
            let mut compared = vec![$($name),*];
            compared.sort();
            assert_eq!(names, compared);
        }
    };
}

as_dockerd! {
    a_plain_container_is_as_dockerd_s: "default";
    a_process_is_as_dockerd_s: "process";
    capabilities_are_as_dockerd_s: "capabilities";
    dropped_rights_are_as_dockerd_s: "dropped";
    a_privileged_container_is_as_dockerd_s: "privileged";
    limits_are_as_dockerd_s: "resources";
    quotas_are_as_dockerd_s: "quota";
    mounts_are_as_dockerd_s: "mounts";
    the_host_s_namespaces_are_as_dockerd_s: "host";
    a_container_without_shared_memory_is_as_dockerd_s: "ipc-none";
    shareable_memory_is_as_dockerd_s: "shareable";
    devices_are_as_dockerd_s: "devices";
    own_hidden_paths_are_as_dockerd_s: "paths";
    an_init_is_as_dockerd_s: "init";
    groups_are_as_dockerd_s: "groups";
    all_capabilities_but_one_are_as_dockerd_s: "all-but-one";
    throttled_disks_are_as_dockerd_s: "throttle";
    a_privileged_container_with_a_read_only_root_is_as_dockerd_s: "privileged-readonly";
    the_user_s_own_dev_is_as_dockerd_s: "own-dev";
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_filter_does_the_same_as_dockerd_s() {
    // Of the same dockerd, cut out of a container's config.json.
    let theirs = include_str!("../../../chapters/04-runtime/tests/rig/docker-seccomp.json");
    let compile = |filter: Value| {
        let filter = serde_json::from_value(filter).unwrap();
        let native = corten_runtime::seccomp::Architecture::X86_64;
        corten_runtime::seccomp::compile(&filter, native).unwrap().program
    };
    let own = ours(golden("default", "request")).unwrap();
    assert!(
        compile(own["linux"]["seccomp"].clone()) == compile(serde_json::from_str(theirs).unwrap())
    );
}

#[test]
fn a_privileged_container_has_the_machine_s_devices() {
    let own = ours(golden("privileged", "request")).unwrap();
    let devices = own["linux"]["devices"].as_array().unwrap();
    assert!(devices.iter().any(|device| device["path"] == "/dev/null"));
    assert!(devices.iter().all(|device| device["path"] != "/dev/console"));
}

#[test]
fn outer_mounts_come_before_inner_ones() {
    let own = ours(golden("mounts", "request")).unwrap();
    let mounts = own["mounts"].as_array().unwrap();
    let at = |path: &str| mounts.iter().position(|mount| mount["destination"] == path).unwrap();
    assert!(at("/host") < at("/host/deep"));
    assert!(at("/dev") < at("/dev/shm"));
}

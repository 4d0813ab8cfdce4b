use serde_json::json;

use super::golden_tests::{machine, ours};
use super::*;

fn host(value: Value) -> HostConfig {
    serde_json::from_value(value).unwrap()
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn capabilities_are_added_and_dropped_in_moby_s_order() {
    let tweak = |add: &[&str], drop: &[&str]| {
        capability::tweak(&list(add), &list(drop), false, &machine()).unwrap()
    };
    assert_eq!(tweak(&[], &[]), capability::DEFAULT);
    assert_eq!(tweak(&["chown"], &["all"]), ["CAP_CHOWN"]);
    assert_eq!(tweak(&[], &["ALL"]), Vec::<String>::new());
    let all = tweak(&["all"], &["sys_admin"]);
    assert!(
        all.contains(&"CAP_SYS_PTRACE".to_owned()) && !all.contains(&"CAP_SYS_ADMIN".to_owned())
    );
    // Both lists at once: the addition comes last, as dockerd has it.
    assert!(tweak(&["CHOWN"], &["CHOWN"]).contains(&"CAP_CHOWN".to_owned()));
    assert_eq!(tweak(&["ALL"], &["ALL"]), machine().capabilities);
}

#[test]
fn other_containers_are_joined_by_their_namespaces() {
    let spec = ours(json!({"Image": "i", "HostConfig": {"NetworkMode": "container:a",
        "PidMode": "container:b", "IpcMode": "container:c"}}))
    .unwrap();
    let namespaces = spec["linux"]["namespaces"].as_array().unwrap();
    let path = |kind: &str| {
        namespaces.iter().find(|n| n["type"] == kind).and_then(|n| n["path"].as_str()).unwrap()
    };
    assert_eq!(
        (path("network"), path("pid"), path("ipc")),
        ("/ns/a/net", "/ns/b/pid", "/ns/c/ipc")
    );
    let mounts = spec["mounts"].as_array().unwrap();
    let source = |path: &str| {
        mounts.iter().find(|m| m["destination"] == path).unwrap()["source"].as_str().unwrap()
    };
    assert_eq!(source("/etc/hosts"), "/containers/a/hosts");
    assert_eq!(source("/dev/shm"), "/containers/c/mounts/shm");
    assert!(spec["linux"]["sysctl"].as_object().is_none_or(|set| set.is_empty()));
}

#[test]
fn an_init_is_of_no_use_in_another_one_s_namespace() {
    let spec = |pid: &str| {
        let host = json!({"Init": true, "PidMode": pid, "NetworkMode": "none"});
        ours(json!({"Image": "i", "HostConfig": host})).unwrap()
    };
    assert_eq!(spec("")["process"]["args"][0], INIT);
    assert_eq!(spec("host")["process"]["args"], json!(["sh"]));
}

#[test]
fn a_group_s_path_stays_in_the_tree_of_groups() {
    let path = |parent: &str| {
        let host = json!({"CgroupParent": parent, "NetworkMode": "none"});
        let spec = ours(json!({"Image": "i", "HostConfig": host})).unwrap();
        spec["linux"]["cgroupsPath"].as_str().unwrap().to_owned()
    };
    assert_eq!(path(""), "/corten/SHORT");
    assert_eq!(path("a/b"), "/a/b/SHORT");
    assert_eq!(path("../../../BAD"), "/BAD/SHORT");
}

#[test]
fn the_user_s_mount_takes_the_place_of_the_engine_s() {
    let spec = ours(json!({"Image": "i", "HostConfig": {"NetworkMode": "none",
        "Binds": ["/h:/etc/hosts:ro", "/d:/dev", "/s:/srv:rshared"]}}))
    .unwrap();
    let mounts = spec["mounts"].as_array().unwrap();
    let at = |path: &str| mounts.iter().filter(|m| m["destination"] == path).count();
    assert_eq!((at("/etc/hosts"), at("/dev"), at("/dev/pts"), at("/dev/shm")), (1, 1, 0, 0));
    assert_eq!(spec["linux"]["rootfsPropagation"], "shared");
}

#[test]
fn a_profile_s_conditions_are_decided() {
    let rule = |name: &str, condition: Value| {
        let mut rule = json!({"names": [name], "action": "SCMP_ACT_ALLOW"});
        for (key, value) in condition.as_object().unwrap() {
            rule[key] = value.clone();
        }
        rule
    };
    let text = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
    "syscalls": [
        rule("always", json!({"args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]})),
        rule("with", json!({"includes": {"caps": ["CAP_CHOWN"]}})),
        rule("both", json!({"includes": {"caps": ["CAP_CHOWN", "CAP_BPF"]}})),
        rule("without", json!({"excludes": {"caps": ["CAP_CHOWN"]}})),
        rule("old", json!({"excludes": {"minKernel": "6.0"}})),
        rule("new", json!({"includes": {"minKernel": "4.8"}})),
        rule("next", json!({"includes": {"minKernel": "6.2"}})),
        rule("elsewhere", json!({"includes": {"arches": ["vax"]}})),
        rule("not here", json!({"excludes": {"arches": ["amd64", "arm64"]}})),
    ]})
    .to_string();
    let filter = seccomp::resolve(&text, &list(&["CAP_CHOWN"]), (6, 1)).unwrap().unwrap();
    let calls = filter["syscalls"].as_array().unwrap();
    let names: Vec<&str> = calls.iter().map(|call| call["names"][0].as_str().unwrap()).collect();
    assert_eq!(names, ["always", "with", "new"]);
    assert_eq!(filter["architectures"].as_array().unwrap().len(), 2);
    serde_json::from_value::<oci_spec::runtime::LinuxSeccomp>(filter).unwrap();
    assert_eq!(seccomp::resolve("{}", &[], (6, 1)).unwrap(), None);
    let error = seccomp::resolve("/a/file.json", &[], (6, 1)).unwrap_err().to_string();
    assert!(error.starts_with("Decoding seccomp profile failed: "), "{error}");
}

#[test]
fn a_device_rule_has_docker_s_grammar() {
    let rule = device::parse_rule("b 8:* rw").unwrap();
    assert_eq!(rule, json!({"allow": true, "type": "b", "major": 8, "minor": -1, "access": "rw"}));
    for text in ["", "c 1:3", "c 1:3 x", "c 1:3 rwmr", "d 1:3 r", "c 1 r", "c -1:3 r", "c  1:3 r"] {
        assert!(device::parse_rule(text).is_err(), "{text}");
    }
}

#[test]
fn a_disk_that_is_not_there_is_named() {
    let resources = host(json!({"BlkioDeviceReadBps": [{"Path": "/dev/none", "Rate": 1}]}));
    let error = resource::resources(&resources.resources, vec![]).unwrap_err().to_string();
    assert_eq!(error, "stat /dev/none: no such file or directory");
    let device = json!({"PathOnHost": "/dev/none", "PathInContainer": "/dev/x"});
    let request = json!({"Image": "i", "HostConfig": {"NetworkMode": "none", "Devices": [device]}});
    let error = ours(request).unwrap_err().to_string();
    assert!(error.starts_with("error gathering device information"), "{error}");
}

#[test]
fn chapter_4_accepts_what_is_generated() {
    let spec = ours(json!({"Image": "i", "Tty": true, "HostConfig": {"NetworkMode": "none",
        "ConsoleSize": [24, 80], "Memory": 8 << 20, "PidsLimit": 5}}))
    .unwrap();
    assert_eq!(spec["process"]["consoleSize"], json!({"height": 24, "width": 80}));
    let bundle = corten_runtime::Bundle::parse("/b".into(), spec.to_string()).unwrap();
    corten_runtime::check::spec(&bundle.spec).unwrap();
    assert!(bundle.seccomp.is_some() && bundle.unknown_capabilities.is_empty());
}

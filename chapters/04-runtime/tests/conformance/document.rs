//! config.json as a document, and what the runtime says of itself.

use std::fs;

use serde_json::{Value, json};

use crate::rig::{Container, is, runtime, skip};

#[corten_tier::t1]
fn an_unknown_annotation_is_ignored() {
    let mut container = Container::script("echo fine");
    container.set("/annotations", json!({"org.example.unknown": ""}));
    assert_eq!(container.output(), "fine\n");
}

#[corten_tier::t1]
fn an_unknown_property_is_ignored() {
    let mut container = Container::script("echo fine");
    container.set("/unknown", "value");
    container.set("/linux/unknown", json!({"a": [1]}));
    container.set("/process/unknown", 1);
    assert_eq!(container.output(), "fine\n");
}

#[corten_tier::t1]
fn every_version_1_is_accepted() {
    for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0", "1.99.0", "1.0.0-rc1+build"] {
        let mut container = Container::script("echo fine");
        container.set("/ociVersion", version);
        let done = container.create_with(&[]);
        assert!(done.status.success(), "{version}: {done:?}");
    }
}

#[corten_tier::t1]
fn an_invalid_version_is_refused() {
    if is("runc") || is("crun") {
        return skip("the distribution's version does not check");
    }
    for version in ["invalid", "2.0.0", "0.9.0", "1", "1.0", ""] {
        let mut container = Container::new();
        container.set("/ociVersion", version);
        container.refused();
    }
}

#[corten_tier::t1]
fn a_configuration_that_is_no_json_is_refused() {
    let container = Container::new();
    fs::write(container.bundle().join("config.json"), "{\"ociVersion\": ").unwrap();
    let bundle = container.bundle();
    let done =
        container.call(&["create", "--bundle", bundle.to_str().unwrap(), &container.id]).failed();
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
}

#[corten_tier::t1]
fn a_field_of_the_wrong_type_is_refused() {
    for (pointer, value) in [
        ("/process/args", json!("true")),
        ("/process/user/uid", json!("root")),
        ("/root/readonly", json!("yes")),
        ("/linux/namespaces", json!({})),
        ("/mounts", json!("x")),
    ] {
        let mut container = Container::new();
        container.set(pointer, value);
        container.refused();
    }
}

#[corten_tier::t1]
fn a_configuration_without_root_or_arguments_is_refused() {
    let mut container = Container::new();
    container.remove("/root");
    container.refused();
    let mut container = Container::new();
    container.set("/process/args", json!([]));
    let done = container.create_with(&[]);
    let done = if done.status.success() { container.call(&["start", &container.id]) } else { done };
    done.failed();
}

#[corten_tier::t1]
fn a_minimal_configuration_works() {
    let mut container = Container::new();
    container.config = json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["/bin/echo", "small"], "user": {"uid": 0, "gid": 0}},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}
    });
    assert_eq!(container.output(), "small\n");
}

#[corten_tier::t1]
fn the_configuration_that_spec_writes_works() {
    let mut container = Container::new();
    let dir = container.outside().join("spec");
    fs::create_dir(&dir).unwrap();
    let status = container.command(&["spec"]).current_dir(&dir).status().unwrap();
    assert!(status.success());
    let text = fs::read_to_string(dir.join("config.json")).unwrap();
    container.config = serde_json::from_str(&text).unwrap();
    container.set("/process/terminal", false);
    container.set("/process/args", ["echo", "from spec"]);
    assert_eq!(container.output(), "from spec\n");
}

#[corten_tier::t1]
fn the_version_has_three_lines_that_docker_reads() {
    let output = std::process::Command::new(runtime()).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains(" version "), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("commit: ")), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("spec: 1.")), "{text}");
}

#[corten_tier::t1]
fn features_are_told() {
    if is("crun") || is("runc") {
        return skip("the distribution's version does not have it, or not all of it");
    }
    let text = Container::new().call(&["features"]).ok().stdout;
    let features: Value = serde_json::from_str(&text).unwrap();
    let list = |pointer: &str| -> Vec<String> {
        let list = features.pointer(pointer).unwrap_or_else(|| panic!("{pointer}: {features:#}"));
        serde_json::from_value(list.clone()).unwrap()
    };
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(features["ociVersionMax"].as_str().unwrap().starts_with("1."));
    for hook in
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    {
        assert!(list("/hooks").contains(&hook.to_owned()), "{hook}");
    }
    for option in ["bind", "rbind", "ro", "rro", "rnosuid", "tmpcopyup", "idmap", "ridmap"] {
        assert!(list("/mountOptions").contains(&option.to_owned()), "{option}");
    }
    for namespace in ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"] {
        assert!(list("/linux/namespaces").contains(&namespace.to_owned()), "{namespace}");
    }
    assert!(list("/linux/capabilities").contains(&"CAP_CHOWN".to_owned()));
    for pointer in [
        "/linux/cgroup/v1",
        "/linux/cgroup/v2",
        "/linux/seccomp/enabled",
        "/linux/mountExtensions/idmap/enabled",
    ] {
        assert_eq!(features.pointer(pointer), Some(&json!(true)), "{pointer}");
    }
    assert!(list("/linux/seccomp/actions").contains(&"SCMP_ACT_NOTIFY".to_owned()));
    assert!(list("/linux/seccomp/operators").contains(&"SCMP_CMP_MASKED_EQ".to_owned()));
    assert!(list("/linux/seccomp/archs").contains(&"SCMP_ARCH_X86_64".to_owned()));
}

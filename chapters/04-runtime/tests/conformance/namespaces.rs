//! Namespaces: new ones, those of others, and none.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use nix::sched::CloneFlags;
use serde_json::json;

use crate::rig::{Container, skip};

/// Type in config.json, file in /proc/PID/ns.
const KINDS: [(&str, &str); 6] = [
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
];

fn inode(pid: &str, file: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap()
}

fn own(file: &str) -> PathBuf {
    fs::read_link(format!("/proc/thread-self/ns/{file}")).unwrap()
}

#[corten_tier::t1]
fn each_that_is_listed_is_new() {
    let mut container = Container::sleeper();
    container.create();
    let pid = container.pid().to_string();
    for (_, file) in KINDS {
        assert_ne!(inode(&pid, file), own(file), "{file}");
    }
    assert_eq!(inode(&pid, "user"), own("user"));
}

#[corten_tier::t1]
fn those_that_are_not_listed_are_the_callers() {
    let mut container = Container::sleeper();
    container.set("/linux/namespaces", json!([]));
    container.remove("/hostname");
    container.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
    container.set("/mounts", json!([]));
    container.create();
    let pid = container.pid().to_string();
    for (_, file) in KINDS {
        assert_eq!(inode(&pid, file), own(file), "{file}");
    }
}

/// A process with a namespace of its own, killed in the end.
struct Holder(Child);

impl Holder {
    /// Made by a thread, which can leave its namespaces without the others.
    fn new(flag: CloneFlags) -> Holder {
        let make = move || {
            nix::sched::unshare(flag).unwrap();
            Holder(Command::new("sleep").arg("1000").spawn().unwrap())
        };
        std::thread::spawn(make).join().unwrap()
    }

    fn path(&self, file: &str) -> String {
        format!("/proc/{}/ns/{file}", self.0.id())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn joined(kind: &str, file: &str, flag: CloneFlags) {
    let holder = Holder::new(flag);
    let mut container = Container::sleeper();
    container.share(kind);
    container.push("/linux/namespaces", json!({"type": kind, "path": holder.path(file)}));
    if kind == "uts" {
        container.remove("/hostname");
    }
    container.create();
    let expected = fs::read_link(holder.path(file)).unwrap();
    assert_eq!(inode(&container.pid().to_string(), file), expected);
}

#[corten_tier::t1]
fn an_ipc_namespace_is_joined_by_path() {
    joined("ipc", "ipc", CloneFlags::CLONE_NEWIPC);
}

#[corten_tier::t1]
fn a_mount_namespace_is_joined_by_path() {
    joined("mount", "mnt", CloneFlags::CLONE_NEWNS);
}

#[corten_tier::t1]
fn a_network_namespace_is_joined_by_path() {
    joined("network", "net", CloneFlags::CLONE_NEWNET);
}

#[corten_tier::t1]
fn a_pid_namespace_is_joined_by_path() {
    joined("pid", "pid", CloneFlags::CLONE_NEWPID);
}

#[corten_tier::t1]
fn a_uts_namespace_is_joined_by_path() {
    joined("uts", "uts", CloneFlags::CLONE_NEWUTS);
}

#[corten_tier::t1]
fn a_cgroup_namespace_is_joined_by_path() {
    joined("cgroup", "cgroup", CloneFlags::CLONE_NEWCGROUP);
}

#[corten_tier::t1]
fn a_path_of_the_wrong_type_is_refused() {
    for (kind, wrong) in [
        ("cgroup", "ipc"),
        ("ipc", "mnt"),
        ("mount", "net"),
        ("network", "pid"),
        ("pid", "user"),
        ("user", "uts"),
        ("uts", "cgroup"),
    ] {
        let mut container = Container::sleeper();
        container.share(kind);
        let path = format!("/proc/self/ns/{wrong}");
        container.push("/linux/namespaces", json!({"type": kind, "path": path}));
        container.refused();
    }
}

#[corten_tier::t1]
fn a_path_that_is_not_there_is_refused() {
    let mut container = Container::sleeper();
    container.share("network");
    container.push("/linux/namespaces", json!({"type": "network", "path": "/no/such/namespace"}));
    container.refused();
}

#[corten_tier::t1]
fn a_namespace_twice_is_refused() {
    let mut container = Container::sleeper();
    container.push("/linux/namespaces", json!({"type": "pid"}));
    container.refused();
}

#[corten_tier::t1]
fn an_unknown_type_is_refused() {
    let mut container = Container::sleeper();
    container.push("/linux/namespaces", json!({"type": "nosuch"}));
    container.refused();
}

/// With a user namespace of its own.
fn mapped(script: &str) -> Container {
    let mut container = Container::script(script);
    container.push("/linux/namespaces", json!({"type": "user"}));
    container.set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 1000, "size": 2000}]));
    container.set("/linux/gidMappings", json!([{"containerID": 0, "hostID": 1000, "size": 3000}]));
    container
}

#[corten_tier::t1]
fn ids_are_mapped_in_a_user_namespace() {
    let mut container = mapped("cat /proc/self/uid_map /proc/self/gid_map; id -u");
    let output = container.output();
    let words: Vec<&str> = output.split_whitespace().collect();
    assert_eq!(words, ["0", "1000", "2000", "0", "1000", "3000", "0"]);
}

#[corten_tier::t1]
fn several_maps() {
    let mut container = mapped("cat /proc/self/uid_map");
    let maps = json!([
        {"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 10, "hostID": 5000, "size": 5}
    ]);
    container.set("/linux/uidMappings", maps);
    let output = container.output();
    let words: Vec<&str> = output.split_whitespace().collect();
    assert_eq!(words, ["0", "1000", "10", "10", "5000", "5"]);
}

#[corten_tier::t1]
fn maps_without_a_user_namespace_are_refused() {
    let mut container = mapped("true");
    container.share("user");
    container.refused();
}

#[corten_tier::t1]
fn a_process_runs_as_a_mapped_user() {
    let mut container = mapped("id -u; id -g; id -G");
    container.set("/process/user", json!({"uid": 7, "gid": 8, "additionalGids": [9]}));
    assert_eq!(container.output(), "7\n8\n8 9\n");
}

#[corten_tier::t1]
fn a_user_namespace_is_joined_by_path() {
    let mut holder = mapped("exec sleep 1000");
    holder.started();
    let pid = holder.pid().to_string();
    let mut container = Container::script("id -u; cat /proc/self/uid_map");
    let path = format!("/proc/{pid}/ns/user");
    container.push("/linux/namespaces", json!({"type": "user", "path": path}));
    let output = container.output();
    let words: Vec<&str> = output.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "1000", "2000"]);
}

#[corten_tier::t1]
fn exec_enters_a_user_namespace() {
    let mut container = mapped("exec sleep 1000");
    container.started();
    assert_eq!(container.exec(&["id", "-u"]), "0\n");
    let link = container.exec(&["readlink", "/proc/self/ns/user"]);
    assert_eq!(link.trim(), inode(&container.pid().to_string(), "user").to_str().unwrap());
}

#[corten_tier::t1]
fn a_time_namespace_with_offsets() {
    if !fs::exists("/proc/self/ns/time").unwrap() {
        return skip("this kernel has no time namespaces");
    }
    let mut container =
        Container::script("cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime");
    container.push("/linux/namespaces", json!({"type": "time"}));
    let offsets = json!({"monotonic": {"secs": 7, "nanosecs": 0}, "boottime": {"secs": 1_000_000, "nanosecs": 0}});
    container.set("/linux/timeOffsets", offsets);
    let output = container.output();
    let words: Vec<&str> = output.split_whitespace().collect();
    assert_eq!(words[..6], ["monotonic", "7", "0", "boottime", "1000000", "0"], "{output}");
    assert!(words[6].parse::<u64>().unwrap() >= 1_000_000, "{output}");
}

#[corten_tier::t1]
fn time_offsets_without_a_time_namespace_are_refused() {
    let mut container = Container::sleeper();
    container.set("/linux/timeOffsets", json!({"monotonic": {"secs": 7, "nanosecs": 0}}));
    container.refused();
}

#[corten_tier::t1]
fn the_first_process_is_number_1_in_a_pid_namespace() {
    assert_eq!(Container::script("echo $$").output(), "1\n");
}

#[corten_tier::t1]
fn a_new_network_has_a_loopback_interface_only() {
    let output = Container::script("ls /sys/class/net").output();
    // Kernels with tunnel drivers built in add theirs.
    assert!(output.lines().any(|line| line == "lo") && !output.contains("eth"), "{output}");
}

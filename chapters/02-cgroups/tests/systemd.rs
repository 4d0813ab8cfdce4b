//! The systemd driver against a real systemd, which runs as process 1 of a pid namespace in the VM.
#![allow(clippy::unwrap_used)]

mod lab;
#[path = "lab/systemd.rs"]
mod process_1;

use std::fs;
use std::process::{Command, Stdio};

use corten_cgroups::limits::{Memory, cpus};
use corten_cgroups::systemd::{Property, Systemd, Unit, properties};
use corten_cgroups::{Cgroup, Hierarchy, Layout, Limits, Max, Placement};
use lab::until;

fn limits() -> Limits {
    Limits {
        memory: Memory { limit: Some(Max::At(64 << 20)), ..Memory::default() },
        cpu: cpus("0.5").unwrap(),
        pids: Some(Max::At(20)),
        ..Limits::default()
    }
}

/// Not a test by itself: the caller of systemd, in the same pid namespace.
#[test]
fn client() {
    if !process_1::is_client() {
        return;
    }
    until("systemd listens", || Systemd::connect().is_ok());
    let mut systemd = Systemd::connect().unwrap();
    let mut sleeper = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let pid = sleeper.id();
    let unit = Unit::parse(None, "test", false).unwrap();
    let properties = properties(&limits(), Layout::Unified).unwrap();
    systemd.start_scope(&unit, "a test", &[pid], &properties).unwrap();

    let path = unit.path();
    assert_eq!(systemd.control_group(&unit).unwrap(), path);
    let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(membership.trim(), format!("0::{}", path.display()));

    // The group is ours from now on: what has no property is set in it, and it has a process.
    let hierarchy = Hierarchy::detect().unwrap();
    let placement = Placement::parse(Some(&path), "").unwrap();
    let cgroup = Cgroup::create(&hierarchy, &placement, &limits()).unwrap();
    let group = cgroup.unified().unwrap();
    assert_eq!(group.read("memory.max").unwrap(), "67108864\n");
    assert_eq!(group.read("pids.max").unwrap(), "20\n");
    assert_eq!(group.read("cpu.max").unwrap(), "50000 100000\n");
    assert!(cgroup.processes().unwrap().contains(&pid.cast_signed()));

    let tasks = Property::parse("TasksMax", "uint64 30").unwrap();
    systemd.set_properties(&unit, &[tasks]).unwrap();
    assert_eq!(group.read("pids.max").unwrap(), "30\n");

    let twice = systemd.start_scope(&unit, "a test", &[pid], &[]).unwrap_err().to_string();
    assert!(twice.contains("corten-test.scope"), "{twice}");
    systemd.stop(&unit).unwrap();
    sleeper.wait().unwrap();
    systemd.stop(&unit).unwrap();
    until("the group is gone", || !group.path().exists());
    process_1::finish();
}

#[corten_tier::t2]
fn a_real_systemd_makes_a_scope() {
    process_1::run_client();
}

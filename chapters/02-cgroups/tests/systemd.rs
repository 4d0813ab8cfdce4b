//! The systemd driver against a real systemd, which runs as process 1 of a pid namespace in the VM.
#![allow(clippy::unwrap_used)]

mod lab;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use corten_cgroups::limits::{Memory, cpus};
use corten_cgroups::systemd::{Property, Systemd, Unit, properties};
use corten_cgroups::{Cgroup, Hierarchy, Layout, Limits, Max, Placement};
use lab::until;

const ROLE: &str = "CORTEN_CLIENT";

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
    if std::env::var_os(ROLE).is_none() {
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
    println!("the client has finished");
}

#[corten_tier::t2]
fn a_real_systemd_makes_a_scope() {
    let systemd = "/usr/lib/systemd/systemd";
    assert!(Path::new(systemd).exists(), "the VM has no systemd: install the package systemd");
    let units = Path::new("/etc/systemd/system");
    fs::create_dir_all(units).unwrap();
    fs::write(units.join("corten.target"), "[Unit]\nDefaultDependencies=no\n").unwrap();
    fs::write("/etc/machine-id", "").unwrap();
    // The shell becomes systemd; what it has started in the background becomes its orphan.
    let log = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "mount -t tmpfs tmpfs /run; mount -t proc proc /proc; \
         {ROLE}=1 {} client --exact --nocapture >{log} 2>&1 & \
         exec env container=corten {systemd} --system --unit=corten.target --log-target=null",
        std::env::current_exe().unwrap().display(),
        log = log.path().display()
    );
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount", "--kill-child", "sh", "-c", &script]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let text = || fs::read_to_string(log.path()).unwrap();
    until("the client ends", || text().contains("test result: "));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text().contains("the client has finished"), "{}", text());
}

//! Attacks, each against a group as we make it, where it must fail, and against one that was
//! weakened, where it must succeed: an attack that fails against a weak target proves nothing.
#![allow(clippy::unwrap_used)]

mod lab;

use std::fs;
use std::path::Path;
use std::time::Duration;

use corten_cgroups::launch::Exit;
use corten_cgroups::{Controller, DeviceRule, Limits, Max, Owner, Plan};
use lab::{Lab, busybox, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid};

/// The role that the test binary has when it runs again as the attacker.
const ROLE: &str = "CORTEN_ATTACK";
const NOBODY: u32 = 65534;

/// Not a test by itself: user 65534, in the group that the attack is about.
#[test]
fn attacker() {
    let Some(role) = std::env::var_os(ROLE) else { return };
    let role = role.into_string().unwrap();
    let (role, path) = role.split_once(' ').unwrap();
    if role == "nobody" {
        nix::unistd::setgroups(&[]).unwrap();
        nix::unistd::setresgid(Gid::from(NOBODY), Gid::from(NOBODY), Gid::from(NOBODY)).unwrap();
        nix::unistd::setresuid(Uid::from(NOBODY), Uid::from(NOBODY), Uid::from(NOBODY)).unwrap();
    }
    for line in path.split(';') {
        let (action, file, value) = match line.trim().split(' ').collect::<Vec<_>>()[..] {
            ["mkdir", file] => ("mkdir", file, ""),
            [file, value] => ("write", file, value),
            _ => panic!("{line}"),
        };
        let result = match action {
            "mkdir" => fs::create_dir(file),
            _ => fs::write(file, value),
        };
        println!(
            "{action} {}: {:?}",
            file.rsplit('/').next().unwrap(),
            result.map_err(|e| e.kind())
        );
    }
}

/// Runs the attacker in `lab` and gives what it said.
#[track_caller]
fn attack(lab: &corten_cgroups::Cgroup, role: &str, lines: &[String]) -> Vec<String> {
    let output = tempfile::NamedTempFile::new().unwrap();
    let program = std::env::current_exe().unwrap();
    let script = format!(
        "{ROLE}='{role} {}' exec {} attacker --exact --nocapture >{} 2>&1",
        lines.join(";"),
        program.display(),
        output.path().display()
    );
    lab::start(lab, &script).wait().unwrap();
    let text = fs::read_to_string(output.path()).unwrap();
    let said = |line: &str| {
        let action = line.find("mkdir ").or_else(|| line.find("write "))?;
        Some(line[action..].to_owned())
    };
    let said: Vec<String> = text.lines().filter_map(said).collect();
    assert_eq!(said.len(), lines.len(), "{text}");
    said
}

/// Root with a writable /sys/fs/cgroup walks out of its group by one write: a limit binds whoever
/// cannot write to the group above. Hence another user, or a read-only mount, or a cgroup namespace.
#[corten_tier::t1]
fn moving_to_the_group_above() {
    let pids = Some(Max::At(50));
    let lab = Lab::new(Limits { pids, ..Limits::default() });
    let group = lab.group(Controller::Pids).unwrap();
    let above = group.path().parent().unwrap().join("cgroup.procs");
    let line = [format!("{} 0", above.display())];
    assert_eq!(attack(&lab, "nobody", &line), ["write cgroup.procs: Err(PermissionDenied)"]);
    assert_eq!(attack(&lab, "root", &line), ["write cgroup.procs: Ok(())"]);
}

/// A user who was given a group may divide it, and can neither raise its limits nor leave it.
#[corten_tier::t1]
fn a_delegated_group_is_left_or_widened() {
    let hierarchy = corten_cgroups::Hierarchy::detect().unwrap();
    let plan = Plan::create(&hierarchy, &lab::placement(), &Limits::default()).unwrap();
    let owner = Owner { uid: NOBODY, gid: NOBODY };
    let lab = match plan.delegate(owner) {
        Ok(plan) => Lab::adopt(plan),
        Err(error) => {
            assert_eq!(hierarchy.layout(), corten_cgroups::Layout::Legacy, "{error}");
            return;
        }
    };
    let path = lab.unified().unwrap().path().display().to_string();
    let above = Path::new(&path).parent().unwrap().display();
    let said = attack(
        &lab,
        "nobody",
        &[
            format!("mkdir {path}/inner"),
            format!("{path}/inner/cgroup.procs 0"),
            format!("{path}/cgroup.procs 0"),
            format!("{path}/cgroup.max.descendants 1"),
            format!("{path}/cgroup.freeze 1"),
            format!("{above}/cgroup.procs 0"),
            format!("mkdir {above}/corten-test-outside"),
        ],
    );
    assert_eq!(
        said,
        [
            "mkdir inner: Ok(())",
            "write cgroup.procs: Ok(())",
            "write cgroup.procs: Ok(())",
            "write cgroup.max.descendants: Err(PermissionDenied)",
            "write cgroup.freeze: Err(PermissionDenied)",
            "write cgroup.procs: Err(PermissionDenied)",
            "mkdir corten-test-outside: Err(PermissionDenied)",
        ]
    );
    // It was not delegated: the same user cannot even make a group.
    let free = Lab::new(Limits::default());
    let path = free.unified().unwrap().path().display().to_string();
    let said = attack(&free, "nobody", &[format!("mkdir {path}/inner")]);
    assert_eq!(said, ["mkdir inner: Err(PermissionDenied)"]);
}

/// Whoever reads the list of processes and then kills what is on it is late: each of these starts
/// the next one and ends. How late depends on the machine, so the test waits until a process is
/// there that is not on the list.
#[corten_tier::t1]
fn forking_faster_than_the_killer() {
    let chain = tempfile::NamedTempFile::new().unwrap();
    fs::write(chain.path(), "sh $0 &\n").unwrap();
    let script = format!("exec sh {}", chain.path().display());
    for _ in 0..5 {
        // A new one each time: see `Cgroup::kill`.
        let lab = Lab::new(Limits::default());
        (0..8).for_each(|_| drop(lab.start(&script).wait()));
        let list = lab.processes().unwrap();
        until("the list is old", || !lab.processes().unwrap().is_subset(&list));
        for pid in list {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // Longer than a signal takes to arrive.
        std::thread::sleep(Duration::from_millis(20));
        assert!(!lab.processes().unwrap().is_empty(), "the attack is none");
        lab.kill().unwrap();
        until("all are gone", || lab.processes().unwrap().is_empty());
        std::thread::sleep(Duration::from_millis(20));
        assert!(lab.processes().unwrap().is_empty());
    }
}

/// Where there are two hierarchies, one of them can be left: who is in either is killed.
#[corten_tier::t1]
fn hiding_in_one_hierarchy() {
    let lab = Lab::new(Limits::default());
    let (Some(unified), layout) = (lab.unified(), lab.hierarchy.layout()) else { return };
    if layout != corten_cgroups::Layout::Hybrid {
        return;
    }
    let above = unified.path().parent().unwrap().join("cgroup.procs");
    let script = format!("echo 0 >{}; exec sleep 60", above.display());
    let running = lab.start(&script);
    until("it has left v2's group", || unified.read("cgroup.procs").unwrap().is_empty());
    unified.write("cgroup.kill", "1").unwrap();
    assert!(lab.processes().unwrap().contains(&running.pid()), "the attack is none");
    lab.kill().unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Signal(libc::SIGKILL));
}

/// The node is made by the container itself, with CAP_MKNOD, which Docker leaves to it. The number
/// is that of the lab VM's disk.
fn raw_disk_by_mknod() {
    let disk = nix::sys::stat::stat("/dev/vda").unwrap().st_rdev;
    let (major, minor) = (libc::major(disk), libc::minor(disk));
    let script = format!(
        "rm -f /tmp/disk; mknod /tmp/disk b {major} {minor} && head -c 512 /tmp/disk >/tmp/stolen"
    );
    let rules = Some(DeviceRule::CONTAINER.to_vec());
    let lab = Lab::new(Limits { devices: rules, ..Limits::default() });
    assert_eq!(lab.run(&script), Exit::Code(1));
    assert_eq!(fs::metadata("/tmp/stolen").unwrap().len(), 0, "made, and not opened");
    let weak = Lab::new(Limits::default());
    assert_eq!(weak.run(&script), Exit::Code(0));
    assert_eq!(fs::metadata("/tmp/stolen").unwrap().len(), 512);
}

#[corten_tier::t2]
fn device_node_opens_the_host_s_disk() {
    raw_disk_by_mknod();
}

#[corten_tier::t2(v1)]
fn device_node_opens_the_host_s_disk_on_v1() {
    raw_disk_by_mknod();
}

/// The real thing, which doubles until nothing forks any more. A shell whose fork is refused ends, so
/// a bomb can put itself out; what it leaves asleep does not.
fn bomb() {
    let lab = Lab::new(Limits { pids: Some(Max::At(60)), ..Limits::default() });
    let running = lab.start("sleep 600 & b() { b | b & b; }; b");
    until("forks are refused", || lab.stats().unwrap().pids.unwrap().refused > 100);
    assert!(lab.stats().unwrap().pids.unwrap().current <= 60);
    // The machine goes on.
    let outside = std::process::Command::new(busybox()).arg("true").status().unwrap();
    assert!(outside.success());
    lab.kill().unwrap();
    running.wait().unwrap();
    until("all are gone", || lab.processes().unwrap().is_empty());
}

#[corten_tier::t2]
fn fork_bomb_takes_the_machine() {
    bomb();
}

#[corten_tier::t2(v1)]
fn fork_bomb_takes_the_machine_on_v1() {
    bomb();
}

/// CVE-2022-0492: v1 lets the kernel run a program of one's choice, as root of the host, when a
/// group becomes empty. Until Linux 5.17 it did not ask who had chosen it.
#[corten_tier::t2(v1)]
fn release_agent_runs_on_the_host() {
    use corten_namespaces::capability::CapabilitySet;
    use corten_namespaces::idmap::{IdMap, Range};
    use corten_namespaces::{Config, Namespace, NamespaceSet, Plan, Process};

    let agent = "/tmp/agent";
    fs::write(agent, "#!/bin/sh\nreadlink /proc/self/ns/pid >/tmp/escaped\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(agent, fs::Permissions::from_mode(0o755)).unwrap();
    // `$0` is a v1 hierarchy: the host's, or one that the attacker mounts.
    let script = format!(
        "{{ mkdir $0/x; echo 1 >$0/x/notify_on_release; echo {agent} >$0/release_agent || exit 9; \
         sh -c 'echo $$ >'$0/x/cgroup.procs; sleep 0.3; rmdir $0/x; }} 2>/dev/null"
    );
    let escaped =
        |namespaces: NamespaceSet, caps: Option<CapabilitySet>, script: &str, dir: &str| {
            let _ = fs::remove_file("/tmp/escaped");
            let args = ["sh", "-c", script, dir].map(String::from).into();
            let map = || IdMap::new(vec![Range { inside: 0, outside: 0, length: 65536 }]).unwrap();
            let mapped = namespaces.contains(Namespace::User);
            let config = Config {
                namespaces,
                uid_map: if mapped { map() } else { IdMap::default() },
                gid_map: if mapped { map() } else { IdMap::default() },
                process: Process { args, capabilities: caps, ..Process::default() },
                ..Config::default()
            };
            let exit = Plan::new(config).unwrap().spawn().unwrap().wait().unwrap();
            let escaped = fs::read_to_string("/tmp/escaped").ok();
            fs::write("/sys/fs/cgroup/pids/release_agent", "").unwrap();
            let _ = fs::remove_dir("/sys/fs/cgroup/pids/x");
            (escaped, exit)
        };
    let plain: NamespaceSet =
        [Namespace::Mount, Namespace::Pid, Namespace::Cgroup].into_iter().collect();
    let host = "/sys/fs/cgroup/pids";
    // With all capabilities, the agent runs in the host's pid namespace.
    let own = fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
    let (got, exit) = escaped(plain, None, &script, host);
    assert_eq!(got.as_deref().map(str::trim_end), Some(&*own), "the attack is none: {exit:?}");
    // With Docker's, the write is refused.
    let (got, exit) = escaped(plain, Some(CapabilitySet::CONTAINER), &script, host);
    assert_eq!((got, exit), (None, corten_namespaces::Exit::Code(9)));
    // In a user namespace one has all capabilities, and may mount v1: the way of the CVE.
    let mount =
        format!("mkdir -p /tmp/cg && mount -t cgroup -o pids pids /tmp/cg || exit 8; {script}");
    let (got, exit) = escaped(plain.with(Namespace::User), None, &mount, "/tmp/cg");
    assert_eq!((got, exit), (None, corten_namespaces::Exit::Code(9)));
}

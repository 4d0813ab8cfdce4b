//! The eight namespaces: made new, shared, joined, kept, mapped, with clocks of their own.
#![allow(clippy::unwrap_used)]

mod lab;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use corten_namespaces::namespace::{self, Namespace};
use lab::trace::{alive, mounts};
use lab::{Lab, Ran, corten, run, run_command, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Prints the name and the inode of each namespace of the shell.
const SHOW: &str =
    "for n in user mnt pid net ipc uts cgroup time; do echo $n $(readlink /proc/self/ns/$n); done";

fn inodes(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, link)| (name.to_owned(), link.to_owned()))
        .collect()
}

/// Those of this thread, which has a mount namespace of its own.
fn own() -> BTreeMap<String, String> {
    Namespace::ALL
        .into_iter()
        .map(|n| n.file().to_owned())
        .map(|name| {
            let link = fs::read_link(format!("/proc/thread-self/ns/{name}")).unwrap();
            (name, link.display().to_string())
        })
        .collect()
}

/// A `corten-namespaces` that is killed when the test ends, however it ends.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A container that says its pid (as the test sees it) and waits.
fn waiting(lab: &Lab, options: &[&str]) -> (Held, i32) {
    let mut held = Held(lab.start(options, "echo ready; exec sleep 1000"));
    let child = &mut held.0;
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let pid = child_of(child.id() as i32);
    (held, pid)
}

fn child_of(pid: i32) -> i32 {
    let line = format!("PPid:\t{pid}");
    let of = |member: &namespace::Member| {
        fs::read_to_string(format!("/proc/{}/status", member.pid))
            .is_ok_and(|status| status.lines().any(|l| l == line))
    };
    let found = namespace::list().unwrap().into_iter().find(of);
    found.unwrap_or_else(|| panic!("{pid} has no child")).pid
}

#[corten_tier::t1]
fn all_eight_are_new_or_shared_as_asked() {
    let lab = Lab::new();
    let outside = own();
    for namespace in Namespace::ALL {
        let option = format!("--{namespace}");
        let inside = inodes(&run(["run", &option, "--", "sh", "-c", SHOW]).ok());
        for (name, link) in &outside {
            let new = name == namespace.file();
            assert_eq!(inside[name] != *link, new, "{name} with {option}");
        }
    }
    let inside = inodes(&lab.run(&["--map-root", "--boottime", "5"], SHOW).ok());
    assert_eq!(inside.len(), 8);
    let usual = inodes(&lab.run(&[], SHOW).ok());
    for (name, link) in &outside {
        let made = !matches!(name.as_str(), "user" | "time");
        assert_eq!(usual[name] != *link, made, "{name} by default");
        assert!(made || usual[name] == *link);
    }
}

#[corten_tier::t1]
fn a_namespace_is_joined_by_path() {
    let lab = Lab::new();
    let (holder, pid) = waiting(&lab, &["--hostname", "held"]);
    let theirs: BTreeMap<_, _> = Namespace::ALL
        .into_iter()
        .map(|n| (n, fs::read_link(format!("/proc/{pid}/ns/{n}")).unwrap().display().to_string()))
        .collect();
    for namespace in [Namespace::Net, Namespace::Uts, Namespace::Ipc, Namespace::Cgroup] {
        let path = format!("/proc/{pid}/ns/{namespace}");
        let inside = inodes(&lab.run(&["--join", &path], SHOW).ok());
        assert_eq!(inside[namespace.file()], theirs[&namespace], "{namespace}");
    }
    // A pid namespace counts for children, so there is a fork.
    let path = format!("/proc/{pid}/ns/pid");
    let text = lab.run(&["--join", &path], "readlink /proc/self/ns/pid; exit 9");
    assert_eq!(text.status, 9, "{text:?}");
    // The host name is that of the other, and cannot be set from here: it would change theirs.
    let uts = format!("/proc/{pid}/ns/uts");
    assert_eq!(lab.run(&["--join", &uts], "hostname").ok(), "held");
    let refused = lab.run(&["--join", &uts, "--hostname", "mine"], "hostname");
    assert_eq!(refused.status, 125, "{refused:?}");
    assert_eq!(lab.run(&["--join", &uts], "hostname").ok(), "held");
    // Nor are the mounts of another namespace made private, or covered by ours.
    let mnt = format!("/proc/{pid}/ns/mnt");
    let refused = lab.run(&["--join", &mnt], "true");
    assert_eq!(refused.status, 125, "{refused:?}");
    assert!(refused.err.contains("both"), "{refused:?}");
    let listed = run(["run", "--join", &mnt, "--", "ls", "/"]).ok();
    assert!(listed.contains("bin") && !listed.contains("usr"), "{listed}");
    drop(holder);
}

#[corten_tier::t1]
fn a_process_is_entered() {
    let lab = Lab::new();
    for options in [
        &["--hostname", "held"][..],
        &["--hostname", "held", "--map-root"],
        &["--hostname", "held", "--init"],
    ] {
        let (holder, pid) = waiting(&lab, options);
        let pid_text = pid.to_string();
        let enter = |script: &str| run(["enter", &pid_text, "--", "sh", "-c", script]);
        let inside = inodes(&enter(SHOW).ok());
        for namespace in Namespace::ALL {
            let link = fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
            assert_eq!(inside[namespace.file()], link.display().to_string(), "{namespace}");
        }
        assert_eq!(enter("hostname; pwd; echo /*").ok().lines().next(), Some("held"));
        assert!(enter("cat /proc/1/cmdline").out.contains("sleep"));
        assert_eq!(enter("exit 6").status, 6);
        assert_eq!(enter("kill -9 $$").status, 137);
        assert_eq!(run(["enter", &pid_text, "--", "/no/such"]).status, 127);
        // One namespace alone.
        let one = run([
            "enter",
            "--uts",
            &pid_text,
            "--",
            "sh",
            "-c",
            "hostname; readlink /proc/self/ns/net",
        ]);
        let net = fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(one.ok(), format!("held\n{}", net.display()));
        drop(holder);
    }
    let gone = run(["enter", "4194303", "--", "true"]);
    assert_eq!(
        (gone.status, &*gone.err),
        (125, "corten-namespaces: open process 4194303: ESRCH (no such process)\n")
    );
}

/// What unprivileged users may: a container, and to enter it.
#[corten_tier::t1]
fn an_ordinary_user_makes_and_enters_a_user_namespace() {
    let lab = Lab::new();
    let own = lab.rootfs();
    let chown = Command::new("chown").args(["-R", "1234:1234"]).arg(&own).status().unwrap();
    assert!(chown.success());
    let as_user = |command: &Command| {
        let mut user = Command::new("setpriv");
        if !setpriv_is_there() {
            user = Command::new(lab::busybox());
            user.arg("setpriv");
        }
        user.args(["--reuid=1234", "--regid=1234", "--clear-groups"]);
        user.arg(command.get_program()).args(command.get_args());
        user.stdin(Stdio::null());
        user
    };
    let binary = lab.outside().join("corten-namespaces");
    let plain = || {
        // The build directory may be closed to ordinary users.
        let mut command = Command::new(&binary);
        command.arg("run").arg("--rootfs").arg(lab.rootfs());
        command
    };
    corten_tier::copy_program(program(), &binary);
    fs::set_permissions(&binary, Permissions::from_mode(0o755)).unwrap();

    let ran = run_command(&mut as_user(plain().args(["--", "true"])));
    assert_eq!(ran.status, 125);
    assert!(ran.err.contains("EPERM") && ran.err.contains("--map-root"), "{ran:?}");

    let script = "id -u; id -g; cat /proc/self/uid_map; touch /tmp/made; stat -c %u /dev/null; echo x >/dev/null";
    let ran = run_command(&mut as_user(plain().args(["--map-root", "--", "sh", "-c", script])));
    let text = ran.ok();
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "0", "1234", "1", "65534"], "{text}");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(lab.rootfs().join("tmp/made")).unwrap().uid(), 1234);
    // CVE-2014-8989: setgroups stays denied, or leaving a group could grant access.
    let ran = run_command(&mut as_user(plain().args([
        "--map-root",
        "--",
        "cat",
        "/proc/self/setgroups",
    ])));
    assert_eq!(ran.ok(), "deny");

    let mut holder =
        as_user(plain().args(["--map-root", "--", "sh", "-c", "echo ready; exec sleep 1000"]));
    let mut holder = Held(holder.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(holder.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let pid = child_of(holder.0.id() as i32).to_string();
    let mut enter = Command::new(&binary);
    enter.args(["enter", &pid, "--", "sh", "-c", "id -u; cat /proc/1/comm"]);
    assert_eq!(run_command(&mut as_user(&enter)).ok(), "0\nsleep");
    // And root, who has not the ids of that namespace.
    assert_eq!(run(["enter", &pid, "--", "id", "-u"]).ok(), "0");
    drop(holder);

    // A map of ids that are not theirs is refused, with the reason.
    let ran = run_command(&mut as_user(plain().args([
        "--uid-map",
        "0:0:1",
        "--gid-map",
        "0:0:1",
        "--",
        "true",
    ])));
    assert_eq!(ran.status, 125, "{ran:?}");
    assert!(ran.err.contains("/etc/subuid") || ran.err.contains("uidmap"), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
}

fn setpriv_is_there() -> bool {
    std::path::Path::new("/usr/bin/setpriv").exists()
}

fn program() -> std::path::PathBuf {
    let program = corten().get_program().to_owned();
    let path = std::path::PathBuf::from(&program);
    if path.is_absolute() {
        return path;
    }
    let dirs = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&dirs).map(|dir| dir.join(&program)).find(|p| p.exists()).unwrap()
}

/// newuidmap(1) grants what /etc/subuid says; here that is a file of the test's, in its own mount
/// namespace.
#[corten_tier::t1]
fn ranges_of_ids_come_by_newuidmap() {
    if !std::path::Path::new("/usr/bin/newuidmap").exists() {
        assert!(std::env::var_os(corten_tier::IN_VM).is_some(), "the package uidmap");
        println!("not tested: the VM has no newuidmap");
        return;
    }
    let lab = Lab::new();
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    for (file, text) in [
        ("/etc/passwd", format!("{passwd}reader:x:1234:1234::/:/bin/sh\n")),
        ("/etc/subuid", "reader:300000:1000\n".to_owned()),
        ("/etc/subgid", "1234:400000:1000\n".to_owned()),
    ] {
        let own = lab.outside().join(file.trim_start_matches("/etc/"));
        fs::write(&own, text).unwrap();
        let flags = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(Some(&own), file, None::<&str>, flags, None::<&str>).unwrap();
    }
    let binary = lab.outside().join("corten-namespaces");
    corten_tier::copy_program(program(), &binary);
    fs::set_permissions(&binary, Permissions::from_mode(0o755)).unwrap();
    let user = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=1234", "--regid=1234", "--clear-groups"]).arg(&binary).arg("run");
        run_command(command.args(arguments).stdin(Stdio::null()))
    };
    let show = "cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g";
    let text = user(&["--user", "--map-auto", "-u", "7:8", "--", "sh", "-c", show]).ok();
    let words: Vec<_> = text.split_whitespace().collect();
    let maps = ["0", "1234", "1", "1", "300000", "1000", "0", "1234", "1", "1", "400000", "1000"];
    assert_eq!(words, [&maps[..], &["7", "8"]].concat());
    let refused = user(&["--uid-map", "0:1234:1,1:5000:9", "--gid-map", "0:1234:1", "--", "true"]);
    assert_eq!(refused.status, 125, "{refused:?}");
    let refused = user(&[
        "--uid-map",
        "0:1234:1",
        "--uid-map",
        "1:5000:9",
        "--gid-map",
        "0:1234:1",
        "--",
        "true",
    ]);
    assert_eq!(refused.status, 125, "{refused:?}");
    assert!(
        refused.err.contains("newuidmap") && refused.err.contains("/etc/subuid"),
        "{refused:?}"
    );
    assert_eq!(refused.err.lines().count(), 1, "{refused:?}");
}

#[corten_tier::t1]
fn a_namespace_is_kept_without_a_process() {
    let lab = Lab::new();
    // Linux 6.18 would refuse to keep a mount namespace that was made on another processor than
    // this one's: see `persist`.
    let mut processor = nix::sched::CpuSet::new();
    processor.set(nix::sched::sched_getcpu().unwrap()).unwrap();
    nix::sched::sched_setaffinity(Pid::from_raw(0), &processor).unwrap();
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let before = mounts();
    for namespace in ["uts", "net", "ipc", "mnt", "pid", "cgroup", "user", "time"] {
        let (holder, pid) = waiting(&lab, &["--hostname", "kept", "--map-root", "--time"]);
        let link = fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        let file = lab.outside().join(namespace);
        let path = file.to_str().unwrap();
        run(["keep", &pid.to_string(), namespace, path]).ok();
        let again = run(["keep", &pid.to_string(), namespace, path]);
        assert!(again.status == 125 && again.err.contains("EEXIST"), "{again:?}");
        drop(holder);
        until("the container ends", || !alive(pid));
        let stat = nix::sys::stat::stat(&file).unwrap();
        assert_eq!(format!("{namespace}:[{}]", stat.st_ino), link.display().to_string());
        if namespace == "uts" {
            assert_eq!(run(["run", "--join", path, "--", "hostname"]).ok(), "kept");
        }
        run(["release", path]).ok();
        assert!(!file.exists());
        let gone = run(["release", path]);
        assert!(gone.status == 125 && gone.err.contains("ENOENT"), "{gone:?}");
    }
    assert_eq!(mounts(), before);
    let plain = lab.secret();
    let refused = run(["release", plain.to_str().unwrap()]);
    assert!(refused.status == 125 && refused.err.contains("EINVAL"), "{refused:?}");
    assert!(plain.exists(), "what is no kept namespace is not removed");
}

#[corten_tier::t1]
fn clocks_have_offsets() {
    let lab = Lab::new();
    let uptime = |text: &str| text.split('.').next().unwrap().parse::<i64>().unwrap();
    let host = uptime(&fs::read_to_string("/proc/uptime").unwrap());
    let inside = uptime(&lab.run(&["--boottime", "1000000"], "cat /proc/uptime").ok());
    assert!((1_000_000..1_000_100).contains(&(inside - host)), "{host} {inside}");
    let text =
        lab.run(&["--monotonic", "-1", "--boottime", "50"], "cat /proc/self/timens_offsets").ok();
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words, ["monotonic", "-1", "0", "boottime", "50", "0"]);
    let refused = lab.run(&["--boottime", "-99999999999"], "true");
    assert_eq!(refused.status, 125, "{refused:?}");
    assert!(
        refused.err.contains("ERANGE") && refused.err.contains("time_namespaces(7)"),
        "{refused:?}"
    );
    // Without a change the namespace is new all the same.
    let text = lab.run(&["--time", "--pid"], "readlink /proc/self/ns/time").ok();
    assert_ne!(text, own()["time"]);
}

#[corten_tier::t1]
fn namespaces_are_listed() {
    let lab = Lab::new();
    let (holder, pid) = waiting(&lab, &[]);
    let all = run(["ls"]).ok();
    let inode = |n: Namespace| n.of(pid).unwrap().to_string();
    let line =
        all.lines().find(|line| line.starts_with("pid") && line.contains(&inode(Namespace::Pid)));
    assert!(line.is_some_and(|l| l.contains(&pid.to_string()) && l.contains("sleep")), "{all}");
    let one = run(["ls", &pid.to_string()]).ok();
    for namespace in Namespace::ALL {
        let line = one.lines().find(|l| l.split(' ').next() == Some(namespace.file())).unwrap();
        let shared = matches!(namespace, Namespace::User | Namespace::Time);
        assert!(line.contains(&inode(namespace)) && line.ends_with("yes") == shared, "{one}");
    }
    drop(holder);
    let gone = run(["ls", "4194303"]);
    assert!(gone.status == 125 && gone.err.lines().count() == 1, "{gone:?}");
}

/// Whoever the program runs as: a change of the user ids makes the kernel forget PR_SET_PDEATHSIG.
#[corten_tier::t1]
fn a_container_dies_with_its_parent() {
    let lab = Lab::new();
    let mut survivors = Vec::new();
    for options in [
        &[][..],
        &["-u", "1000:1000"],
        &["--uid-map", "0:100000:65536", "--gid-map", "0:100000:65536"],
        &["--uid-map", "0:100000:65536", "--gid-map", "0:100000:65536", "-u", "5"],
        &["--init"],
        &["--init", "-u", "1000"],
        &["--net", "--init"],
        &["--net", "-u", "1000"],
    ] {
        let (child, pid) = waiting(&lab, options);
        let below = lab::trace::below(pid);
        drop(child);
        survivors.extend(outlive(&below, &format!("{options:?}")));
    }
    // What was entered goes on; what entered it does not.
    let (holder, pid) = waiting(&lab, &[]);
    for options in [&[][..], &["-u", "1000"]] {
        let mut command = corten();
        command.arg("enter").args(options).args([&pid.to_string(), "--", "sleep", "1001"]);
        let child = Held(command.spawn().unwrap());
        let below = || lab::trace::below(child.0.id() as i32);
        until("sleep runs inside", || {
            let sleeping = |p: &i32| {
                fs::read_to_string(format!("/proc/{p}/comm")).is_ok_and(|c| c == "sleep\n")
            };
            below().iter().any(sleeping)
        });
        let entered = below();
        drop(child);
        survivors.extend(outlive(&entered, &format!("enter {options:?}")));
        assert!(alive(pid));
    }
    drop(holder);
    assert_eq!(survivors, [""; 0]);
}

/// Kills what is left after a moment, so that a failure leaves nothing on the machine.
fn outlive(pids: &[i32], what: &str) -> Option<String> {
    for _ in 0..100 {
        if !pids.iter().any(|pid| alive(*pid)) {
            return None;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for pid in pids.iter().filter(|pid| alive(**pid)) {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    Some(what.to_owned())
}

/// T2: the limit of the machine is changed.
#[corten_tier::t2]
fn user_namespaces_forbidden_by_sysctl() {
    let lab = Lab::new();
    let limit = "/proc/sys/user/max_user_namespaces";
    let before = fs::read_to_string(limit).unwrap();
    fs::write(limit, "0").unwrap();
    let ran: Ran = lab.run(&["--map-root"], "true");
    fs::write(limit, before).unwrap();
    assert_eq!(ran.status, 125);
    assert!(ran.err.contains("ENOSPC") && ran.err.contains("max_*_namespaces"), "{ran:?}");
    lab.run(&["--map-root"], "true").ok();
}

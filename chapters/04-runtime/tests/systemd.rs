//! What systemd asks of a runtime: sockets that it has opened, news of a service, scopes.
#![allow(clippy::unwrap_used)]

mod lab;
#[path = "../../02-cgroups/tests/lab/systemd.rs"]
mod process_1;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::{Lab, run, until};
use serde_json::json;

/// sd_listen_fds(3): the descriptors from 3 on are the service's, and LISTEN_PID says whose.
#[corten_tier::t1]
fn sockets_that_systemd_has_opened_are_handed_on() {
    let lab = Lab::shell("echo $LISTEN_FDS $LISTEN_PID; cat <&3");
    lab.write();
    let file = lab.base().join("kept");
    fs::write(&file, "the first socket\n").unwrap();
    let ran = |pid: &str| {
        let script = format!("LISTEN_FDS=1 LISTEN_PID={pid} exec \"$@\" 3<\"$0\"");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(&file).arg(&lab.runtime).arg("--root");
        run(command.arg(lab.state_root()).args(["run", "--bundle"]).arg(lab.bundle()).arg(lab.id()))
    };
    // The shell becomes the runtime, so this is its number. In the container it is 1.
    assert_eq!(ran("$$").ok(), "1 1\nthe first socket");
    let not_ours = ran("1");
    assert_eq!(not_ours.out.trim(), "", "{not_ours:?}");
    assert!(not_ours.err.contains("Bad file descriptor"), "{not_ours:?}");
}

/// sd_notify(3). busybox's logger writes what it is told to /dev/log, which is a socket of the same
/// kind.
#[corten_tier::t1]
fn a_service_says_that_it_is_ready() {
    let lab = Lab::shell(
        "ln -s $NOTIFY_SOCKET /dev/log; sleep 0.2; logger \"$(printf 'x\\nREADY=1\\nx')\"; \
         exec sleep 1000",
    );
    lab.write();
    let path = lab.base().join("notify");
    let host = UnixDatagram::bind(&path).unwrap();
    host.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let out = fs::File::create(lab.base().join("out")).unwrap();
    let mut command = lab.command(&["run", "--detach", lab.id()]);
    command.env("NOTIFY_SOCKET", &path).stdin(Stdio::null()).stdout(out.try_clone().unwrap());
    assert!(command.stderr(out).status().unwrap().success(), "{}", lab.output());
    let mut bytes = [0; 100];
    let length = host.recv(&mut bytes).unwrap();
    let expected = format!("READY=1\nMAINPID={}\n", lab.pid());
    assert_eq!(String::from_utf8_lossy(&bytes[..length]), expected);
    lab.verb(&["delete", "--force"]).ok();
    lab.nothing_left();
}

/// Not a test by itself: the caller of systemd, in the same pid namespace.
#[test]
fn client() {
    if !process_1::is_client() {
        return;
    }
    until("systemd listens", || Path::new("/run/systemd/private").exists());
    let mut lab = Lab::with_args(&["sleep", "1000"]);
    lab.config["linux"]["cgroupsPath"] = json!(format!("system.slice:corten:{}", lab.id()));
    lab.config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    lab.config["linux"]["resources"]["pids"] = json!({"limit": 20});
    lab.write();
    let out = fs::File::create(lab.base().join("out")).unwrap();
    let mut command = lab.command(&["--systemd-cgroup", "create", lab.id()]);
    command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
    assert!(command.status().unwrap().success(), "{}", lab.output());
    let scope = format!("/system.slice/corten-{}.scope", lab.id());
    let membership = fs::read_to_string(format!("/proc/{}/cgroup", lab.pid())).unwrap();
    assert!(membership.trim().ends_with(&scope), "{membership}");
    let group = Path::new("/sys/fs/cgroup").join(scope.trim_start_matches('/'));
    let value = |file: &str| fs::read_to_string(group.join(file)).unwrap().trim().to_owned();
    assert_eq!((value("memory.max"), value("pids.max")), ("67108864".into(), "20".into()));
    lab.verb(&["start"]).ok();
    // systemd is told of a change, or it would undo it when it next looks at the scope.
    run(&mut lab.command(&["update", "--pids-limit", "30", lab.id()])).ok();
    assert_eq!(value("pids.max"), "30");
    lab.verb(&["delete", "--force"]).ok();
    until("the scope is gone", || !group.exists());
    process_1::finish();
}

#[corten_tier::t2]
fn a_scope_of_systemd_is_the_container_s_group() {
    process_1::run_client();
}

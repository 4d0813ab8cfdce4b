//! Launchers and shims that are killed.

use std::process::{Command, Stdio};
use std::time::Duration;

use corten_supervisor::client::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::lab::{Lab, output_streams, proc, run, supervisor, until};

fn kill_hard(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// Whoever wanted the container is gone: nobody will ever start it.
#[corten_tier::t1]
fn a_shim_whose_launcher_dies_before_the_start_ends() {
    let lab = Lab::new("sleep 1000");
    let (client, mut shim) = lab.shim();
    until("it listens", || Client::connect(&lab.directory(), lab.id()).is_ok());
    drop(client);
    assert!(shim.wait().unwrap().success());
    lab.nothing_left();
    assert!(!lab.directory().join("control.sock").exists());
    assert_eq!(lab.exit(), None);
}

/// The container lives on, its output goes on, and somebody else can take over.
#[corten_tier::t1]
fn a_container_whose_launcher_is_killed_goes_on() {
    let lab = Lab::new("n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done");
    lab.write_config();
    let mut launcher =
        lab.command(&["run", lab.id()]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    until("it says something", || lab.log().lines().count() > 3);
    kill_hard(launcher.id() as i32);
    launcher.wait().unwrap();
    let before = lab.log().lines().count();
    until("it goes on", || lab.log().lines().count() > before + 20);
    let mut client = lab.client();
    let streams = client.attach(output_streams()).unwrap();
    let before = lab.log().lines().count();
    until("it still goes on", || lab.log().lines().count() > before + 3);
    client.stop(Some(libc::SIGKILL), None).unwrap();
    assert!(!crate::lab::output(streams).is_empty());
    // No line is lost or doubled.
    let log = lab.log();
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for (expected, line) in (1..).zip(whole.lines()) {
        assert_eq!(line.parse::<u64>().unwrap(), expected);
    }
    assert_eq!(lab.exit().unwrap().status, 137);
    lab.nothing_left();
}

/// Its session ends, and what hangs on it: a person logs out.
#[corten_tier::t1]
fn a_shim_does_not_end_with_its_launchers_session() {
    let lab = Lab::new("sleep 1000");
    lab.run(&["--detach"]).ok();
    for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        kill(Pid::from_raw(lab.shim_pid()), signal).unwrap();
    }
    assert!(lab.client().status().unwrap().pid > 0);
    // sid and pid: fields 6 and 1.
    let stat = proc::read(lab.shim_pid(), "stat");
    let sid = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
    assert_eq!(sid, lab.shim_pid().to_string());
}

/// The orphans of a container that shares the host's processes come to the shim and not to init.
#[corten_tier::t1]
fn orphans_come_to_the_shim() {
    let mut lab = Lab::new("(sh -c 'echo $$ > /tmp/pid; sleep 1000' &) ; echo up; sleep 1000");
    lab.share_processes();
    let mut client = lab.started();
    lab.said("up");
    let file = lab.rootfs().join("tmp/pid");
    until("its number", || std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')));
    let orphan: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    until("it is the shim's", || proc::stat(orphan).parent() == lab.shim_pid());
    client.stop(Some(libc::SIGKILL), None).unwrap();
    lab.nothing_left();
    until("it is collected", || proc::read(orphan, "stat").is_empty());
}

/// A root that the shim mounts, limits, a terminal or pipes: all that can be left.
fn scene(terminal: bool) -> Lab {
    let mut lab = Lab::new("echo up; sleep 1000");
    lab.config["process"]["terminal"] = json!(terminal);
    lab.config["linux"]["resources"]["pids"] = json!({"limit": 100});
    let base = lab.base().to_path_buf();
    let layer = base.join("layer");
    std::fs::rename(lab.rootfs(), &layer).unwrap();
    std::fs::create_dir(lab.rootfs()).unwrap();
    let writable = base.join("run/writable");
    std::fs::create_dir_all(&writable).unwrap();
    lab.settings.root = Some(corten_supervisor::settings::Root {
        driver: "overlay".into(),
        layers: vec![layer],
        writable,
        target: lab.rootfs(),
    });
    lab
}

/// Kills a shim `after` so long from its start, sees what is left, and that `rm` removes it.
fn killed(after: Duration, terminal: bool) -> bool {
    let lab = scene(terminal);
    let (mut client, mut shim) = lab.shim();
    let starting = std::thread::spawn(move || client.start().is_ok());
    std::thread::sleep(after);
    kill_hard(shim.id() as i32);
    shim.wait().unwrap();
    let started = starting.join().unwrap();
    assert_eq!(lab.verb(&["rm"]).status, 0, "after {after:?}");
    assert!(!lab.directory().exists());
    lab.nothing_left();
    // And the name can be used again.
    let lab_again = Command::new(supervisor()).arg("--root").arg(lab.root()).arg("list").output();
    assert!(lab_again.unwrap().status.success());
    started
}

/// So many kills, at moments that are spread over a start and what follows.
fn kills(number: u32, longest: Duration) -> (u32, u32) {
    let mut started = 0;
    for n in 0..number {
        // Not in the order of time, so that a slower machine does not move all of them.
        let after = longest * (n * 7919 % number) / number;
        started += u32::from(killed(after, n % 2 == 1));
    }
    (number, started)
}

fn longest() -> Duration {
    // A start takes some 10 ms, in an emulated machine far longer.
    let in_vm = std::env::var_os(corten_tier::IN_VM).is_some();
    Duration::from_millis(if in_vm { 600 } else { 50 })
}

#[corten_tier::t1]
fn what_a_killed_shim_leaves_can_be_removed() {
    let in_vm = std::env::var_os(corten_tier::IN_VM).is_some();
    let (number, started) = kills(if in_vm { 8 } else { 20 }, longest());
    assert!(started < number, "none was killed before its container ran");
}

/// The root is mounted where the host does not see it, and goes with the shim.
#[corten_tier::t1]
fn the_root_is_mounted_for_the_shim_alone() {
    let lab = scene(false);
    // As on a host that systemd has set up: what is mounted below is mounted for all.
    let bundle = &lab.settings.bundle;
    let mount = |flags| nix::mount::mount(Some(bundle), bundle, None::<&str>, flags, None::<&str>);
    mount(nix::mount::MsFlags::MS_BIND).unwrap();
    mount(nix::mount::MsFlags::MS_SHARED).unwrap();
    let mut client = lab.started();
    lab.said("up");
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let target = lab.rootfs().display().to_string();
    let seen = mounts.contains(&target);
    if seen {
        let _ = nix::mount::umount2(&lab.rootfs(), nix::mount::MntFlags::MNT_DETACH);
    }
    nix::mount::umount2(bundle, nix::mount::MntFlags::MNT_DETACH).unwrap();
    assert!(!seen, "{mounts}");
    assert!(proc::read(lab.shim_pid(), "mountinfo").contains(&target));
    let exit = client.stop(Some(libc::SIGKILL), None).unwrap();
    assert_eq!(exit.status, 137);
    lab.nothing_left();
}

/// `./x soak shim`: as many as `CORTEN_SOAK_KILLS` says.
#[test]
#[ignore = "takes minutes: ./x soak shim"]
fn soak() {
    corten_tier::enter_t1();
    let number = std::env::var("CORTEN_SOAK_KILLS").ok().and_then(|text| text.parse().ok());
    let (kills, started) = kills(number.unwrap_or(500), longest());
    let path = std::env::var_os("CORTEN_SOAK_RESULT").expect("./x soak shim sets it");
    let result = json!({"kills": kills, "after_start": started, "left": 0});
    std::fs::write(path, format!("{result:#}\n")).unwrap();
}

/// What is removed must not run; what was never there is said to be so.
#[corten_tier::t1]
fn a_running_container_is_not_removed() {
    let lab = Lab::new("sleep 1000");
    lab.run(&["--detach"]).ok();
    let ran = lab.verb(&["rm"]);
    assert_ne!(ran.status, 0);
    assert!(ran.err.contains("is running"), "{ran:?}");
    assert!(lab.client().status().unwrap().pid > 0);
    let none = run(&mut lab.command(&["rm", "none"]));
    assert!(none.err.contains("no supervisor"), "{none:?}");
}

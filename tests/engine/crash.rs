//! Signals, and the engine killed: nothing stays behind.

use std::io::{BufRead, Write};
use std::process::Command;

use crate::support::{self, Host, eventually, is_alive};

fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, &pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -s {signal} {pid}");
}

#[corten_tier::t1]
fn signals_reach_the_program_and_its_status_comes_back() {
    let host = Host::with_busybox();
    for (name, status) in [("TERM", 15), ("INT", 2), ("USR1", 10)] {
        let script = "trap 'exit 15' TERM; trap 'exit 2' INT; trap 'exit 10' USR1; touch /v/ready; \
                      while :; do sleep 0.02; done";
        let ready = host.path("shared");
        let volume = format!("{}:/v", ready.display());
        let args = ["run", "--rm", "-v", &volume, "busybox", "sh", "-c", script];
        let (mut child, _) = host.start(&args);
        eventually("the traps are set", || ready.join("ready").exists().then_some(()));
        signal(child.id(), name);
        assert_eq!(child.wait(), Some(status), "{name}");
        std::fs::remove_dir_all(&ready).unwrap();
        host.assert_clean();
    }
}

#[corten_tier::t1]
fn a_killed_engine_leaves_its_container_running_and_nothing_is_lost() {
    let host = Host::with_busybox();
    let script = "for i in $(seq 5); do echo line $i; sleep 0.1; done; exit 3";
    let args = ["run", "--name", "survivor", "busybox", "sh", "-c", script];
    let (mut child, pid) = host.start(&args);
    signal(child.id(), "KILL");
    child.wait();
    assert!(is_alive(pid), "its parent is its supervisor");
    assert_eq!(host.corten(&["wait", "survivor"]).ok(), "3\n");
    let logged = host.corten(&["logs", "survivor"]).ok();
    let lines: Vec<String> = (1..=5).map(|i| format!("line {i}")).collect();
    assert_eq!(logged.lines().collect::<Vec<_>>(), lines, "{logged}");
    host.corten(&["rm", "survivor"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn a_container_to_be_removed_is_removed_by_the_next_engine() {
    let host = Host::with_busybox();
    let (mut child, pid) = host.start(&["run", "--rm", "busybox", "sleep", "1000"]);
    signal(child.id(), "KILL");
    child.wait();
    let id = host.names("running").remove(0);
    host.corten(&["kill", &id]).ok();
    eventually("the container is gone", || (!is_alive(pid)).then_some(()));
    // The next start, whatever it does, finishes that; it leaves alone what a supervisor still does.
    host.settle();
    host.assert_clean();
}

#[corten_tier::t1]
fn a_killed_supervisor_takes_its_container_with_it_and_the_state_says_so() {
    let host = Host::with_busybox();
    host.corten(&["run", "-d", "--name", "kept", "busybox", "sleep", "1000"]).ok();
    let running = host.corten(&["ps"]).ok();
    assert!(running.contains("kept") && running.contains("Up "), "{running}");
    let (pid, supervisor) = host.running().unwrap();
    signal(u32::try_from(supervisor).unwrap(), "KILL");
    eventually("the supervisor is gone", || (!is_alive(supervisor)).then_some(()));
    let listed = host.corten(&["ps", "-a"]).ok();
    assert!(listed.contains("Exited (137)"), "{listed}");
    eventually("the container is gone", || (!is_alive(pid)).then_some(()));
    host.corten(&["rm", "kept"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn rm_refuses_a_running_container_and_kills_it_with_force() {
    let host = Host::with_busybox();
    for keeps in [true, false] {
        let flags: &[&str] = if keeps { &["--name", "busy"] } else { &["--rm", "--name", "busy"] };
        let args = [&["run"], flags, &["busybox", "sleep", "1000"]].concat();
        let (mut child, pid) = host.start(&args);
        host.corten(&["rm", "busy"]).fails(1, "is running: stop it first");
        host.corten(&["rmi", "-f", "busybox"]).fails(1, "in use by container");
        host.corten(&["rm", "-f", "busy"]).ok();
        assert!(!is_alive(pid));
        assert_eq!(child.wait(), Some(137));
        host.assert_clean();
    }
}

#[corten_tier::t1]
fn a_signal_while_many_start_leaves_nothing() {
    let host = Host::with_busybox();
    for delay in [0, 1, 2, 3, 5, 8, 13, 21] {
        let mut command = host.command(&["run", "--rm", "--init", "busybox", "sleep", "1000"]);
        let mut child = command.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        signal(child.id(), "TERM");
        child.wait().unwrap();
    }
    host.settle();
    host.assert_clean();
}

/// Names the state directory whose container `short` the test [`start_it_again`] starts.
const START: &str = "CORTEN_CRASH_START";

/// Not a test but an engine of its own: it was open before the container ended.
#[test]
fn start_it_again() {
    let Some(root) = std::env::var_os(START).map(std::path::PathBuf::from) else { return };
    let engine = corten::engine::Engine::open(&root, &root.join("run")).unwrap();
    println!("\nopen");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    engine.start("short", &corten::engine::life::Start::default()).unwrap();
}

/// The new start forgets the last end, which only it has seen: so it writes that down first.
#[corten_tier::t1]
fn an_end_is_known_though_the_engine_that_starts_it_again_is_killed() {
    let host = Host::with_busybox();
    let script = "trap 'exit 7' TERM; while :; do sleep 0.02; done";
    host.corten(&["run", "-d", "--name", "short", "busybox", "sh", "-c", script]).ok();
    let (pid, supervisor) = host.running().unwrap();
    let id = host.names("containers").remove(0);
    let end = host.root().join("containers").join(&id).join("exit.json");
    // What comes next: the directory of the new supervisor.
    let next = host.root().join("run").join(&id).join("bundle");
    let mut engine = Command::new("strace");
    engine.args(["-f", "-qq", "-o", "/dev/null", "-P", support::text(&next)]);
    engine.args(["-e", "trace=?mkdir,mkdirat", "-e", "inject=?mkdir,mkdirat:signal=KILL"]);
    engine.arg(std::env::current_exe().unwrap()).args([
        "crash::start_it_again",
        "--exact",
        "--nocapture",
    ]);
    let mut engine = engine
        .env(START, host.root())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(engine.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "open"));
    signal(u32::try_from(pid).unwrap(), "TERM");
    eventually("its supervisor has ended", || (!is_alive(supervisor)).then_some(()));
    engine.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(!engine.wait().unwrap().success(), "it is killed when it has forgotten the end");
    assert!(!end.exists(), "it had");
    assert_eq!(host.corten(&["wait", "short"]).ok(), "7\n");
    host.corten(&["rm", "short"]).ok();
    host.assert_clean();
}

/// What is removed with a container is removed after it: a kill in between leaves it to the next engine.
#[corten_tier::t1]
fn a_volume_goes_with_its_container_though_the_engine_is_killed() {
    let host = Host::with_busybox();
    host.corten(&["create", "--name", "kept", "-v", "/data", "busybox", "true"]).ok();
    let id = host.names("containers").remove(0);
    let volume = host.names("volumes").into_iter().find(|name| name.len() == 64).unwrap();
    let condemned = host.root().join("containers").join(&id).join("removed.json");
    let mut engine = Command::new("strace");
    // The first that it does to what the volume holds.
    let path = host.root().join("volumes").join(&volume);
    engine.args(["-f", "-qq", "-o", "/dev/null", "-P", support::text(&path)]);
    engine.args(["-e", "trace=file", "-e", "inject=file:signal=KILL"]);
    engine.args([env!("CARGO_BIN_EXE_corten"), "rm", "-v", "kept"]);
    assert!(!engine.env("CORTEN_ROOT", host.root()).status().unwrap().success());
    assert!(condemned.exists() && path.exists(), "it was killed in between");
    assert_eq!(host.corten(&["ps", "-a", "-q"]).ok(), "");
    assert_eq!(host.corten(&["volume", "ls", "-q"]).ok(), "");
    host.assert_clean();
}

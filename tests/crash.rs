//! Signals, and the engine killed: nothing stays behind.

mod support;

use std::process::Command;

use support::{Host, eventually, is_alive};

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
fn a_killed_engine_takes_its_container_with_it() {
    let host = Host::with_busybox();
    let (mut child, pid) = host.start(&["run", "--rm", "busybox", "sleep", "1000"]);
    let id = host.names("running").remove(0);
    signal(child.id(), "KILL");
    child.wait();
    eventually("the container is gone", || (!is_alive(pid)).then_some(()));
    assert!(host.root().join("containers").join(&id).exists(), "nobody was left to remove it");
    // The next start, whatever it does, finishes that.
    host.corten(&["images"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn a_container_to_be_kept_is_marked_as_ended_after_a_crash() {
    let host = Host::with_busybox();
    let (mut child, _) = host.start(&["run", "--name", "kept", "busybox", "sleep", "1000"]);
    let running = host.corten(&["ps"]).ok();
    assert!(running.contains("kept") && running.contains("Up "), "{running}");
    signal(child.id(), "KILL");
    child.wait();
    let listed = host.corten(&["ps", "-a"]).ok();
    assert!(listed.contains("Exited (137)"), "{listed}");
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
        host.corten(&["rm", "busy"]).fails(1, "is running (its engine is process");
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
    host.corten(&["images"]).ok();
    host.assert_clean();
}

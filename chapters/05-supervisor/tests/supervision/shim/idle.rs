//! What a shim costs while nothing happens.

use std::process::{Command, Stdio};
use std::time::Duration;

use corten_supervisor::protocol::Operation;

use crate::lab::{Lab, all_streams, output_streams, proc, until};

/// In 3 s it does not run at all: neither its own code nor the kernel's for it, nor is it woken.
#[track_caller]
fn sleeps(lab: &Lab) {
    let pid = lab.shim_pid();
    until("it has come to rest", || {
        let now = || (proc::stat(pid).ticks(), proc::switches(pid));
        let before = now();
        std::thread::sleep(Duration::from_millis(500));
        now() == before
    });
    let (ticks, switches) = (proc::stat(pid).ticks(), proc::switches(pid));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(proc::stat(pid).ticks(), ticks);
    assert_eq!(proc::switches(pid), switches, "it was woken");
}

#[corten_tier::t1]
fn an_idle_shim_sleeps() {
    let lab = Lab::with_input("sleep 1000");
    let _client = lab.started();
    sleeps(&lab);
}

/// Attached in all ways, one that has closed its direction among them.
#[corten_tier::t1]
fn an_idle_client_wakes_nobody() {
    let lab = Lab::with_input("echo up; sleep 1000");
    let mut client = lab.started();
    client.perform(Operation::Events).unwrap();
    let _first = client.attach(all_streams()).unwrap();
    let second = client.attach(output_streams()).unwrap();
    crate::lab::end_input(&second);
    sleeps(&lab);
}

#[corten_tier::t1]
fn a_client_that_has_left_wakes_nobody() {
    let lab = Lab::with_input("echo up; sleep 1000");
    let mut client = lab.started();
    drop(client.attach(all_streams()).unwrap());
    drop(lab.client());
    drop(client);
    sleeps(&lab);
}

/// The pipes are at their end, and the program runs on.
#[corten_tier::t1]
fn closed_streams_wake_nobody() {
    for terminal in [false, true] {
        let mut lab = Lab::with_input("exec <&- >&- 2>&-; sleep 1000");
        lab.config["process"]["terminal"] = serde_json::json!(terminal);
        let mut client = lab.started();
        let streams = client.attach(all_streams()).unwrap();
        crate::lab::write(&streams, b"to nobody");
        sleeps(&lab);
    }
}

/// A client that reads nothing holds the program up, and nobody turns in circles meanwhile.
#[corten_tier::t1]
fn a_client_that_is_behind_wakes_nobody() {
    let mut lab = Lab::new("yes");
    lab.settings.log = None;
    let mut client = lab.started();
    let _streams = client.attach(output_streams()).unwrap();
    sleeps(&lab);
}

/// Two at least, so that what they share is counted as shared. In the program as it is released
/// it is less than half: `./x bench supervisor` measures that.
#[corten_tier::t1]
fn a_shim_takes_less_than_a_megabyte() {
    let labs: Vec<Lab> =
        (0..3).map(|_| Lab::new("yes '' | head -c 200000; echo over; sleep 1000")).collect();
    let clients: Vec<_> = labs.iter().map(Lab::started).collect();
    for (lab, mut client) in labs.iter().zip(clients) {
        let log = &lab.settings.log.as_ref().unwrap().path;
        // Not as JSON: it is long.
        until("it is over", || {
            let text = std::fs::read(log).unwrap_or_default();
            text[text.len().saturating_sub(200)..].windows(4).any(|word| word == b"over")
        });
        client.exec(lab.exec(&["true"], Some(output_streams()))).unwrap();
        let taken = proc::private(lab.shim_pid());
        assert!(taken <= 1000, "{taken} KiB");
    }
}

/// The same as `an_idle_shim_sleeps`, by the calls that it makes.
#[corten_tier::t1]
fn an_idle_shim_makes_no_call() {
    if Command::new("strace").arg("-V").output().is_err() {
        return; // not in the lab VM
    }
    let lab = Lab::new("sleep 1000");
    let _client = lab.started();
    let pid = lab.shim_pid().to_string();
    let trace = lab.base().join("trace");
    let mut strace = Command::new("strace")
        .args(["-qq", "-o"])
        .arg(&trace)
        .args(["-p", &pid])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(strace.id() as i32),
        nix::sys::signal::Signal::SIGTERM,
    );
    strace.wait().unwrap();
    let text = std::fs::read_to_string(trace).unwrap();
    // The one in which it waits.
    assert!(text.lines().count() <= 1, "{text}");
}

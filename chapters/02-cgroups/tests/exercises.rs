//! The solutions of the exercises of chapter 2, each put to the test.
#![allow(clippy::unwrap_used)]

mod lab;

#[path = "../examples/effective.rs"]
#[allow(dead_code)]
mod effective;
#[path = "../examples/empty.rs"]
#[allow(dead_code)]
mod empty;
#[path = "../examples/grow.rs"]
#[allow(dead_code)]
mod grow;
#[path = "../examples/late.rs"]
#[allow(dead_code)]
mod late;

use std::time::Duration;

use corten_cgroups::launch::Exit;
use corten_cgroups::limits::Memory;
use corten_cgroups::{Cgroup, Layout, Limits, Max};
use lab::{Lab, busybox};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn memory(mib: u64) -> Limits {
    let memory = Memory { limit: Some(Max::At(mib << 20)), ..Memory::default() };
    Limits { memory, ..Limits::default() }
}

fn words(script: &str) -> Vec<String> {
    let busybox = busybox().display().to_string();
    [&busybox, "sh", "-c", script].map(String::from).into()
}

#[corten_tier::t1]
fn exercise_1_the_least_limit_on_the_way_up_counts() {
    let lab = Lab::new(memory(64));
    let inner = lab.child("inner", Limits::default()).unwrap();
    let (mount, own) = effective::memory_group("self").unwrap();
    let of = |cgroup: &Cgroup| {
        let group = cgroup.group(corten_cgroups::Controller::Memory).unwrap();
        effective::effective_limit(&mount, group.path())
    };
    assert!(of(&lab) <= Max::At(64 << 20));
    assert_eq!(of(&inner), of(&lab), "the group itself has no limit");
    inner.apply(&memory(32)).unwrap();
    assert!(of(&inner) <= Max::At(32 << 20) && of(&inner) <= of(&lab));
    assert!(effective::effective_limit(&mount, &own) >= of(&lab));
    let running = lab::start(&inner, "sleep 60");
    let (mount, theirs) = effective::memory_group(&running.pid().to_string()).unwrap();
    assert!(effective::effective_limit(&mount, &theirs) <= Max::At(32 << 20));
}

#[corten_tier::t1]
fn exercise_2_the_limit_grows_until_it_is_enough() {
    let dd = words("exec dd if=/dev/zero of=/dev/null bs=24M count=1 2>/dev/null");
    let (exit, limit) = grow::grow(&dd, 4 << 20, 1 << 30).unwrap();
    assert_eq!((exit, limit), (Exit::Code(0), 32 << 20));
    // Killed, but not for lack of memory: not tried again.
    let (exit, limit) = grow::grow(&words("kill -9 $$"), 8 << 20, 1 << 30).unwrap();
    assert_eq!((exit, limit), (Exit::Signal(libc::SIGKILL), 8 << 20));
    let (exit, limit) = grow::grow(&dd, 4 << 20, 16 << 20).unwrap();
    assert_eq!((exit, limit), (Exit::Signal(libc::SIGKILL), 16 << 20));
}

#[corten_tier::t1]
fn exercise_3_the_end_of_the_last_process_is_told() {
    let lab = Lab::new(Limits::default());
    if lab.hierarchy.layout() == Layout::Legacy {
        assert!(empty::wait_until_empty(&lab).is_err());
        return;
    }
    empty::wait_until_empty(&lab).unwrap();
    // The command ends at once, what it started does not.
    assert_eq!(lab.run("sleep 0.3 &"), Exit::Code(0));
    assert!(!lab.processes().unwrap().is_empty());
    empty::wait_until_empty(&lab).unwrap();
    assert!(lab.processes().unwrap().is_empty());
}

/// How many processes that a command has started are outside of its group.
fn outside(start: impl Fn(&[String]) -> (Cgroup, i32)) -> usize {
    let (cgroup, pid) = start(&words("sleep 61 & sleep 62"));
    std::thread::sleep(Duration::from_millis(50));
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let children: Vec<i32> =
        children.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let inside = cgroup.processes().unwrap();
    let outside: Vec<_> = children.into_iter().filter(|child| !inside.contains(child)).collect();
    for child in &outside {
        kill(Pid::from_raw(*child), Signal::SIGKILL).unwrap();
    }
    cgroup.kill().unwrap();
    cgroup.remove(Duration::from_secs(5)).unwrap();
    // Both kinds of start leave the collecting to us.
    let _ = nix::sys::wait::waitpid(Pid::from_raw(pid), None);
    outside.len()
}

#[corten_tier::t1]
fn exercise_4_late_comers_leave_their_children_outside() {
    let mut escaped = 0;
    for _ in 0..50 {
        escaped += outside(|command| late::broken(&lab::placement(), command).unwrap());
        if escaped > 0 {
            break;
        }
    }
    assert!(escaped > 0, "the broken one was never too late");
    for _ in 0..5 {
        assert_eq!(outside(|command| late::mended(&lab::placement(), command).unwrap()), 0);
    }
    let placement = lab::placement();
    let nothing = late::mended(&placement, &["/no/such/program".into()]);
    assert!(nothing.is_err());
    assert!(Cgroup::open(&corten_cgroups::Hierarchy::detect().unwrap(), &placement).is_err());
}

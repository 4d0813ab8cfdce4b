//! `corten-cgroups` as a program: what it prints and what it leaves.
#![allow(clippy::unwrap_used)]

mod lab;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use lab::{corten, run, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn left() -> Vec<String> {
    let mut left = Vec::new();
    for mount in corten_cgroups::Hierarchy::detect().unwrap().mounts() {
        let entries = std::fs::read_dir(&mount.own).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        left.extend(names.filter(|name| name.starts_with("corten-prog-")));
    }
    left
}

/// One test, because it compares what is left of all of them.
#[corten_tier::t1]
fn the_program_runs_tells_and_cleans_up() {
    let name = |what: &str| format!("corten-prog-{}-{what}", std::process::id());
    let busybox = lab::busybox();
    let busybox = busybox.to_str().unwrap();

    let ran = run(&["run", "--name", &name("ok"), "--", busybox, "sh", "-c", "exit 7"]);
    assert_eq!((ran.status, &*ran.out, &*ran.err), (7, "", ""));

    let name_of = name("oom");
    let dd = [busybox, "dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"];
    let ran = run(&[&["run", "--name", &name_of, "--memory", "16m", "--"][..], &dd].concat());
    assert_eq!(ran.status, 137);
    assert_eq!(ran.err, format!("corten-cgroups: {name_of}: out of memory, 1 killed\n"));

    let ran = run(&["run", "--name", &name("no"), "--", "/no/such/program"]);
    assert_eq!((ran.status, &*ran.err), (127, "corten-cgroups: /no/such/program: ENOENT\n"));

    let ran = run(&["run", "--memory", "2m", "--memory-swap", "1m", "--", "true"]);
    let told = "corten-cgroups: memory and swap together: are limited below memory alone\n";
    assert_eq!((ran.status, &*ran.err), (125, told));

    let ran = run(&["stat", &name("nowhere")]);
    assert_eq!(ran.status, 125);
    assert!(ran.err.contains("open the control group"), "{}", ran.err);
    assert!(ran.err.contains("ENOENT (no such group)"), "{}", ran.err);
    assert_eq!(left(), Vec::<String>::new());

    // A long one, looked at and changed from outside, then asked to end.
    let group = name("long");
    let mut long = corten()
        .args(["run", "--name", &group, "--memory", "64m", "--pids", "20", "--"])
        .args([busybox, "sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do :; done"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(long.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let ran = run(&["stat", &group]);
    assert!(ran.out.contains("of 64.0M") && ran.out.contains("pids      1 of 20"), "{ran:?}");
    assert_eq!(run(&["set", &group, "--memory", "32m"]).status, 0);
    assert!(run(&["stat", &group]).out.contains("of 32.0M"));
    let listed = run(&["ls", &group]).out;
    assert!(listed.lines().nth(1).unwrap().trim().starts_with("1  /sys/fs/cgroup/"), "{listed}");
    assert_eq!(run(&["freeze", &group]).status, 0);
    let used = || {
        let out = run(&["stat", &group]).out;
        out.lines().next().unwrap().split(" (").next().unwrap().to_owned()
    };
    assert_eq!(used(), used());
    assert_eq!(run(&["thaw", &group]).status, 0);
    let (parent, own) = (["top", "-n", "1", "-i", "0.2"], group.clone());
    let own_dir = corten_cgroups::Hierarchy::detect().unwrap();
    if own_dir.mounts().iter().all(|mount| mount.own == mount.point) {
        let top = run(&parent).out;
        assert!(top.lines().any(|line| line.starts_with(&own) && line.contains('%')), "{top}");
    }
    kill(Pid::from_raw(long.id().cast_signed()), Signal::SIGTERM).unwrap();
    until("it has ended", || long.try_wait().unwrap().is_some());
    assert_eq!(long.wait().unwrap().code(), Some(3), "the command had the signal");
    assert_eq!(left(), Vec::<String>::new());

    // Left on purpose, with a process in it, and killed.
    let group = name("kept");
    let script = format!("{busybox} sleep 60 >/dev/null 2>&1 &");
    let ran = run(&["run", "--keep", "--name", &group, "--", busybox, "sh", "-c", &script]);
    assert_eq!(ran.status, 0);
    assert!(!left().is_empty());
    assert_eq!(run(&["kill", &group]).status, 0);
    assert_eq!(left(), Vec::<String>::new());
}

#[corten_tier::t1]
fn explain_prints_what_run_would_do() {
    let ran =
        run(&["explain", "--name", "corten-x", "--memory", "64m", "--pids", "5", "--", "true"]);
    assert_eq!((ran.status, &*ran.err), (0, ""));
    let layout = corten_cgroups::Hierarchy::detect().unwrap().layout();
    let file = match layout {
        corten_cgroups::Layout::Unified => "memory.max",
        _ => "memory.limit_in_bytes",
    };
    assert!(ran.out.contains(&format!("corten-x/{file} <- 67108864\n")), "{}", ran.out);
    assert!(ran.out.contains("pids.max <- 5\n"), "{}", ran.out);
    assert!(run(&["ls"]).out.starts_with(&format!("layout: {layout}\n")));
}

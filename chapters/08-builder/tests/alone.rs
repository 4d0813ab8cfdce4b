//! The program without an engine: `RUN` in containers of an OCI runtime.
#![allow(clippy::unwrap_used)]
#![deny(unsafe_code)]

mod lab;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use lab::Lab;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Chapter 4's, which is built beside this chapter's.
fn runtime() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_corten-builder")).with_file_name("corten-runtime")
}

fn builder(lab: &Lab, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corten-builder"));
    command.args(["build", "--tag", "made", "--store"]).arg(lab.path("")).args(options);
    command.arg(lab.path("context"));
    command
}

fn build(lab: &Lab, options: &[&str]) -> Output {
    builder(lab, options).output().unwrap()
}

fn error(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command wrote that was run in the last build.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_no_trace(lab: &Lab) {
    let path = lab.path("build/containers");
    let left: Vec<_> = std::fs::read_dir(&path).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&*lab.path("").to_string_lossy()), "{mounts}");
}

#[corten_tier::t1]
fn commands_run_in_containers_and_their_changes_are_a_layer() {
    let lab = Lab::new();
    let text = "FROM busybox\nRUN echo $$ >/pid && hostname >/name && id -u >/user\n\
                RUN grep -E 'CapBnd|Seccomp:|NoNewPrivs' /proc/self/status\n\
                COPY a /a\nRUN cat /a && echo more >>/a\n";
    lab.context(&[("Dockerfile", text), ("a", "of the context\n")]);
    let first = said(&build(&lab, &["--network", "none"]));
    // Docker's fourteen capabilities, and a filter.
    for part in ["CapBnd:\t00000000a80425fb", "Seccomp:\t2", "of the context"] {
        assert!(first.contains(part), "{part}: {first}");
    }
    let again = said(&build(&lab, &["--network", "none"]));
    assert!(!again.contains("of the context"), "nothing runs twice: {again}");
    let image = lab.images.image("made").unwrap();
    assert_eq!(image.layers.len(), 4, "a command that changes nothing has no layer");
    assert_no_trace(&lab);
}

#[corten_tier::t1]
fn a_user_is_the_image_s_and_no_network_is_none() {
    let lab = Lab::new();
    let text = "FROM busybox\nRUN echo 'app:x:12:34::/:/bin/sh' >/etc/passwd\nUSER app\n\
                RUN echo I am $(id -u):$(id -g), and see $(ls /sys/class/net)\n";
    lab.context(&[("Dockerfile", text)]);
    let said = said(&build(&lab, &["--network", "none"]));
    assert!(said.contains("I am 12:34, and see lo\n"), "{said}");
    lab.context(&[("Dockerfile", "FROM busybox\nUSER nobody-here\nRUN true\n")]);
    let why = error(&build(&lab, &[]));
    assert!(why.contains("Dockerfile:3") && why.contains("nobody-here"), "{why}");
    assert_no_trace(&lab);
}

#[corten_tier::t1]
fn what_fails_is_told_from_what_cannot_run() {
    let lab = Lab::new();
    lab.context(&[("Dockerfile", "FROM busybox\nRUN echo once; exit 7\n")]);
    let why = error(&build(&lab, &[]));
    assert!(why.contains("once\n") && why.contains("ended with 7"), "{why}");
    lab.context(&[("Dockerfile", "FROM busybox\nRUN [\"/no/such\"]\n")]);
    let why = error(&build(&lab, &[]));
    assert!(why.contains("corten-runtime: ") && why.contains("/no/such"), "{why}");
    let why = error(&build(&lab, &["--runtime", "/no/runtime"]));
    assert!(why.contains("/no/runtime") && why.contains("--runtime"), "{why}");
    assert_no_trace(&lab);
}

/// No other process of this machine sleeps so long.
const SLEEP: &str = "sleep\x0086397\0";

/// Waits for a process with these words, or for its end.
fn wait_for(what: &str, is_there: bool) {
    let begun = Instant::now();
    let line = |process: std::fs::DirEntry| std::fs::read(process.path().join("cmdline"));
    let seen = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.flat_map(line).any(|words| words == what.as_bytes())
    };
    while seen() != is_there {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: still not {is_there}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[corten_tier::t1]
fn an_interrupted_build_ends_its_command() {
    let lab = Lab::new();
    lab.context(&[("Dockerfile", "FROM busybox\nRUN sleep 86397\n")]);
    let mut child = builder(&lab, &[]).stderr(Stdio::null()).spawn().unwrap();
    wait_for(SLEEP, true);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert!(!child.wait().unwrap().success());
    wait_for(SLEEP, false);
    assert_no_trace(&lab);
}

#[corten_tier::t1]
fn another_runtime_does_as_well() {
    let runc = Path::new("/usr/sbin/runc");
    // The VM has ours alone.
    let program = match std::env::var_os(corten_tier::IN_VM) {
        Some(_) => runtime(),
        None => runc.to_owned(),
    };
    let lab = Lab::new();
    lab.context(&[("Dockerfile", "FROM busybox\nRUN echo by $0\n")]);
    let options = ["--network", "none", "--runtime", program.to_str().unwrap()];
    assert!(said(&build(&lab, &options)).contains("by /bin/sh"), "{program:?}");
    assert_no_trace(&lab);
}

//! The program without an engine: `RUN` in containers of an OCI runtime.
#![allow(clippy::unwrap_used)]
#![deny(unsafe_code)]

mod lab;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
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
    assert_no_mount(lab);
}

fn assert_no_mount(lab: &Lab) {
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
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

/// How long something that must happen may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The process that sleeps so long, as no other does on this machine.
fn sleeper(seconds: &str) -> Option<Pid> {
    let words = format!("sleep\0{seconds}\0");
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|process| {
        let own = std::fs::read(process.path().join("cmdline")).ok()?;
        let pid = process.file_name().to_str()?.parse().ok()?;
        (own == words.as_bytes()).then(|| Pid::from_raw(pid))
    })
}

/// Waits until `done` has an answer.
fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = done() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A build whose command sleeps, and that command.
fn sleeping(lab: &Lab, seconds: &str) -> (Child, Pid) {
    lab.context(&[("Dockerfile", &format!("FROM busybox\nRUN sleep {seconds}\n"))]);
    let child = builder(lab, &[]).stderr(Stdio::null()).spawn().unwrap();
    (child, eventually("the command runs", || sleeper(seconds)))
}

/// Whether a builder's containers have control groups: in the hierarchy of version 2, or in those of 1.
fn has_groups(builder: u32) -> bool {
    let own = format!("build-{builder}-");
    let top = Path::new("/sys/fs/cgroup");
    let below = std::fs::read_dir(top).unwrap().flatten().map(|entry| entry.path());
    let mut names = std::iter::once(top.to_owned())
        .chain(below)
        .flat_map(std::fs::read_dir)
        .flat_map(|entries| entries.flatten())
        .map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().starts_with(&own))
}

#[corten_tier::t1]
fn an_interrupted_build_ends_its_command() {
    let lab = Lab::new();
    let (mut child, _) = sleeping(&lab, "86397");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let status = eventually("the build ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1), "in order, and not after its patience");
    assert_eq!(sleeper("86397"), None);
    assert_no_trace(&lab);
}

#[corten_tier::t1]
fn a_killed_builder_leaves_no_mount() {
    let lab = Lab::new();
    let (mut child, command) = sleeping(&lab, "86398");
    assert!(has_groups(child.id()), "where else would it be?");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_no_mount(&lab);
    // The command goes on, which a supervisor would end; the runtime puts it in order when it has ended.
    kill(command, Signal::SIGKILL).unwrap();
    eventually("it is in order", || (!has_groups(child.id())).then_some(()));
    // The next build removes what this one was making.
    lab.context(&[("Dockerfile", "FROM busybox\nRUN true\n")]);
    said(&build(&lab, &["--network", "none"]));
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

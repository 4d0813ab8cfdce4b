//! Hooks of six kinds.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::rig::config::hook;
use crate::rig::{Container, read};

/// A container with a file on the host's side into which hooks write. The file is below the root
/// file system, and so within reach of those in the container.
fn with_log(script: &str) -> (Container, PathBuf) {
    let container = Container::script(script);
    let log = container.rootfs().join("log");
    (container, log)
}

fn says(log: &std::path::Path, word: &str) -> Value {
    hook(&format!("echo {word} >> {}", log.display()))
}

const OUTER: [&str; 4] = ["prestart", "createRuntime", "poststart", "poststop"];

#[corten_tier::t1]
fn hooks_of_all_kinds_run_in_order() {
    let (mut container, log) = with_log("echo program >> /log");
    for kind in OUTER {
        for n in [1, 2] {
            container.push(&format!("/hooks/{kind}"), says(&log, &format!("{kind}{n}")));
        }
    }
    for n in [1, 2] {
        container.push("/hooks/createContainer", says(&log, &format!("createContainer{n}")));
        container.push("/hooks/startContainer", hook(&format!("echo startContainer{n} >> /log")));
    }
    container.create();
    let created = "prestart1\nprestart2\ncreateRuntime1\ncreateRuntime2\ncreateContainer1\ncreateContainer2\n";
    assert_eq!(read(&log), created);
    container.start();
    container.wait_for("stopped");
    container.delete();
    let mut lines: Vec<String> = read(&log).lines().skip(6).map(str::to_owned).collect();
    // The program and the hooks after its start run at the same time.
    lines.retain(|line| line != "program");
    let expected = [
        "startContainer1",
        "startContainer2",
        "poststart1",
        "poststart2",
        "poststop1",
        "poststop2",
    ];
    assert_eq!(lines, expected);
}

fn state_of(kind: &str) -> (Value, Container, i32) {
    let mut container = Container::sleeper();
    let file = container.outside().join("input");
    container.set("/annotations", json!({"org.example.hook": "input"}));
    container.push(&format!("/hooks/{kind}"), hook(&format!("cat > {}", file.display())));
    container.create();
    let pid = container.pid();
    container.start();
    container.kill("KILL");
    container.wait_for("stopped");
    container.delete();
    let state: Value = serde_json::from_str(&read(&file)).unwrap();
    assert_eq!(state["id"], json!(container.id));
    assert_eq!(state["bundle"], json!(container.bundle()));
    assert_eq!(state["annotations"], json!({"org.example.hook": "input"}));
    (state, container, pid)
}

#[corten_tier::t1]
fn prestart_gets_the_state_of_a_created_container() {
    let (state, _, pid) = state_of("prestart");
    assert_eq!(state["pid"], json!(pid));
    assert_eq!(state["status"], "created");
}

#[corten_tier::t1]
fn create_runtime_gets_the_state() {
    let (state, _, pid) = state_of("createRuntime");
    assert_eq!(state["pid"], json!(pid));
    assert!(state["status"] == "creating" || state["status"] == "created", "{state}");
}

#[corten_tier::t1]
fn poststart_gets_the_state_of_a_running_container() {
    let (state, _, pid) = state_of("poststart");
    assert_eq!(state["pid"], json!(pid));
    assert_eq!(state["status"], "running");
}

#[corten_tier::t1]
fn poststop_gets_the_state_of_a_stopped_container() {
    let (state, ..) = state_of("poststop");
    assert_eq!(state["status"], "stopped");
}

/// A failing hook between two others: what has been written then.
fn failing(kind: &str) -> (Container, PathBuf) {
    let (mut container, log) = with_log("echo program >> /log");
    let list = format!("/hooks/{kind}");
    container.push(&list, says(&log, "one"));
    container.push(&list, hook(&format!("echo two >> {}; exit 3", log.display())));
    container.push(&list, says(&log, "three"));
    (container, log)
}

#[corten_tier::t1]
fn a_failing_prestart_hook_stops_the_container() {
    let (mut container, log) = failing("prestart");
    container.refused();
    assert_eq!(read(&log), "one\ntwo\n");
}

#[corten_tier::t1]
fn a_failing_create_runtime_hook_stops_the_container() {
    let (mut container, log) = failing("createRuntime");
    container.refused();
    assert_eq!(read(&log), "one\ntwo\n");
}

#[corten_tier::t1]
fn a_failing_create_container_hook_stops_the_container() {
    let (mut container, log) = failing("createContainer");
    container.refused();
    assert_eq!(read(&log), "one\ntwo\n");
}

#[corten_tier::t1]
fn a_failing_start_container_hook_stops_the_container() {
    let (mut container, log) = with_log("echo program >> /log");
    container.push("/hooks/startContainer", hook("echo one >> /log; exit 3"));
    container.push("/hooks/startContainer", hook("echo two >> /log"));
    container.create();
    container.call(&["start", &container.id]).failed();
    container.wait_for("stopped");
    assert_eq!(read(&log), "one\n");
    container.delete();
}

#[corten_tier::t1]
fn a_failing_poststart_hook_is_an_error_with_status_1() {
    let (mut container, log) = failing("poststart");
    container.set("/process/args", ["/bin/true"]);
    container.create();
    let done = container.call(&["start", &container.id]).failed();
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(read(&log), "one\ntwo\n");
}

#[corten_tier::t1]
fn a_failing_poststop_hook_is_an_error_and_the_container_is_gone() {
    let (mut container, log) = failing("poststop");
    container.set("/process/args", ["/bin/true"]);
    container.output();
    container.call(&["delete", &container.id]).failed();
    assert_eq!(read(&log), "one\ntwo\n");
    let state = container.call(&["state", &container.id]).failed();
    assert!(state.stderr.contains("does not exist"), "{state:?}");
}

#[corten_tier::t1]
fn a_hook_that_does_not_end_is_killed_after_its_timeout() {
    let mut container = Container::new();
    let mut slow = hook("exec sleep 1000");
    slow["timeout"] = json!(1);
    container.push("/hooks/createRuntime", slow);
    let begin = Instant::now();
    container.refused();
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(10), "{took:?}");
}

#[corten_tier::t1]
fn a_hook_that_ends_in_time_is_not_disturbed() {
    let mut container = Container::new();
    let mut quick = hook("exit 0");
    quick["timeout"] = json!(1);
    container.push("/hooks/prestart", quick);
    container.create();
}

#[corten_tier::t1]
fn a_hook_that_is_not_there_is_an_error() {
    let mut container = Container::new();
    container.push("/hooks/createRuntime", json!({"path": "/no/such/hook"}));
    container.refused();
}

#[corten_tier::t1]
fn a_hook_path_must_be_absolute() {
    let mut container = Container::new();
    container.push("/hooks/createRuntime", json!({"path": "bin/true"}));
    container.refused();
}

#[corten_tier::t1]
fn a_hook_has_its_arguments_and_environment() {
    let mut container = Container::new();
    let file = container.outside().join("said");
    let script = format!("echo $0 $1 $NAME > {}", file.display());
    let hook = json!({
        "path": "/bin/sh", "args": ["sh", "-c", script, "zero", "one"], "env": ["NAME=value"]
    });
    container.push("/hooks/createRuntime", hook);
    container.create();
    assert_eq!(read(&file), "zero one value\n");
}

#[corten_tier::t1]
fn a_start_container_hook_without_environment_has_that_of_the_process() {
    let (mut container, log) = with_log("true");
    container.push("/process/env", "FROM_PROCESS=yes");
    container.push("/hooks/startContainer", hook("echo =$FROM_PROCESS >> /log"));
    container.output();
    assert_eq!(read(&log), "=yes\n");
}

#[corten_tier::t1]
fn a_start_container_hook_with_environment_has_that_alone() {
    let (mut container, log) = with_log("true");
    container.push("/process/env", "FROM_PROCESS=yes");
    let mut own = hook("echo $OWN=$FROM_PROCESS >> /log");
    own["env"] = json!(["OWN=hook", "PATH=/bin"]);
    container.push("/hooks/startContainer", own);
    container.output();
    assert_eq!(read(&log), "hook=\n");
}

#[corten_tier::t1]
fn create_hooks_run_before_the_root_is_switched_and_in_their_namespaces() {
    let mut container = Container::sleeper();
    let (runtime, inner) = (container.outside().join("r"), container.outside().join("c"));
    let script = |file: &PathBuf| hook(&format!("readlink /proc/self/ns/mnt > {}", file.display()));
    container.push("/hooks/createRuntime", script(&runtime));
    container.push("/hooks/createContainer", script(&inner));
    container.create();
    let own = std::fs::read_link("/proc/thread-self/ns/mnt").unwrap();
    let theirs = std::fs::read_link(format!("/proc/{}/ns/mnt", container.pid())).unwrap();
    assert_eq!(read(&runtime).trim(), own.to_str().unwrap());
    assert_eq!(read(&inner).trim(), theirs.to_str().unwrap());
}

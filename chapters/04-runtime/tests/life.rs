//! The life of a container, as its callers see it: verbs, statuses, exit codes and sentences.
#![allow(clippy::unwrap_used)]

mod lab;

use std::fs;
use std::process::Stdio;

use lab::{Lab, run, until};
use serde_json::Value;

#[corten_tier::t1]
fn create_start_kill_delete() {
    let lab = Lab::with_args(&["sleep", "1000"]);
    let pid_file = lab.base().join("pid");
    lab.write();
    lab.create_with(&["--pid-file", pid_file.to_str().unwrap()]).ok();
    let text = fs::read_to_string(&pid_file).unwrap();
    assert_eq!(text, lab.pid().to_string(), "no newline behind the number");
    assert_eq!(lab.status(), "created");
    lab.verb(&["start"]).ok();
    assert_eq!(lab.status(), "running");
    assert!(lab.verb(&["start"]).failed().contains("it is running"));
    assert!(lab.verb(&["delete"]).failed().contains("it is running"));
    run(&mut lab.command(&["kill", lab.id(), "KILL"])).ok();
    lab.wait_for("stopped");
    assert!(run(&mut lab.command(&["kill", lab.id(), "KILL"])).failed().contains("not running"));
    lab.verb(&["delete"]).ok();
    assert!(lab.verb(&["state"]).failed().contains("does not exist"));
    lab.nothing_left();
}

#[corten_tier::t1]
fn a_created_container_waits_and_can_be_deleted() {
    let lab = Lab::shell("echo ran");
    lab.create().ok();
    assert_eq!(lab.output(), "");
    lab.verb(&["delete"]).ok();
    lab.nothing_left();
}

#[corten_tier::t1]
fn a_name_is_used_once() {
    let lab = Lab::with_args(&["sleep", "1000"]);
    lab.create().ok();
    let err = lab.create().failed();
    assert!(err.contains("already exists"), "{err}");
    assert_eq!(lab.status(), "created");
}

#[corten_tier::t1]
fn two_callers_at_once_get_one_container_and_one_error() {
    let lab = Lab::with_args(&["sleep", "1000"]);
    lab.write();
    let spawn = || {
        let mut command = lab.command(&["create", lab.id()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for _ in 0..8 {
        let mut racers: Vec<_> = (0..4).map(|_| spawn()).collect();
        let won =
            racers.iter_mut().filter_map(|r| r.wait().unwrap().success().then_some(())).count();
        assert_eq!(won, 1);
        assert_eq!(lab.status(), "created");
        lab.verb(&["delete", "--force"]).ok();
        lab.nothing_left();
    }
}

#[corten_tier::t1]
fn run_passes_the_status_on_and_leaves_nothing() {
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$; sleep 1", 0)] {
        let lab = Lab::shell(script);
        let ran = lab.run();
        assert_eq!(ran.status, status, "{script}: {ran:?}");
        lab.nothing_left();
    }
}

#[corten_tier::t1]
fn options_stand_before_and_after_the_name() {
    let lab = Lab::with_args(&["true"]);
    lab.write();
    let bundle = lab.bundle();
    let bundle = bundle.to_str().unwrap();
    run(&mut lab.command(&["run", "--bundle", bundle, lab.id()])).ok();
    run(&mut lab.command(&["run", lab.id(), "--bundle", bundle])).ok();
}

#[corten_tier::t1]
fn a_missing_program_is_told_at_create() {
    for (program, code, sentence) in [
        ("nope", 127, "executable file not found in $PATH"),
        ("/nope", 127, "no such file or directory"),
        ("/etc", 126, "is a directory"),
        ("/etc/passwd", 126, "permission denied"),
    ] {
        let lab = Lab::with_args(&[program]);
        let ran = lab.create();
        assert_eq!(ran.status, code, "{program}");
        assert!(ran.err.contains(sentence), "{program}: {}", ran.err);
        lab.nothing_left();
    }
}

#[corten_tier::t1]
fn exec_joins_the_container() {
    let lab = Lab::with_args(&["sleep", "1000"]);
    lab.create().ok();
    lab.verb(&["start"]).ok();
    let exec = |arguments: &[&str]| run(lab.command(&["exec", lab.id()]).args(arguments));
    assert_eq!(
        exec(&["sh", "-c", "hostname; cat /proc/1/cmdline | tr '\\0' ' '"]).ok(),
        "corten\nsleep 1000"
    );
    assert_eq!(exec(&["sh", "-c", "exit 9"]).status, 9);
    let missing = exec(&["nope"]);
    assert_eq!(missing.status, 127);
    assert!(missing.err.contains("executable file not found"));
    let options = [
        "exec",
        "--cwd",
        "/tmp",
        "--env",
        "X=1",
        "--user",
        "7:8",
        lab.id(),
        "sh",
        "-c",
        "pwd; echo $X; id -u; id -g",
    ];
    assert_eq!(run(&mut lab.command(&options)).ok(), "/tmp\n1\n7\n8");
    let groups = exec(&["cat", "/proc/self/cgroup"]).ok();
    let first = exec(&["cat", "/proc/1/cgroup"]).ok();
    assert_eq!(groups, first, "in the container's control groups");
    let process = lab.base().join("process.json");
    fs::write(
        &process,
        r#"{"args":["sh","-c","id -u"],"cwd":"/","user":{"uid":3,"gid":3},"env":["PATH=/bin"]}"#,
    )
    .unwrap();
    let pid_file = lab.base().join("exec.pid");
    let file = [process.to_str().unwrap(), pid_file.to_str().unwrap()];
    let ran =
        run(&mut lab.command(&["exec", "--process", file[0], "--pid-file", file[1], lab.id()]));
    assert_eq!(ran.ok(), "3");
    assert!(fs::read_to_string(&pid_file).unwrap().parse::<u32>().is_ok());
}

#[corten_tier::t1]
fn pause_and_resume() {
    let lab = Lab::with_args(&["sleep", "1000"]);
    lab.create().ok();
    lab.verb(&["start"]).ok();
    lab.verb(&["pause"]).ok();
    assert_eq!(lab.status(), "paused");
    assert!(lab.verb(&["pause"]).failed().contains("it is paused"));
    assert!(run(&mut lab.command(&["exec", lab.id(), "true"])).failed().contains("paused"));
    lab.verb(&["resume"]).ok();
    assert_eq!(lab.status(), "running");
    lab.verb(&["pause"]).ok();
    lab.verb(&["delete", "--force"]).ok();
    lab.nothing_left();
}

#[corten_tier::t1]
fn list_and_ps() {
    let lab = Lab::with_args(&["sleep", "1000"]);
    lab.create().ok();
    lab.verb(&["start"]).ok();
    assert_eq!(run(&mut lab.command(&["list", "-q"])).ok(), lab.id());
    let list: Value =
        serde_json::from_str(&run(&mut lab.command(&["list", "--format", "json"])).ok()).unwrap();
    assert_eq!(list[0]["status"], "running");
    assert!(run(&mut lab.command(&["list"])).ok().starts_with("ID"));
    let pids: Vec<i32> = serde_json::from_str(&lab.verb(&["ps", "--format", "json"]).ok()).unwrap();
    assert_eq!(pids, [lab.pid()]);
}

#[corten_tier::t1]
fn update_and_events() {
    let lab = Lab::with_args(&["sleep", "1000"]);
    lab.create().ok();
    lab.verb(&["start"]).ok();
    lab.verb(&["update", "--memory", "64m", "--pids-limit", "11"]).ok();
    let event: Value = serde_json::from_str(&lab.verb(&["events", "--stats"]).ok()).unwrap();
    assert_eq!(event["type"], "stats");
    assert_eq!(event["data"]["memory"]["usage"]["limit"], 64 << 20);
    assert_eq!(event["data"]["pids"]["limit"], 11);
    let mut update = lab.command(&["update", "--resources", "-", lab.id()]);
    let mut child = update.stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), br#"{"pids":{"limit":12}}"#)
        .unwrap();
    assert!(child.wait().unwrap().success());
    let event: Value = serde_json::from_str(&lab.verb(&["events", "--stats"]).ok()).unwrap();
    assert_eq!(event["data"]["pids"]["limit"], 12);
}

#[corten_tier::t1]
fn mounts_are_added_and_removed_while_it_runs() {
    let lab = Lab::with_args(&["sleep", "1000"]);
    lab.create().ok();
    lab.verb(&["start"]).ok();
    fs::write(lab.base().join("volume"), "content\n").unwrap();
    let list = format!(
        r#"[{{"destination":"/tmp/file","type":"bind","source":"{}","options":["bind","ro"]}}]"#,
        lab.base().join("volume").display()
    );
    fs::write(lab.base().join("mounts.json"), list).unwrap();
    let file = lab.base().join("mounts.json");
    let mounts = |verb: &str| run(lab.command(&["mounts", verb, lab.id()]).arg(&file));
    mounts("add").ok();
    let read = || run(&mut lab.command(&["exec", lab.id(), "cat", "/tmp/file"])).out;
    assert_eq!(read(), "content\n");
    mounts("remove").ok();
    assert_eq!(read(), "");
    assert!(mounts("remove").failed().contains("EINVAL"));
}

#[corten_tier::t1]
fn the_log_holds_the_reason() {
    let lab = Lab::with_args(&["nope"]);
    lab.write();
    let log = lab.base().join("log.json");
    let mut command = lab.command(&["--log-format", "json", "--log"]);
    command.arg(&log).args(["create", lab.id()]);
    run(&mut command).failed();
    let text = fs::read_to_string(&log).unwrap();
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("executable file not found"));
}

#[corten_tier::t1]
fn delete_force_of_nothing_is_no_failure() {
    let lab = Lab::new();
    assert!(lab.verb(&["delete"]).failed().contains("does not exist"));
    lab.verb(&["delete", "--force"]).ok();
}

/// What was made above a group goes with it, and also where the group went and its remover was killed then.
#[corten_tier::t1]
fn groups_above_a_container_s_are_gone_after_it() {
    let mut lab = Lab::with_args(&["true"]);
    let above = format!("above-{}", lab.id());
    lab.config["linux"]["cgroupsPath"] = format!("/{above}/x/{}", lab.id()).into();
    let left = || {
        let hierarchy = corten_cgroups::Hierarchy::detect().unwrap();
        let tops = hierarchy.mounts().iter().map(|mount| mount.point.join(&above));
        tops.filter(|top| top.exists()).collect::<Vec<_>>()
    };
    for removed_before in [false, true] {
        lab.create().ok();
        assert!(!left().is_empty());
        lab.verb(&["start"]).ok();
        lab.wait_for("stopped");
        if removed_before {
            lab.groups().iter().for_each(|group| fs::remove_dir(group).unwrap());
            assert!(!left().is_empty());
        }
        lab.verb(&["delete"]).ok();
        assert_eq!(left(), Vec::<std::path::PathBuf>::new(), "removed before: {removed_before}");
    }
    lab.nothing_left();
}

#[corten_tier::t1]
fn kill_all_reaches_every_process() {
    let mut lab = Lab::shell("sleep 1000 & sleep 1000");
    // Without a pid namespace the processes would outlive the first one.
    let namespaces = lab.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    lab.create().ok();
    lab.verb(&["start"]).ok();
    let pids = || -> Vec<i32> {
        serde_json::from_str(&lab.verb(&["ps", "--format", "json"]).ok()).unwrap()
    };
    until("both processes", || pids().len() >= 2);
    run(&mut lab.command(&["kill", "--all", lab.id(), "KILL"])).ok();
    until("none", || pids().is_empty());
    lab.verb(&["delete"]).ok();
    lab.nothing_left();
}

//! create, start, state, kill, delete.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::rig::{Container, is, read};

#[corten_tier::t1]
fn create_start_stop_delete() {
    let mut container = Container::script("echo hello");
    container.create();
    assert_eq!(container.status(), "created");
    assert_eq!(container.written(), "", "the program runs before start");
    container.start();
    container.wait_for("stopped");
    assert_eq!(container.written(), "hello\n");
    container.delete();
    let state = container.call(&["state", &container.id]).failed();
    assert!(state.stderr.contains("does not exist"), "{state:?}");
}

#[corten_tier::t1]
fn a_running_container_can_be_killed_and_deleted() {
    let mut container = Container::sleeper();
    container.started();
    assert_eq!(container.status(), "running");
    container.kill("KILL");
    container.wait_for("stopped");
    container.delete();
}

#[corten_tier::t1]
fn the_id_may_stand_before_the_options() {
    let mut container = Container::new();
    container.write();
    let bundle = container.bundle();
    let id = container.id.clone();
    container.call(&["create", &id, "--bundle", bundle.to_str().unwrap()]).ok();
    assert_eq!(container.status(), "created");
    container.delete();
}

#[corten_tier::t1]
fn create_without_an_id_fails() {
    let container = Container::new();
    container.write();
    container.call(&["create", "--bundle", container.bundle().to_str().unwrap()]).failed();
}

#[corten_tier::t1]
fn create_with_an_empty_id_fails() {
    let container = Container::new();
    container.write();
    container.call(&["create", "--bundle", container.bundle().to_str().unwrap(), ""]).failed();
}

#[corten_tier::t1]
fn an_id_with_a_path_in_it_is_refused() {
    let container = Container::new();
    container.write();
    for id in ["../x", "a/b", "..", ".", "a b"] {
        container.call(&["create", "--bundle", container.bundle().to_str().unwrap(), id]).failed();
    }
}

#[corten_tier::t1]
fn an_id_is_unique() {
    let mut container = Container::new();
    container.create();
    container.create_with(&[]).failed();
    assert_eq!(container.status(), "created", "the first container is disturbed");
}

#[corten_tier::t1]
fn create_without_a_bundle_fails() {
    let container = Container::new();
    let missing = container.outside().join("missing");
    container.call(&["create", "--bundle", missing.to_str().unwrap(), &container.id]).failed();
}

#[corten_tier::t1]
fn the_bundle_is_the_working_directory_by_default() {
    let mut container = Container::new();
    container.write();
    let mut command = container.command(&["create", &container.id]);
    let status = command.current_dir(container.bundle()).status().unwrap();
    assert!(status.success());
    assert_eq!(container.state()["bundle"], json!(container.bundle()));
    container.delete();
}

#[corten_tier::t1]
fn create_without_a_configuration_fails() {
    let container = Container::new();
    container.call(&["create", "--bundle", container.bundle().to_str().unwrap(), "x"]).failed();
}

#[corten_tier::t1]
fn start_without_an_id_fails() {
    Container::new().call(&["start"]).failed();
}

#[corten_tier::t1]
fn start_of_what_does_not_exist_fails() {
    let container = Container::new();
    let done = container.call(&["start", "nothing"]).failed();
    assert!(done.stderr.contains("does not exist"), "{done:?}");
}

#[corten_tier::t1]
fn start_of_a_stopped_container_fails_and_changes_nothing() {
    let mut container = Container::script("echo once");
    container.started();
    container.wait_for("stopped");
    container.call(&["start", &container.id]).failed();
    assert_eq!(container.status(), "stopped");
    assert_eq!(container.written(), "once\n");
}

#[corten_tier::t1]
fn start_of_a_running_container_fails_and_changes_nothing() {
    let mut container = Container::sleeper();
    container.started();
    container.call(&["start", &container.id]).failed();
    assert_eq!(container.status(), "running");
}

#[corten_tier::t1]
fn state_without_an_id_fails() {
    Container::new().call(&["state"]).failed();
}

#[corten_tier::t1]
fn state_of_what_does_not_exist_fails() {
    let done = Container::new().call(&["state", "nothing"]).failed();
    assert!(done.stderr.contains("does not exist"), "{done:?}");
    assert_eq!(done.stdout, "");
}

#[corten_tier::t1]
fn state_has_the_fields_of_the_specification() {
    let mut container = Container::sleeper();
    container.set("/annotations", json!({"org.example.a": "b"}));
    container.started();
    let state = container.state();
    assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")));
    assert_eq!(state["id"], json!(container.id));
    assert_eq!(state["status"], "running");
    assert_eq!(state["bundle"], json!(container.bundle()));
    assert_eq!(state["annotations"]["org.example.a"], "b");
    let pid = state["pid"].as_i64().unwrap();
    assert!(read(format!("/proc/{pid}/cmdline").as_ref()).contains("sleep"));
}

#[corten_tier::t1]
fn a_stopped_container_has_no_pid() {
    let mut container = Container::new();
    container.output();
    let pid = container.state()["pid"].as_i64();
    assert!(pid.is_none() || pid == Some(0), "{pid:?}");
}

#[corten_tier::t1]
fn kill_without_an_id_fails() {
    Container::new().call(&["kill"]).failed();
    Container::new().call(&["kill", "", "KILL"]).failed();
}

#[corten_tier::t1]
fn kill_of_what_does_not_exist_fails() {
    let done = Container::new().call(&["kill", "nothing", "KILL"]).failed();
    assert!(done.stderr.contains("does not exist"), "{done:?}");
}

#[corten_tier::t1]
fn a_created_container_can_be_killed() {
    let mut container = Container::new();
    container.create();
    container.kill("9");
    container.wait_for("stopped");
    container.delete();
}

#[corten_tier::t1]
fn kill_of_a_stopped_container_fails_and_changes_nothing() {
    let mut container = Container::new();
    container.output();
    let before = container.state();
    container.call(&["kill", &container.id, "KILL"]).failed();
    assert_eq!(container.state(), before);
}

#[corten_tier::t1]
fn every_spelling_of_a_signal_arrives() {
    for (signal, name) in [("TERM", "TERM"), ("SIGUSR1", "USR1"), ("12", "USR2"), ("sighup", "HUP")]
    {
        if signal == "sighup" && !is("corten-runtime") {
            continue;
        }
        let script = format!(
            "trap 'echo got {name}; exit 0' {name}; echo ready; while :; do sleep 0.01; done"
        );
        let mut container = Container::script(&script);
        container.started();
        while !container.written().contains("ready") {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        container.kill(signal);
        container.wait_for("stopped");
        assert_eq!(container.written(), format!("ready\ngot {name}\n"));
    }
}

#[corten_tier::t1]
fn kill_sends_term_by_default() {
    let mut container =
        Container::script("trap 'echo got; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    container.started();
    while !container.written().contains("ready") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    container.call(&["kill", &container.id]).ok();
    container.wait_for("stopped");
    assert_eq!(container.written(), "ready\ngot\n");
}

#[corten_tier::t1]
fn an_unknown_signal_is_refused() {
    let mut container = Container::sleeper();
    container.started();
    container.call(&["kill", &container.id, "NOSUCH"]).failed();
    assert_eq!(container.status(), "running");
}

#[corten_tier::t1]
fn delete_without_an_id_fails() {
    Container::new().call(&["delete"]).failed();
}

#[corten_tier::t1]
fn delete_of_what_does_not_exist_fails() {
    let done = Container::new().call(&["delete", "nothing"]).failed();
    assert!(done.stderr.contains("does not exist"), "{done:?}");
}

#[corten_tier::t1]
fn delete_by_force_of_what_does_not_exist_succeeds() {
    Container::new().call(&["delete", "--force", "nothing"]).ok();
}

#[corten_tier::t1]
fn a_created_container_can_be_deleted() {
    let mut container = Container::new();
    container.create();
    container.delete();
    container.call(&["state", &container.id]).failed();
}

#[corten_tier::t1]
fn delete_of_a_running_container_fails_and_changes_nothing() {
    let mut container = Container::sleeper();
    container.started();
    container.call(&["delete", &container.id]).failed();
    assert_eq!(container.status(), "running");
}

#[corten_tier::t1]
fn delete_by_force_ends_a_running_container() {
    let mut container = Container::sleeper();
    container.started();
    let pid = container.pid();
    container.call(&["delete", "--force", &container.id]).ok();
    assert!(!read(format!("/proc/{pid}/cmdline").as_ref()).contains("sleep"));
}

#[corten_tier::t1]
fn an_id_can_be_used_again_after_delete() {
    let mut container = Container::script("echo again");
    container.output();
    container.delete();
    container.output();
}

#[corten_tier::t1]
fn the_pid_file_holds_a_number_and_no_newline() {
    let mut container = Container::sleeper();
    let file = container.outside().join("pid");
    container.create_with(&["--pid-file", file.to_str().unwrap()]).ok();
    assert_eq!(read(&file), container.pid().to_string());
}

#[corten_tier::t1]
fn changes_of_the_configuration_after_create_have_no_effect() {
    let mut container = Container::script("echo first");
    container.create();
    container.set("/process/args", ["/bin/echo", "second"]);
    container.write();
    container.start();
    container.wait_for("stopped");
    assert_eq!(container.written(), "first\n");
}

#[corten_tier::t1]
fn start_needs_no_file_of_the_bundle() {
    let mut container = Container::script("echo first");
    container.create();
    fs::remove_file(container.bundle().join("config.json")).unwrap();
    container.start();
    container.wait_for("stopped");
    assert_eq!(container.written(), "first\n");
}

#[corten_tier::t1]
fn a_container_outlives_the_file_of_its_configuration() {
    let mut container = Container::sleeper();
    container.started();
    fs::remove_file(container.bundle().join("config.json")).unwrap();
    assert_eq!(container.status(), "running");
    container.kill("KILL");
    container.wait_for("stopped");
    container.delete();
}

#[corten_tier::t1]
fn a_program_that_is_not_there_is_an_error() {
    let mut container = Container::new();
    container.set("/process/args", ["/bin/no-such-program"]);
    let done = container.create_with(&[]);
    // Some runtimes notice at create, others at start.
    let done = if done.status.success() { container.call(&["start", &container.id]) } else { done };
    let done = done.failed();
    assert!(done.stderr.contains("no-such-program"), "{done:?}");
}

#[corten_tier::t1]
fn a_program_that_is_not_executable_is_an_error() {
    let mut container = Container::new();
    let file = container.rootfs().join("etc/text");
    fs::write(&file, "text").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    container.set("/process/args", ["/etc/text"]);
    let done = container.create_with(&[]);
    let done = if done.status.success() { container.call(&["start", &container.id]) } else { done };
    done.failed();
}

#[corten_tier::t1]
fn create_needs_no_process_and_start_does() {
    let mut container = Container::new();
    container.remove("/process");
    let done = container.create_with(&[]);
    if done.status.success() {
        container.call(&["start", &container.id]).failed();
    }
}

#[corten_tier::t1]
fn run_gives_the_exit_status_of_the_program() {
    let mut container = Container::script("echo out; exit 7");
    container.write();
    let bundle = container.bundle();
    let done = container.call(&["run", "--bundle", bundle.to_str().unwrap(), &container.id]);
    assert_eq!((done.status.code(), done.stdout.as_str()), (Some(7), "out\n"), "{done:?}");
    container.call(&["state", &container.id]).failed();
    container.set("/process/args", ["/bin/sh", "-c", "kill -9 $$"]);
    container.share("pid");
    container.write();
    let done = container.call(&["run", "--bundle", bundle.to_str().unwrap(), &container.id]);
    assert_eq!(done.status.code(), Some(128 + 9), "{done:?}");
}

#[corten_tier::t1]
fn list_shows_the_container() {
    let mut container = Container::sleeper();
    container.started();
    let list = container.call(&["list", "--format", "json"]).ok().stdout;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let first = &list.as_array().unwrap()[0];
    assert_eq!(first["id"], json!(container.id));
    assert_eq!(first["status"], "running");
    assert_eq!(first["pid"], json!(container.pid()));
    assert_eq!(container.call(&["list", "-q"]).ok().stdout, format!("{}\n", container.id));
    let table = container.call(&["list"]).ok().stdout;
    assert!(table.contains(&container.id) && table.contains("running"), "{table}");
}

#[corten_tier::t1]
fn ps_shows_the_processes() {
    let mut container = Container::sleeper();
    container.started();
    let pids = container.call(&["ps", "--format", "json", &container.id]).ok().stdout;
    let pids: Vec<i32> = serde_json::from_str(&pids).unwrap();
    assert_eq!(pids, [container.pid()]);
    assert!(container.call(&["ps", &container.id]).ok().stdout.contains("sleep"));
}

#[corten_tier::t1]
fn pause_and_resume() {
    let mut container = Container::sleeper();
    container.started();
    container.call(&["pause", &container.id]).ok();
    assert_eq!(container.status(), "paused");
    container.call(&["resume", &container.id]).ok();
    assert_eq!(container.status(), "running");
}

#[corten_tier::t1]
fn a_paused_container_can_be_deleted_by_force() {
    let mut container = Container::sleeper();
    container.started();
    container.call(&["pause", &container.id]).ok();
    container.call(&["delete", "--force", &container.id]).ok();
    container.call(&["state", &container.id]).failed();
}

#[corten_tier::t1]
fn pause_of_a_stopped_container_fails() {
    let mut container = Container::new();
    container.output();
    container.call(&["pause", &container.id]).failed();
    container.call(&["resume", &container.id]).failed();
}

#[corten_tier::t1]
fn the_log_holds_the_error_as_json() {
    let container = Container::new();
    let log = container.outside().join("log");
    let log_option = log.to_str().unwrap();
    container.call(&["--log", log_option, "--log-format", "json", "start", "nothing"]).failed();
    let text = read(&log);
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("does not exist"), "{line}");
}

/// The public suites look for the word.
#[corten_tier::t1]
fn errors_hold_the_word_error() {
    let mut container = Container::new();
    let mut failures = vec![
        container.call(&["start", "nothing"]),
        container.call(&["state", "nothing"]),
        container.call(&["kill", "nothing", "KILL"]),
        container.call(&["delete", "nothing"]),
        container.call(&["create"]),
    ];
    container.set("/process/cwd", "relative");
    failures.push(container.create_with(&[]));
    for done in failures {
        let done = done.failed();
        let said = done.stderr.to_lowercase();
        assert!(said.contains("error") || said.contains("level=fatal"), "{done:?}");
    }
}

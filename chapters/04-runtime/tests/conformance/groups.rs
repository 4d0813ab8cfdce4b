//! Control groups, whichever version: where they are, and that they go.

use std::fs;

use serde_json::json;

use crate::rig::{Container, cgroup, skip};

/// A controller that can be asked for in both versions.
const PIDS: &str = "pids";

fn limited() -> Option<Container> {
    if !cgroup::has(PIDS) {
        skip("no pids controller");
        return None;
    }
    let mut container = Container::sleeper();
    container.set("/linux/resources/pids/limit", 1000);
    Some(container)
}

#[corten_tier::t1]
fn an_absolute_path_is_below_the_mount_point() {
    let Some(mut container) = limited() else { return };
    let path = format!("/{}", container.id);
    container.set("/linux/cgroupsPath", &path);
    container.create();
    assert_eq!(cgroup::path_of(container.pid(), PIDS), std::path::Path::new(&path));
    assert_eq!(cgroup::value(container.pid(), PIDS, "pids.max"), "1000");
}

#[corten_tier::t1]
fn a_relative_path_is_always_the_same_place() {
    let Some(mut container) = limited() else { return };
    let id = container.id.clone();
    container.set("/linux/cgroupsPath", &id);
    container.create();
    let path = cgroup::path_of(container.pid(), PIDS);
    assert!(path.ends_with(&id), "{path:?}");
    assert_eq!(cgroup::value(container.pid(), PIDS, "pids.max"), "1000");
    container.delete();
    container.create();
    assert_eq!(cgroup::path_of(container.pid(), PIDS), path);
}

#[corten_tier::t1]
fn without_a_path_it_has_a_group_of_its_own() {
    let Some(mut container) = limited() else { return };
    container.create();
    let path = cgroup::path_of(container.pid(), PIDS);
    assert!(path.to_str().unwrap().contains(&container.id), "{path:?}");
    assert_eq!(cgroup::value(container.pid(), PIDS, "pids.max"), "1000");
}

#[corten_tier::t1]
fn the_group_is_there_before_the_program_runs() {
    let Some(mut container) = limited() else { return };
    container.create();
    let procs = cgroup::value(container.pid(), PIDS, "cgroup.procs");
    assert_eq!(procs, container.pid().to_string());
}

#[corten_tier::t1]
fn delete_removes_the_group() {
    let Some(mut container) = limited() else { return };
    container.started();
    let directory = cgroup::directory(container.pid(), PIDS);
    assert!(directory.exists());
    container.kill("KILL");
    container.wait_for("stopped");
    container.delete();
    assert!(!directory.exists());
}

#[corten_tier::t1]
fn delete_ends_what_is_left_in_the_group() {
    let Some(mut container) = limited() else { return };
    container.share("pid");
    container.set("/process/args", ["/bin/sh", "-c", "setsid sleep 1000 & echo $!"]);
    container.started();
    container.wait_for("stopped");
    let pid = container.written().trim().to_owned();
    container.call(&["delete", "--force", &container.id]).ok();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[corten_tier::t1]
fn delete_leaves_groups_of_others() {
    let Some(mut container) = limited() else { return };
    container.create();
    let base = cgroup::directory(container.pid(), PIDS);
    let other = base.parent().unwrap().join(format!("{}-other", container.id));
    fs::create_dir(&other).unwrap();
    container.start();
    container.kill("KILL");
    container.wait_for("stopped");
    container.delete();
    assert!(other.exists());
    fs::remove_dir(&other).unwrap();
}

#[corten_tier::t1]
fn a_failed_create_leaves_no_group() {
    let Some(mut container) = limited() else { return };
    let path = format!("/{}", container.id);
    container.set("/linux/cgroupsPath", &path);
    container.push("/hooks/createRuntime", json!({"path": "/bin/false"}));
    container.refused();
    let root = if cgroup::is_v2() { "/sys/fs/cgroup".into() } else { cgroup::point(PIDS).unwrap() };
    assert!(!root.join(&container.id).exists());
}

#[corten_tier::t1]
fn limits_can_be_updated() {
    let Some(mut container) = limited() else { return };
    container.started();
    container.call(&["update", "--pids-limit", "77", &container.id]).ok();
    assert_eq!(cgroup::value(container.pid(), PIDS, "pids.max"), "77");
    let file = container.outside().join("resources.json");
    fs::write(&file, json!({"pids": {"limit": 88}}).to_string()).unwrap();
    container.call(&["update", "--resources", file.to_str().unwrap(), &container.id]).ok();
    assert_eq!(cgroup::value(container.pid(), PIDS, "pids.max"), "88");
}

#[corten_tier::t1]
fn events_show_statistics() {
    let Some(mut container) = limited() else { return };
    container.started();
    let text = container.call(&["events", "--stats", &container.id]).ok().stdout;
    let event: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(event["type"], "stats");
    assert_eq!(event["id"], json!(container.id));
    assert_eq!(event["data"]["pids"]["current"], 1, "{event}");
    assert!(
        event["data"]["memory"]["usage"]["usage"].is_u64() || event["data"]["memory"].is_object()
    );
}

#[corten_tier::t1]
fn a_process_limit_is_enforced() {
    let Some(mut container) = limited() else { return };
    container.set(
        "/process/args",
        [
            "/bin/sh",
            "-c",
            "(for i in 1 2 3 4 5 6; do sleep 5 & done) 2>&1 | grep -q fork && echo stopped",
        ],
    );
    container.set("/linux/resources/pids/limit", 4);
    container.started();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !container.written().contains("stopped") && container.status() == "running" {
        assert!(std::time::Instant::now() < end, "it goes on");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let current = cgroup::is_v2();
    let _ = current;
    let said = crate::rig::read(&container.outside().join("create.err"));
    assert!(container.written().contains("stopped") || said.contains("fork"), "{said}");
}

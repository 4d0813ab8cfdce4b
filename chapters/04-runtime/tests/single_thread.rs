//! The program has one thread: what makes it sound that a child of clone3 goes on allocating.
#![allow(clippy::unwrap_used)]

mod lab;

use lab::{Lab, run, until};

/// A hook keeps `create` waiting, so that there is something to look at.
#[corten_tier::t1]
fn the_runtime_has_one_thread() {
    let mut lab = Lab::with_args(&["true"]);
    lab.config["hooks"] = serde_json::json!({"createRuntime": [{
        "path": "/bin/sh", "args": ["sh", "-c", "sleep 1"], "env": ["PATH=/bin:/usr/bin"]
    }]});
    lab.write();
    let mut command = lab.command(&["create", lab.id()]);
    let child = command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let mut child = child.spawn().unwrap();
    let threads = |pid: u32| {
        std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, |entries| entries.count())
    };
    until("the hook runs", || {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id()));
        children.is_ok_and(|text| text.split_whitespace().count() == 2)
    });
    assert_eq!(threads(child.id()), 1);
    assert!(child.wait().unwrap().success());
    assert_eq!(threads(lab.pid() as u32), 1);
    run(lab.command(&["delete", "--force"]).arg(lab.id())).ok();
}

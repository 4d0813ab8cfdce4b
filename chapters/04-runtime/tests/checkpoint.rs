//! A container as files and back, by CRIU. In the lab VM: the kernel of this machine may have a vDSO
//! that CRIU does not know.
#![allow(clippy::unwrap_used)]

mod lab;

use std::fs;
use std::process::{Command, Stdio};

use lab::{Lab, run, until};

/// The container inherits what the command has, and would keep a pipe of ours open.
fn silent(mut command: Command) {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
}

#[corten_tier::t2]
fn a_counter_goes_on_where_it_was() {
    let mut lab =
        Lab::shell("i=0; while :; do i=$((i+1)); echo $i > /tmp/count; usleep 20000; done");
    // CRIU holds a network still by iptables, which the lab VM does not have.
    let namespaces = lab.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    let lab = lab;
    lab.write();
    silent(lab.command(&["run", "--detach", lab.id()]));
    let count = || {
        let text = fs::read_to_string(lab.rootfs().join("tmp/count")).unwrap_or_default();
        text.trim().parse::<u32>().unwrap_or(0)
    };
    until("it counts", || count() > 10);
    let image = lab.base().join("image");
    let image = image.to_str().unwrap();
    let dumped = run(&mut lab.command(&["checkpoint", "--image-path", image, lab.id()]));
    let log = fs::read_to_string(lab.base().join("image/dump.log")).unwrap_or_default();
    let log: Vec<&str> = log.lines().filter(|line| line.contains("Error")).collect();
    assert!(dumped.status == 0, "{dumped:?}\n{log:#?}");
    lab.wait_for("stopped");
    let then = count();
    run(lab.command(&["delete"]).arg(lab.id())).ok();
    let mut restore = lab.command(&["restore", "--detach", "--image-path", image, lab.id()]);
    let said = fs::File::create(lab.base().join("restore.err")).unwrap();
    restore.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
    let restored = restore.status().unwrap();
    let said = fs::read_to_string(lab.base().join("restore.err")).unwrap();
    let log = fs::read_to_string(lab.base().join("image/restore.log")).unwrap_or_default();
    let log: Vec<&str> = log.lines().filter(|line| line.contains("Error")).collect();
    assert!(restored.success(), "{said}\n{log:#?}");
    assert_eq!(lab.status(), "running");
    until("it goes on", || count() > then + 5);
    assert!(count() < then + 1000, "it began anew");
    let groups = run(&mut lab.command(&["exec", lab.id(), "true"]));
    assert_eq!(groups.status, 0, "{groups:?}");
}

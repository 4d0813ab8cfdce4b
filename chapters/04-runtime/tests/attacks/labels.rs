//! The profile of a security module, which is asked for by a write to /proc and is lost where that
//! write goes elsewhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::json;

use super::fails;
use super::lab::{Lab, Outcome, Runtime};

// ANCHOR: cve_2023_28642
/// /proc of the image is a link, and leads to one place when the procfs is mounted and to another
/// when a label is written: a volume has come to lie over a part of the way. What is there is a
/// link to a file of the real procfs that takes any write and does nothing, so a look at the kind of
/// file system shows nothing wrong.
fn covered_proc(runtime: Runtime) -> Lab {
    let mut lab = Lab::new(runtime);
    let root = lab.rootfs();
    fs::remove_dir(root.join("proc")).unwrap();
    symlink("/x/way/proc", root.join("proc")).unwrap();
    fs::create_dir(root.join("x")).unwrap();
    symlink("/real", root.join("x/way")).unwrap();
    fs::create_dir_all(root.join("real/proc")).unwrap();
    let forged = lab.volume("forged").join("way/proc");
    fs::create_dir_all(forged.join("self/attr/apparmor")).unwrap();
    for file in ["self/attr/exec", "self/attr/apparmor/exec"] {
        symlink("/real/proc/self/sched", forged.join(file)).unwrap();
    }
    fs::write(forged.join("forged"), "").unwrap();
    // Docker mounts what is nearer to the root first: /proc before a volume of the image.
    lab.bind(&lab.outside().join("forged"), "/x");
    lab
}

/// Whether a container starts with such a /proc.
pub fn proc_is_covered(runtime: Runtime) -> Outcome {
    let mut lab = covered_proc(runtime);
    lab.script("[ -e /proc/forged ] && [ -e /real/proc/self/stat ] && echo redirected");
    let ran = lab.run();
    if ran.text.contains("redirected") { Outcome::Succeeded } else { ran.stopped() }
}

/// Whether its program reads what its AppArmor profile forbids.
fn profile_is_lost(runtime: Runtime) -> Outcome {
    forbidden(covered_proc(runtime))
}
// ANCHOR_END: cve_2023_28642

/// With a profile that forbids a file: whether it can be read.
fn forbidden(mut lab: Lab) -> Outcome {
    const PROFILE: &str = "corten-attack";
    let policy = lab.outside().join("policy");
    let rules = "file, capability, network, signal, ptrace, mount, unix, deny /etc/secret r,";
    let flags = "flags=(attach_disconnected, mediate_deleted)";
    fs::write(&policy, format!("profile {PROFILE} {flags} {{ {rules} }}\n")).unwrap();
    if !std::path::Path::new("/sys/kernel/security/apparmor").exists() {
        let mounted = Command::new("mount")
            .args(["-t", "securityfs", "securityfs", "/sys/kernel/security"])
            .status();
        assert!(mounted.unwrap().success());
    }
    let loaded = Command::new("apparmor_parser")
        .args(["--replace", "--skip-cache", "--quiet"])
        .arg(&policy)
        .status();
    assert!(loaded.expect("the package apparmor").success());
    fs::write(lab.rootfs().join("etc/secret"), "forbidden fruit\n").unwrap();
    lab.config["process"]["apparmorProfile"] = json!(PROFILE);
    lab.script("cat /etc/secret");
    let ran = lab.run();
    if ran.text.contains("fruit") { Outcome::Succeeded } else { ran.stopped() }
}

#[corten_tier::t1]
fn cve_2023_28642() {
    // Where links are followed: mutants/02-proc-is-a-link.patch.
    fails(proc_is_covered);
}

/// With the kernel's own AppArmor, that of the lab VM.
#[corten_tier::t2]
fn cve_2023_28642_loses_the_profile() {
    let usual = forbidden(Lab::new(Runtime::Corten));
    let Outcome::Stopped(said) = usual else { panic!("the profile forbids nothing") };
    assert!(said.contains("Permission denied"), "{said}");
    // Without both defences: mutants/19-label-by-the-containers-proc.patch.
    fails(profile_is_lost);
}

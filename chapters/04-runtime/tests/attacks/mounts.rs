//! Mounts that lead elsewhere: over /proc, through links, and while names are exchanged.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::json;

use super::fails;
use super::lab::{Lab, Outcome, Runtime};

// ANCHOR: cve_2019_16884
/// An image has a volume `/proc`. What security modules are told by /proc/self/attr is then told
/// to a file of the volume, and the program runs without a profile.
pub fn volume_over_proc(runtime: Runtime) -> Outcome {
    let mut lab = Lab::new(runtime);
    let volume = lab.volume("forged");
    fs::create_dir_all(volume.join("self/attr")).unwrap();
    fs::write(volume.join("self/attr/exec"), "forged").unwrap();
    lab.bind(&volume, "/proc");
    lab.script("cat /proc/self/attr/exec");
    let ran = lab.run();
    if ran.text.contains("forged") && ran.status == Some(0) {
        return Outcome::Succeeded;
    }
    ran.stopped()
}
// ANCHOR_END: cve_2019_16884

#[corten_tier::t1]
fn cve_2019_16884() {
    fails(volume_over_proc);
}

// ANCHOR: cve_2023_27561
/// /proc of the image is a link into a volume, so the container's procfs is mounted there, where
/// another container that has the volume, too, can put things around it.
pub fn proc_is_a_link(runtime: Runtime) -> Outcome {
    link(runtime, "proc")
}

/// The same with /sys.
pub fn sys_is_a_link(runtime: Runtime) -> Outcome {
    link(runtime, "sys")
}

fn link(runtime: Runtime, name: &str) -> Outcome {
    let mut lab = Lab::new(runtime);
    let volume = lab.volume("shared");
    fs::create_dir(volume.join(name)).unwrap();
    fs::remove_dir(lab.rootfs().join(name)).unwrap();
    symlink(Path::new("/vol").join(name), lab.rootfs().join(name)).unwrap();
    let mounts = lab.config["mounts"].take();
    lab.config["mounts"] = json!([]);
    lab.bind(&volume, "/vol");
    for mount in mounts.as_array().unwrap() {
        lab.mount(mount.clone());
    }
    if name == "sys" {
        lab.mount(json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs" }));
    }
    lab.script(&format!("ls /vol/{name} | grep -qE '^(self|kernel)$' && echo redirected"));
    let ran = lab.run();
    if ran.text.contains("redirected") { Outcome::Succeeded } else { ran.stopped() }
}
// ANCHOR_END: cve_2023_27561

#[corten_tier::t1]
fn cve_2023_27561() {
    fails(proc_is_a_link);
}

#[corten_tier::t1]
fn cve_2023_27561_sys() {
    fails(sys_is_a_link);
}

/// How often a race is run.
pub fn rounds(runtime: Runtime) -> u32 {
    let in_vm = std::env::var_os(corten_tier::IN_VM).is_some();
    match runtime {
        // The window of runc is small: 1 in 100, as seen here.
        Runtime::Crun | Runtime::Runc => 400,
        // A start takes a second where QEMU translates.
        _ if in_vm => 15,
        _ => 100,
    }
}

// ANCHOR: race
/// Starts containers with a mount below a directory of a shared volume that somebody exchanges with
/// a link to the host's `place` all the time. `sees` looks whether something is there.
fn exchange(runtime: Runtime, sees: impl Fn(&Lab, &Path) -> bool) -> Outcome {
    let rounds = rounds(runtime);
    let mut lab = Lab::new(runtime);
    let (volume, place) = (lab.volume("shared"), lab.volume("place"));
    let (real, link) = (volume.join("real"), volume.join("link"));
    fs::create_dir(&real).unwrap();
    symlink(&place, &link).unwrap();
    lab.bind(&volume, "/vol");
    lab.mount(json!({ "destination": "/vol/real/target", "source": "tmpfs", "type": "tmpfs" }));
    // What is mounted where, in the container's namespace before its root becomes `/`.
    let look = format!("cat /proc/self/mountinfo >{}", lab.outside().join("mounts").display());
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", look], "env": ["PATH=/bin"] });
    lab.config["hooks"] = json!({ "createContainer": [hook] });
    lab.script("echo ran");
    let stop = AtomicBool::new(false);
    let mut said = Outcome::Stopped(String::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = renameat2(AT_FDCWD, &real, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE);
            }
        });
        for _ in 0..rounds {
            said = lab.run().stopped();
            if sees(&lab, &place) {
                said = Outcome::Succeeded;
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    said
}

/// Whether a mount has landed outside of the root.
pub fn mount_outside(runtime: Runtime) -> Outcome {
    exchange(runtime, |lab, place| {
        let mounts = fs::read_to_string(lab.outside().join("mounts")).unwrap_or_default();
        mounts.contains(&format!(" {} ", place.join("target").display()))
    })
}

/// Whether a directory has been made outside of the root.
pub fn directory_outside(runtime: Runtime) -> Outcome {
    exchange(runtime, |_, place| place.join("target").exists())
}
// ANCHOR_END: race

#[corten_tier::t1]
fn cve_2021_30465() {
    fails(mount_outside);
}

#[corten_tier::t1]
fn cve_2024_45310() {
    fails(directory_outside);
}

/// With a shared root, what the container mounts is seen by those that it mounts for, and not by
/// the host whose mounts are shared, too.
#[corten_tier::t1]
fn shared_root_mounts_nothing_on_the_host() {
    let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_SHARED;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
    for propagation in ["shared", "rshared", "slave", "rprivate"] {
        let mut lab = Lab::new(Runtime::Corten);
        lab.config["linux"]["rootfsPropagation"] = json!(propagation);
        lab.script("grep ' / / ' /proc/self/mountinfo; echo ready; sleep 1000");
        let running = lab.start();
        let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts().contains("corten-attack"), "{propagation}: {}", mounts());
        drop(running);
        assert!(!mounts().contains("corten-attack"), "{propagation}: {}", mounts());
    }
}

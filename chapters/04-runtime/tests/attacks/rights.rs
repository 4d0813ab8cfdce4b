//! Rights that a process in a container has and should not.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::lab::{Lab, Outcome, Runtime, copy};
use super::{fails, succeeds_without};

// ANCHOR: cve_2022_0492
/// Who can write `release_agent` of a cgroup v1 hierarchy names a program that the kernel runs on
/// the host, as root. Here what is written is what is there already.
pub fn release_agent(runtime: Runtime) -> Outcome {
    let mut lab = Lab::new(runtime);
    fs::create_dir(lab.rootfs().join("mnt")).unwrap();
    lab.script(
        "mount -t cgroup -o pids cgroup /mnt || exit 1
         agent=$(cat /mnt/release_agent) && echo \"$agent\" >/mnt/release_agent && echo agent set",
    );
    let ran = lab.run();
    if ran.text.contains("agent set") { Outcome::Succeeded } else { ran.stopped() }
}
// ANCHOR_END: cve_2022_0492

/// Whether the controller pids is one of v1 here.
fn has_v1() -> bool {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    groups.lines().any(|line| line.contains(":pids:"))
}

#[corten_tier::t1]
fn cve_2022_0492() {
    fails(release_agent);
    // With cgroup v2 alone there is no such file for anybody.
    if has_v1() {
        succeeds_without("all capabilities", release_agent);
    }
}

/// The whole of it, in a VM whose kernel it may subvert: the kernel of the host runs a program of
/// the container when the last process of a group ends.
fn release_agent_runs(runtime: Runtime) -> Outcome {
    let mut lab = Lab::new(runtime);
    fs::create_dir(lab.rootfs().join("mnt")).unwrap();
    let owned = lab.outside().join("owned");
    // Where its root lies on the host, a container reads in its mountinfo.
    let agent = lab.rootfs().join("agent");
    lab.script(&format!(
        "printf '#!/bin/sh\\ntouch {}\\n' >/agent; chmod 755 /agent
         mount -t cgroup -o pids cgroup /mnt || exit 1
         mkdir /mnt/x; echo 1 >/mnt/x/notify_on_release; echo {} >/mnt/release_agent
         sh -c 'echo $$ >/mnt/x/cgroup.procs'; sleep 1",
        owned.display(),
        agent.display(),
    ));
    let ran = lab.run();
    if owned.exists() { Outcome::Succeeded } else { ran.stopped() }
}

#[corten_tier::t2(v1)]
fn cve_2022_0492_runs_on_the_host() {
    fails(release_agent_runs);
    succeeds_without("all capabilities", release_agent_runs);
}

// ANCHOR: cve_2022_29162
/// A process with inheritable capabilities hands them on to a program whose file has the same ones
/// inheritable, also where it runs as a user who has none.
pub fn inheritable(runtime: Runtime) -> Outcome {
    let mut lab = Lab::new(runtime);
    let tool = lab.rootfs().join("opt/grep");
    fs::create_dir(lab.rootfs().join("opt")).unwrap();
    copy(&lab.rootfs().join("bin/busybox"), &tool);
    // vfs_cap_data, revision 2: nothing permitted, CAP_NET_RAW inheritable.
    let value = "0x0000000200000000002000000000000000000000";
    let set = Command::new("setfattr")
        .args(["-n", "security.capability", "-v", value])
        .arg(&tool)
        .status();
    assert!(set.expect("the package attr").success());
    lab.script("echo ready; sleep 1000");
    let running = lab.start();
    let mut process = lab.process(&["/opt/grep", "Cap", "/proc/self/status"]);
    process["user"] = json!({ "uid": 1000, "gid": 1000 });
    let ran = lab.exec(&process, &[]);
    drop(running);
    let permitted = ran.text.lines().find(|line| line.starts_with("CapPrm")).unwrap_or_default();
    if permitted.ends_with("2000") { Outcome::Succeeded } else { ran.stopped() }
}
// ANCHOR_END: cve_2022_29162

#[corten_tier::t1]
fn cve_2022_29162() {
    fails(inheritable);
    succeeds_without("inheritable capabilities", inheritable);
}

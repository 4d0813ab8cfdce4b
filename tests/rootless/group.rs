//! A user to whom root has given a control group: version 2 alone has such, so this is for VMs.

use std::fs;
use std::path::PathBuf;

use crate::support::eventually;
use crate::user::{User, sh};

/// A control group of the user's, with these controllers and no others: whatever the group at the top gives
/// to other tests, the one above it passes on only these.
fn given(uid: u32, controllers: &str) -> PathBuf {
    let group = above(uid).join("given");
    sh(&format!(
        "cd /sys/fs/cgroup; echo {controllers} > cgroup.subtree_control; mkdir {0}
         cd {0}; echo {controllers} > cgroup.subtree_control; mkdir given
         cd given; chown {uid} . cgroup.procs cgroup.threads cgroup.subtree_control",
        above(uid).display()
    ));
    group
}

fn above(uid: u32) -> PathBuf {
    PathBuf::from(format!("/sys/fs/cgroup/above-{uid}"))
}

#[corten_tier::t2]
fn in_a_group_of_its_own_a_user_s_containers_have_limits() {
    let mut user = User::with_busybox();
    let run = |user: &User, args: &[&str], words: &[&str]| {
        let usual = ["run", "--network", "none"];
        user.corten(&[&usual[..], args, &["busybox"], words].concat())
    };
    let limited = run(&user, &["--rm", "--memory", "64m"], &["true"]);
    assert!(limited.err.contains("Limits discarded") && limited.err.contains("Delegate=yes"));
    let group = given(user.uid, "+memory +pids +cpu");
    user.group = Some(group.clone());
    // Somebody else who is in the group, such as a shell.
    let mut shell = user.command("sleep", &["1000"]).spawn().unwrap();
    let procs = || fs::read_to_string(group.join("cgroup.procs")).unwrap();
    let has_shell = || procs().lines().any(|pid| pid == shell.id().to_string());
    eventually("it is in", || has_shell().then_some(()));
    let box_ =
        ["-d", "--name", "box", "--memory", "64m", "--memory-swap", "64m", "--pids-limit", "20"];
    let id = run(&user, &[&box_[..], &["--cpus", "0.5"]].concat(), &["sleep", "1000"]).ok();
    let own = group.join("corten").join(id.trim());
    let file = |name: &str| fs::read_to_string(own.join(name)).unwrap();
    assert_eq!((&*file("memory.max"), &*file("pids.max")), ("67108864\n", "20\n"));
    assert_eq!(file("cpu.max"), "50000 100000\n");
    let figures = ["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "box"];
    let figures = user.corten(&figures).ok();
    assert!(figures.ends_with("/ 64MiB 1\n"), "{figures}");
    assert!(user.corten(&["top", "box"]).ok().contains("sleep 1000"));
    user.corten(&["update", "--pids-limit", "30", "box"]).ok();
    assert_eq!(file("pids.max"), "30\n");
    user.corten(&["pause", "box"]).ok();
    assert!(file("cgroup.events").contains("frozen 1"));
    // Who is not in the group may do what needs no process to be moved.
    user.group = None;
    user.corten(&["unpause", "box"]).ok();
    assert!(file("cgroup.events").contains("frozen 0"));
    assert_eq!(user.corten(&["exec", "box", "cat", "/proc/self/cgroup"]).ok(), "0::/\n");
    user.corten(&["update", "--pids-limit", "40", "box"]).fails(1, "no control group is yours");
    user.group = Some(group.clone());
    for attack in [
        "echo max > /sys/fs/cgroup/memory.max",
        "echo max > /sys/fs/cgroup/pids.max",
        "echo $$ > /sys/fs/cgroup/cgroup.procs",
        "echo $$ > /sys/fs/cgroup/../cgroup.procs",
        "mkdir /sys/fs/cgroup/new",
        "mount -o remount,rw /sys/fs/cgroup",
        "mkdir /tmp/c && mount -t cgroup2 c /tmp/c",
        "unshare -C true",
    ] {
        let tried = user.corten(&["exec", "box", "sh", "-c", attack]);
        assert_ne!(tried.status, 0, "{attack}: {tried:?}");
    }
    let forks = "i=0; while [ $i -lt 50 ]; do sleep 1000 & i=$((i + 1)); done";
    let forked = user.corten(&["exec", "box", "sh", "-c", forks]);
    assert!(forked.err.contains("can't fork"), "{forked:?}");
    let killed = run(
        &user,
        &["--name", "greedy", "--memory", "32m", "--memory-swap", "32m"],
        &["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"],
    );
    assert_eq!(killed.status, 137, "{killed:?}");
    let state = ["inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}", "greedy"];
    assert_eq!(user.corten(&state).ok(), "true 137\n");
    // What the group has not been given is asked for.
    let lacking = run(&user, &["--rm", "--cpuset-cpus", "0"], &["true"]);
    let why = format!("controller cpuset, which is not in {}/cgroup.controllers", group.display());
    assert!(lacking.status == 125 && lacking.err.contains(&why), "{lacking:?}");
    // All processes end with the container.
    user.corten(&["rm", "-f", "box", "greedy"]).ok();
    eventually("the group is as it was", || {
        (fs::read_dir(&group).unwrap().flatten().all(|entry| entry.file_type().unwrap().is_file()))
            .then_some(())
    });
    assert!(fs::read_to_string(group.join("cgroup.subtree_control")).unwrap().trim().is_empty());
    assert!(has_shell(), "{}", procs());
    // It makes room again for each start.
    let again = ["-d", "--name", "again", "--restart", "on-failure:2", "--memory", "64m"];
    run(&user, &again, &["sh", "-c", "exit 3"]).ok();
    let state =
        ["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", "again"];
    eventually("it has ended for good", || {
        (user.corten(&state).ok() == "exited 3 2\n").then_some(())
    });
    user.group = None;
    user.corten(&["start", "again"]).fails(1, "it has limits, and here no control group is yours");
    user.corten(&["rm", "again"]).ok();
    shell.kill().unwrap();
    shell.wait().unwrap();
    user.assert_gone();
    eventually("the group is empty", || fs::remove_dir(&group).ok());
    fs::remove_dir(above(user.uid)).unwrap();
}

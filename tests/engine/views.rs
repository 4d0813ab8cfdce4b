//! What is told of containers, and done with many: ps, inspect, stats, top, update, prune, restore.

use crate::support::{self, Host, eventually};
use serde_json::Value;

fn inspect(host: &Host, name: &str) -> Value {
    let text = host.corten(&["inspect", name]).ok();
    serde_json::from_str::<Value>(&text).unwrap()[0].clone()
}

#[corten_tier::t1]
fn ps_says_what_each_is_doing_and_can_choose() {
    let host = Host::with_busybox();
    let run = |options: &[&str], command: &[&str]| {
        let args = [&["run", "--name"], options, &["busybox"], command].concat();
        host.corten(&args)
    };
    let well = ["web", "-d", "--label", "tier=front", "--health-cmd", "true"];
    run(&[&well[..], &["--health-interval", "100ms"]].concat(), &["sleep", "1000"]).ok();
    run(&["cold", "-d"], &["sleep", "1000"]).ok();
    host.corten(&["pause", "cold"]).ok();
    assert_eq!(run(&["done"], &["sh", "-c", "exit 3"]).status, 3);
    run(&["again", "-d", "--restart", "always"], &["false"]).ok();
    host.corten(&["create", "--name", "new", "busybox"]).ok();
    let status = |name: &str| {
        let filter = format!("name=^{name}$");
        let line = host.corten(&["ps", "-a", "-f", &filter, "--format", "json"]).ok();
        let line: Value = serde_json::from_str(&line).unwrap();
        line["Status"].as_str().unwrap().to_owned()
    };
    eventually("web is healthy", || status("web").ends_with("(healthy)").then_some(()));
    eventually("it waits", || status("again").starts_with("Restarting (1)").then_some(()));
    assert!(status("cold").ends_with("(Paused)"), "{}", status("cold"));
    assert!(status("done").starts_with("Exited (3) "), "{}", status("done"));
    assert_eq!(status("new"), "Created");

    let names = |options: &[&str]| {
        let args = [&["ps", "--format", "json"], options].concat();
        let lines = host.corten(&args).ok();
        let name = |line: &str| {
            serde_json::from_str::<Value>(line).unwrap()["Names"].as_str().unwrap().to_owned()
        };
        let mut names: Vec<_> = lines.lines().map(name).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&[]), "again cold web");
    assert_eq!(names(&["-a"]), "again cold done new web");
    assert_eq!(names(&["-n", "2"]), "again new");
    for (filter, want) in [
        ("status=exited", "done"),
        ("status=paused", "cold"),
        ("exited=3", "done"),
        ("label=tier=front", "web"),
        ("label=other", ""),
        ("health=healthy", "web"),
        ("name=^/we", "web"),
        ("ancestor=busybox", "again cold web"),
    ] {
        assert_eq!(names(&["-f", filter]), want, "{filter}");
    }
    host.corten(&["ps", "-f", "colour=red"]).fails(1, "invalid filter 'colour'");
    host.corten(&["ps", "-f", "status=tired"]).fails(1, "invalid filter 'status=tired'");
    host.corten(&["rm", "-f", "web", "cold", "again"]).ok();
    let pruned = host.corten(&["container", "prune", "-f"]).ok();
    assert!(pruned.starts_with("Deleted Containers:\n"), "{pruned}");
    assert_eq!(pruned.lines().filter(|line| line.len() == 64).count(), 2, "{pruned}");
    host.assert_clean();
}

#[corten_tier::t1]
fn inspect_stats_and_top_tell_of_a_container_that_runs() {
    let host = Host::with_busybox();
    let options = ["run", "-d", "--name", "box", "-m", "64m", "-v", "data:/d", "-e", "A=1"];
    host.corten(&[&options[..], &["busybox", "sleep", "1000"]].concat()).ok();
    let told = inspect(&host, "box");
    assert_eq!(told["State"]["Status"], "running");
    assert_eq!(told["State"]["Running"], true);
    assert_eq!(told["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(told["HostConfig"]["MemorySwap"], 128 << 20);
    assert_eq!(told["Mounts"][0]["Name"], "data");
    assert_eq!((&told["Path"], &told["Args"][0]), (&"sleep".into(), &"1000".into()));
    let (pid, _) = host.running().unwrap();
    assert_eq!(told["State"]["Pid"], pid);

    let stats = host.corten(&["stats", "--no-stream", "--format", "json", "box"]).ok();
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["PIDs"], "1");
    assert!(stats["MemUsage"].as_str().unwrap().ends_with(" / 64MiB"), "{stats}");
    let top = host.corten(&["top", "box", "-eo", "pid,args"]).ok();
    let lines: Vec<_> = top.lines().collect();
    assert_eq!(lines.len(), 2, "{top}");
    assert_eq!(lines[1].split_whitespace().next(), Some(pid.to_string().as_str()), "{top}");
    host.corten(&["top", "box", "-eo", "args"]).fails(1, "Couldn't find PID field");

    host.corten(&["stop", "-t", "0", "box"]).ok();
    let told = inspect(&host, "box");
    assert_eq!(told["State"]["Status"], "exited");
    assert_eq!((&told["State"]["ExitCode"], &told["State"]["Pid"]), (&137.into(), &0.into()));
    host.corten(&["top", "box"]).fails(1, "is not running");
    host.corten(&["stats", "--no-stream", "box"]).fails(1, "is not running");
    host.corten(&["rm", "box"]).ok();
    host.corten(&["volume", "rm", "data"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn limits_and_policy_change_while_it_runs_and_for_the_next_start() {
    let host = Host::with_busybox();
    let options = ["run", "-d", "--name", "box", "--restart", "always", "-m", "64m"];
    host.corten(&[&options[..], &["busybox", "sleep", "1000"]].concat()).ok();
    let pids = || {
        let script = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; true";
        host.corten(&["exec", "box", "sh", "-c", script]).ok()
    };
    assert_eq!(pids(), "max\n");
    host.corten(&["update", "--pids-limit", "33", "--restart", "no", "box"]).ok();
    assert_eq!(pids(), "33\n");
    host.corten(&["update", "-m", "1m", "box"]).fails(1, "Minimum memory limit allowed is 6MB");
    assert_eq!(inspect(&host, "box")["HostConfig"]["Memory"], 64 << 20);
    // It is not started again now.
    host.corten(&["exec", "box", "kill", "1"]);
    host.corten(&["kill", "box"]).ok();
    host.settle();
    assert_eq!(inspect(&host, "box")["State"]["Status"], "exited");
    host.corten(&["start", "box"]).ok();
    assert_eq!(pids(), "33\n");
    host.corten(&["rm", "-f", "box"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn what_shall_always_run_is_started_when_the_machine_is() {
    let host = Host::with_busybox();
    for (name, policy) in [
        ("always", "always"),
        ("unless", "unless-stopped"),
        ("stopped", "unless-stopped"),
        ("no", "no"),
    ] {
        let args = ["run", "-d", "--name", name, "--restart", policy, "busybox", "sleep", "1000"];
        host.corten(&args).ok();
    }
    // Two that need another one, of which one is younger than who needs it.
    for (name, needs) in
        [("beside", ["--network", "container:unless"]), ("linked", ["--link", "new:x"])]
    {
        host.corten(&["run", "-d", "--name", "new", "busybox", "sleep", "1000"]).ok();
        let args = ["run", "-d", "--name", name, "--restart", "always"];
        host.corten(&[&args[..], &needs, &["busybox", "sleep", "1000"]].concat()).ok();
        host.corten(&["rm", "-f", "new"]).ok();
    }
    let args = ["run", "-d", "--name", "new", "--restart", "always", "busybox", "sleep", "1000"];
    host.corten(&args).ok();
    host.corten(&["stop", "-t", "0", "stopped", "always"]).ok();
    // As after a boot: no supervisor, and no process of a container.
    for name in ["unless", "no", "beside", "linked", "new"] {
        let supervisor = inspect(&host, name)["Id"].as_str().unwrap().to_owned();
        let state = host.root().join("containers").join(supervisor).join("state.json");
        let state: Value = serde_json::from_slice(&std::fs::read(state).unwrap()).unwrap();
        let pid = state["supervisor"].as_i64().unwrap();
        std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    }
    host.settle();
    assert_eq!(host.corten(&["system", "restore"]).ok().lines().count(), 5);
    let running = host.corten(&["ps", "--format", "json"]).ok();
    for (name, runs) in [
        ("always", true),
        ("unless", true),
        ("stopped", false),
        ("no", false),
        ("beside", true),
        ("linked", true),
    ] {
        assert_eq!(running.contains(&format!("\"Names\":\"{name}\"")), runs, "{running}");
    }
    assert_eq!(host.corten(&["system", "restore"]).ok(), "");
    assert!(host.corten(&["exec", "linked", "cat", "/etc/hosts"]).ok().contains("\tx\n"));
    host.corten(&["rm", "-f", "always", "unless", "stopped", "no", "beside", "linked", "new"]).ok();
    host.assert_clean();
}

/// Two groups that nobody has made on purpose, and one of somebody else's.
#[corten_tier::t1]
fn groups_above_go_with_the_last_container_and_somebody_s_stay() {
    let host = Host::with_busybox();
    let name = support::unique("above");
    let hierarchy = corten_cgroups::Hierarchy::detect().unwrap();
    let tops: Vec<_> = hierarchy.mounts().iter().map(|mount| mount.point.join(&name)).collect();
    let somebody_s = tops.first().unwrap();
    std::fs::create_dir(somebody_s).unwrap();
    let inner = format!("/{name}/x/y");
    let run = |name: &str, parent: &str| {
        let args = ["run", "-d", "--network", "none", "--name", name, "--cgroup-parent", parent];
        host.corten(&[&args[..], &["busybox", "sleep", "1000"]].concat()).ok();
    };
    run("one", &inner);
    run("two", &inner);
    host.corten(&["rm", "-f", "one"]).ok();
    let groups = || std::fs::read_dir(tops[0].join("x/y")).unwrap().flatten();
    let directories = || groups().filter(|entry| entry.path().is_dir()).count();
    eventually("one has gone", || (directories() == 1).then_some(()));
    assert!(tops.iter().all(|top| top.join("x/y").exists()));
    // Whoever is killed with the container removes nothing.
    let (pid, supervisor) = host.running().unwrap();
    for pid in [supervisor, pid] {
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    host.corten(&["rm", "-f", "two"]).ok();
    host.settle();
    let left: Vec<_> = tops.iter().filter(|top| top.exists()).collect();
    assert_eq!(left, [somebody_s]);
    assert!(!somebody_s.join("x").exists());
    std::fs::remove_dir(somebody_s).unwrap();
    host.assert_clean();
}

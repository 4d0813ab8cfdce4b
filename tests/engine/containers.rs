//! Containers with a life cycle: made, started, stopped, restarted, entered, read.

use std::time::{Duration, Instant};

use crate::support::{Host, eventually, is_alive};

#[corten_tier::t1]
fn a_container_goes_through_its_whole_life() {
    let host = Host::with_busybox();
    let id = host.corten(&["create", "--name", "life", "busybox", "sleep", "1000"]).ok();
    assert_eq!(id.trim().len(), 64);
    assert!(host.corten(&["ps", "-a"]).ok().contains("Created"));
    host.corten(&["stop", "life"]).ok();
    host.corten(&["exec", "life", "true"]).fails(125, "is not running: start it");
    host.corten(&["start", "life"]).ok();
    host.corten(&["start", "life"]).ok();
    let (pid, supervisor) = host.running().unwrap();
    assert!(is_alive(pid) && is_alive(supervisor));
    host.corten(&["pause", "life"]).ok();
    host.corten(&["pause", "life"]).fails(1, "is paused already");
    host.corten(&["exec", "life", "true"]).fails(125, "is paused");
    host.corten(&["unpause", "life"]).ok();
    host.corten(&["rename", "life", "second"]).ok();
    host.corten(&["restart", "-t", "0", "second"]).ok();
    let (again, _) = host.running().unwrap();
    assert!(again != pid && !is_alive(pid));
    host.corten(&["rm", "second"]).fails(1, "is running: stop it first");
    host.corten(&["kill", "second"]).ok();
    assert_eq!(host.corten(&["wait", "second"]).ok(), "137\n");
    assert!(host.corten(&["ps", "-a"]).ok().contains("Exited (137)"));
    host.corten(&["rm", "second"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn stop_asks_first_and_kills_then() {
    let host = Host::with_busybox();
    let script = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.02; done";
    host.corten(&["run", "-d", "--name", "polite", "busybox", "sh", "-c", script]).ok();
    eventually("it is ready", || {
        host.corten(&["logs", "polite"]).ok().contains("ready").then_some(())
    });
    host.corten(&["stop", "polite"]).ok();
    assert_eq!(host.corten(&["wait", "polite"]).ok(), "7\n");
    assert_eq!(host.corten(&["logs", "-n", "1", "polite"]).ok(), "asked\n");
    // Pid 1 without a handler does not hear SIGTERM.
    host.corten(&["run", "-d", "--name", "deaf", "busybox", "sleep", "1000"]).ok();
    let begin = Instant::now();
    host.corten(&["stop", "-t", "1", "deaf"]).ok();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(host.corten(&["wait", "deaf"]).ok(), "137\n");
    host.corten(&["rm", "polite", "deaf"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn a_restart_policy_is_kept_until_somebody_stops_it() {
    let host = Host::with_busybox();
    let volume = format!("{}:/v", host.path("shared").display());
    let script = "echo run >>/v/runs; exit 3";
    let args = ["run", "-d", "--name", "again", "-v", &volume, "--restart", "on-failure:2"];
    host.corten(&[&args[..], &["busybox", "sh", "-c", script]].concat()).ok();
    assert_eq!(host.corten(&["wait", "again"]).ok(), "3\n");
    let runs = std::fs::read_to_string(host.path("shared/runs")).unwrap();
    assert_eq!(runs.lines().count(), 3, "once, and twice again");
    host.corten(&["run", "-d", "--name", "ever", "--restart", "always", "busybox", "true"]).ok();
    std::thread::sleep(Duration::from_millis(300));
    host.corten(&["stop", "ever"]).ok();
    assert!(host.corten(&["ps"]).ok().lines().count() == 1, "and it stays so");
    host.corten(&["rm", "again", "ever"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn exec_runs_beside_and_ends_by_itself() {
    let host = Host::with_busybox();
    let args = ["run", "-d", "--name", "host", "-e", "A=1", "-w", "/tmp", "-u", "web"];
    host.corten(&[&args[..], &["busybox", "sleep", "1000"]].concat()).ok();
    let exec = |args: &[&str]| host.corten(&[&["exec"], args].concat());
    assert_eq!(exec(&["host", "sh", "-c", "echo $A; pwd; id -u"]).ok(), "1\n/tmp\n33\n");
    let other = ["-e", "A=2", "-w", "/", "-u", "root", "host", "sh", "-c", "echo $A; pwd; id -u"];
    assert_eq!(exec(&other).ok(), "2\n/\n0\n");
    assert_eq!(exec(&["host", "sh", "-c", "echo no >&2; exit 9"]).status, 9);
    exec(&["host", "/nope"]).fails(127, "no such file");
    exec(&["-d", "host", "sleep", "1000"]).ok();
    eventually("it runs", || exec(&["host", "ps"]).ok().matches("sleep 1000").nth(1).map(drop));
    host.corten(&["rm", "-f", "host"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn the_log_is_docker_s_and_can_be_followed() {
    let host = Host::with_busybox();
    let script = "echo one; echo two >&2; sleep 0.5; printf three";
    host.corten(&["run", "-d", "--name", "log", "busybox", "sh", "-c", script]).ok();
    let followed = host.corten(&["logs", "-f", "log"]);
    assert_eq!((followed.out.as_str(), followed.err.as_str()), ("one\nthree", "two\n"));
    assert_eq!(host.corten(&["logs", "--tail", "1", "log"]).ok(), "three");
    let id = host.names("containers").remove(0);
    let path = host.root().join("containers").join(&id).join(format!("{id}-json.log"));
    let text = std::fs::read_to_string(path).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["log"], &first["stream"]), (&"one\n".into(), &"stdout".into()));
    host.corten(&["rm", "log"]).ok();
    host.corten(&["run", "--rm", "--log-driver", "syslog", "busybox", "true"])
        .fails(125, "error looking up logging plugin syslog");
    host.assert_clean();
}

#[corten_tier::t1]
fn log_drivers_have_docker_s_options_and_places() {
    let host = Host::with_busybox();
    let script = "seq 1 1000";
    let run = |name: &str, options: &[&str]| {
        let args = [&["run", "--name", name], options, &["busybox", "sh", "-c", script]].concat();
        assert_eq!(host.corten(&args).ok().lines().count(), 1000);
        host.names("containers").remove(0)
    };
    let id = run("local", &["--log-driver", "local", "--log-opt", "max-size=10k"]);
    let directory = host.root().join("containers").join(&id).join("local-logs");
    assert!(directory.join("container.log").exists());
    assert!(std::fs::read_dir(directory).unwrap().count() > 3);
    let logs = |args: &[&str]| host.corten(&[&["logs"], args].concat());
    assert_eq!(logs(&["--tail", "2", "local"]).ok(), "999\n1000\n");
    assert_eq!(logs(&["--since", "1h", "--tail", "1", "local"]).ok(), "1000\n");
    assert_eq!(logs(&["--until", "1h", "local"]).ok(), "");
    host.corten(&["rm", "local"]).ok();
    let tagged = ["--label", "a=1", "--log-opt", "labels=a", "--log-opt", "tag={{.Name}}"];
    let id = run("tagged", &tagged);
    let path = host.root().join("containers").join(&id).join(format!("{id}-json.log"));
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(r#","attrs":{"a":"1","tag":"tagged"},"time":""#), "{text:.200}");
    host.corten(&["rm", "tagged"]).ok();
    run("none", &["--log-driver", "none"]);
    assert_ne!(logs(&["none"]).status, 0);
    host.corten(&["rm", "none"]).ok();
    let bad = |option: &str| host.corten(&["run", "--rm", "--log-opt", option, "busybox", "true"]);
    bad("colour=red").fails(125, "unknown log opt 'colour' for json-file log driver");
    bad("max-size=x").fails(125, "invalid size: 'x'");
    host.assert_clean();
}

#[corten_tier::t1]
fn nothing_of_a_long_output_is_lost_in_the_foreground() {
    let host = Host::with_busybox();
    let out = host.run(&["seq", "1", "300000"]).ok();
    assert!(out.lines().map(|line| line.parse::<u32>().unwrap()).eq(1..=300_000));
    host.assert_clean();
}

#[corten_tier::t1]
fn the_host_does_not_see_the_container_s_mounts() {
    let host = Host::with_busybox();
    host.corten(&["run", "-d", "--name", "hidden", "busybox", "sleep", "1000"]).ok();
    let mounts = std::fs::read_to_string("/proc/1/mountinfo").unwrap();
    let id = host.names("containers").remove(0);
    assert!(!mounts.contains(&id), "{mounts}");
    host.corten(&["rm", "-f", "hidden"]).ok();
    host.assert_clean();
}

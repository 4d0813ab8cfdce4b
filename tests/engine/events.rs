//! `corten events`: what is told of containers, images and volumes, by whom and when.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::{self, Host, eventually};
use serde_json::Value;

/// What has happened so far, as `ACTION` or `TYPE ACTION` for what is no container.
fn history(host: &Host, filters: &[&str]) -> Vec<String> {
    let args = [&["events", "--since", "0", "--until", "0s", "--format", "json"], filters].concat();
    let text = host.corten(&args).ok();
    let words = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let (kind, action) = (entry["Type"].as_str().unwrap(), entry["Action"].as_str().unwrap());
        if kind == "container" { action.to_owned() } else { format!("{kind} {action}") }
    };
    text.lines().map(words).collect()
}

#[corten_tier::t1]
fn a_life_is_told_in_docker_s_order_and_can_be_read_later() {
    let host = Host::with_busybox();
    let args = ["run", "-d", "--name", "box", "--label", "tier=front", "-v", "data:/d", "busybox"];
    host.corten(&[&args[..], &["sleep", "1000"]].concat()).ok();
    host.corten(&["pause", "box"]).ok();
    host.corten(&["unpause", "box"]).ok();
    assert_eq!(host.corten(&["exec", "box", "sh", "-c", "exit 7"]).status, 7);
    host.corten(&["stop", "-t", "0", "box"]).ok();
    host.corten(&["rename", "box", "other"]).ok();
    host.corten(&["rm", "other"]).ok();
    host.corten(&["volume", "rm", "data"]).ok();
    let all = [
        "image import",
        "volume create",
        "create",
        "network connect",
        "volume mount",
        "start",
        "pause",
        "unpause",
        "exec_start",
        "exec_die",
        "kill",
        "die",
        "network disconnect",
        "volume unmount",
        "stop",
        "rename",
        "destroy",
        "volume destroy",
    ];
    // A container that does not listen to SIGTERM is sent SIGKILL, too.
    let mut told = history(&host, &[]);
    told.dedup();
    assert_eq!(told, all);
    let of_volumes = ["volume create", "volume mount", "volume unmount", "volume destroy"];
    assert_eq!(history(&host, &["-f", "type=volume"]), of_volumes);
    assert_eq!(history(&host, &["-f", "event=die", "-f", "label=tier=front"]), ["die"]);
    assert_eq!(history(&host, &["-f", "container=nobody"]), [""; 0]);
    host.corten(&["events", "-f", "colour=red"]).fails(1, "invalid filter 'colour'");
    host.corten(&["events", "--since", "soon"]).fails(1, "time or duration: \"soon\"");
    let line =
        host.corten(&["events", "--since", "0", "--until", "0s", "-f", "event=exec_die"]).ok();
    assert!(line.contains("exitCode=7") && line.contains("name=box"), "{line}");
    host.assert_clean();
}

/// Nobody is there when it happens: the engine has gone, and only the supervisor knows.
#[corten_tier::t1]
fn what_happens_while_there_is_no_engine_is_not_lost() {
    let host = Host::with_busybox();
    let args = ["run", "-d", "--name", "box", "--restart", "on-failure:2", "busybox", "false"];
    host.corten(&args).ok();
    let deaths = || history(&host, &["-f", "container=box", "-f", "event=die"]).len();
    eventually("it has died three times", || (deaths() == 3).then_some(()));
    host.corten(&["wait", "box"]);
    assert!(host.corten(&["inspect", "box"]).ok().contains("\"RestartCount\": 2"));
    host.corten(&["rm", "box"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn who_waits_is_told_at_once() {
    let host = Host::with_busybox();
    let mut command = host.command(&["events", "-f", "type=container", "-f", "event=die"]);
    let mut child = support::Engine(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    // It begins when it is ready: until one is told, some may come too early.
    let told = {
        let reader = std::thread::spawn(move || lines.next().unwrap().unwrap());
        eventually("an end is told", || {
            host.run(&["sh", "-c", "exit 5"]);
            reader.is_finished().then_some(())
        });
        reader.join().unwrap()
    };
    assert!(told.contains(" container die ") && told.contains("exitCode=5"), "{told}");
    drop(child);
    host.settle();
    host.assert_clean();
}

//! containerd, by its own client.

use super::world::World;
use super::{RUNTIME, image, is_host, need};

/// The client's command line. Group and socket names are those of the world alone.
const CTR: &str = "ctr --address /run/ctd.sock --namespace test";

/// Starts a containerd and gives it the image.
pub fn start(world: &World) {
    need("containerd");
    need("ctr");
    let mut command = world.command("containerd");
    command.args(["--config", "/dev/null", "--state", "/run/ctd", "--address", "/run/ctd.sock"]);
    command.arg("--root").arg(world.dir().join("containerd"));
    world.daemon(command, "containerd", "/run/ctd.sock");
    let archive = world.dir().join("image.tar");
    image::write(&archive);
    world.run(&format!("{CTR} image import {}", archive.display())).ok();
}

fn run(options: &str, id: &str) -> String {
    format!("{CTR} run --runc-binary {RUNTIME} {options} {} {id}", image::NAME)
}

#[corten_tier::t1]
fn containerd_runs_execs_pauses_measures_and_kills() {
    if !is_host() {
        return;
    }
    let world = World::new();
    start(&world);
    let ctr = |line: &str| world.run(&format!("{CTR} {line}"));

    let said = world.run_sh(&run("--rm", "one"), "echo out; echo err >&2; exit 3");
    assert_eq!((said.status, &*said.out), (3, "out\n"), "{said:?}");
    assert!(said.err.contains("err\n"), "{said:?}");
    // ctr loses what is written in the last moment.
    let terminal = world.run_tty(&run("--rm -t", "two"), "tty; sleep 0.3; exit 5").ends_with(5);
    assert!(terminal.contains("/dev/pts/0"), "{terminal}");

    world.run_sh(&run("-d --memory-limit 67108864", "three"), "exec sleep 1000").ok();
    let status = || ctr("task ls").ok();
    assert!(status().contains("RUNNING"));
    // By its status, since ctr may lose what it prints; the shell may not be `sleep` yet.
    let look = "i=0; until ps | grep -q '1 root     [s]leep 1000'; do i=$((i+1)); \
                [ $i -lt 300 ] || exit 5; sleep 0.1; done; exit 4";
    world.run_sh(&format!("{CTR} task exec --exec-id e three"), look).ends_with(4);
    let metrics = ctr("task metrics three").ok();
    assert!(metrics.contains("67108864") || metrics.contains("memory.usage"), "{metrics}");
    ctr("task pause three").ok();
    assert!(status().contains("PAUSED"));
    ctr("task resume three").ok();
    assert!(status().contains("RUNNING"));
    assert!(ctr("task ps three").ok().contains("PID"));
    ctr("task kill --signal KILL three").ok();
    world.until("the end", || status().contains("STOPPED"));
    let removed = ctr("task rm three");
    assert!(removed.ends_with(0).contains("exit code 137"));
    ctr("container rm three").ok();

    // A program that is not there leaves no task.
    let refused = world.run(&format!("{} nosuch", run("--rm", "four")));
    assert!(refused.ends_with(1).contains("executable file not found in $PATH"));
    assert!(!status().contains("four"));
}

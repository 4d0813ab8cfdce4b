//! Podman, which has no daemon: conmon calls the runtime.

use super::world::{Ran, World};
use super::{RUNTIME, image, is_host, need};

struct Podman {
    world: World,
}

impl Podman {
    fn start() -> Podman {
        need("podman");
        need("conmon");
        let podman = Podman { world: World::new() };
        let archive = podman.world.dir().join("image.tar");
        image::write(&archive);
        podman.run(&format!("load --input {}", archive.display())).ok();
        podman
    }

    fn client(&self) -> String {
        let root = self.world.dir().join("podman");
        format!(
            "podman --root {} --runroot /run/podman --tmpdir /run/libpod --storage-driver vfs \
             --cgroup-manager cgroupfs --events-backend file --runtime {RUNTIME}",
            root.display()
        )
    }

    fn run(&self, line: &str) -> Ran {
        self.world.run(&format!("{} {line}", self.client()))
    }

    fn line(&self, mode: &str, options: &str) -> String {
        format!("{} run {mode} --network none {options} {}", self.client(), image::NAME)
    }

    fn sh(&self, options: &str, script: &str) -> Ran {
        self.world.run_sh(&self.line("--rm", options), script)
    }
}

#[corten_tier::t1]
fn podman_runs_a_shell_and_passes_its_end_on() {
    if !is_host() {
        return;
    }
    let podman = Podman::start();
    let ran = podman.sh("", "echo out; exit 5");
    assert_eq!((ran.status, &*ran.out), (5, "out\n"), "{ran:?}");
    // On a busy machine podman misses what comes right at the end.
    let terminal = podman.world.run_tty(&podman.line("--rm -it", ""), "tty; sleep 0.5; exit 6");
    assert!(terminal.ends_with(6).contains("/dev/pts/0"));
    assert_eq!(podman.run(&format!("run --rm --network host {} true", image::NAME)).status, 0);
    let missing = podman.run(&format!("run --rm --network none {} nosuch", image::NAME));
    assert!(missing.ends_with(127).contains("not found"));
    let directory = podman.run(&format!("run --rm --network none {} /etc", image::NAME));
    assert!(directory.ends_with(126).contains("permission denied"));

    // Podman asks for more open files than a root without CAP_SYS_RESOURCE may set.
    podman.sh("--ulimit nofile=1048576:1048576 --ulimit nproc=4194304:4194304", "true").ok();
    assert_eq!(podman.sh("--ulimit nofile=64:64", "ulimit -n; ulimit -Hn").ok(), "64\n64");
    let mapped = podman.sh("--uidmap 0:100000:65536", "cat /proc/self/uid_map").ok();
    assert!(mapped.contains("100000"), "{mapped}");
    assert!(podman.sh("--read-only", "touch /x").ends_with(1).contains("Read-only"));
    let dropped = podman.sh("--cap-drop all", "grep CapBnd /proc/self/status").ok();
    assert!(dropped.ends_with("0000000000000000"), "{dropped}");
    podman.sh("--privileged", "true").ok();
    podman.sh("--memory 8m --memory-swap 8m", "exec tail /dev/zero").ends_with(137);
}

#[corten_tier::t1]
fn podman_governs_a_running_container() {
    if !is_host() {
        return;
    }
    let podman = Podman::start();
    let count = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done";
    podman.world.run_sh(&podman.line("-d", "--name c --memory 32m"), count).ok();
    let inside = podman.world.run_sh(&format!("{} exec c", podman.client()), "ps; exit 4");
    assert!(inside.ends_with(4).contains("1 root     sh -c i=0"));
    assert!(podman.run("stats --no-stream c").ok().contains("/ 33.55MB"));
    assert!(podman.run("top c").ok().contains("sh -c i=0"));
    let state = || podman.run("inspect -f {{.State.Status}} c").ok();
    podman.run("pause c").ok();
    assert_eq!(state(), "paused");
    podman.run("unpause c").ok();
    assert_eq!(state(), "running");
    podman.world.until("output", || podman.run("logs c").ok().lines().count() > 2);
    podman.run("kill c").ok();
    podman.world.until("the end", || state() == "exited");
    assert_eq!(podman.run("inspect -f {{.State.ExitCode}} c").ok(), "137");
    podman.run("rm c").ok();
}

#[corten_tier::t1]
fn podman_updates_limits() {
    if !is_host() {
        return;
    }
    let podman = Podman::start();
    podman.world.run_sh(&podman.line("-d", "--name c --memory 32m"), "exec sleep 1000").ok();
    podman.run("update --memory 64m c").ok();
    // In `stats`, Podman shows the limit of the time before.
    let file = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max";
    let limit = podman.run(&format!("exec c cat {file}"));
    assert!(limit.out.contains("67108864"), "{limit:?}");
    podman.run("rm -f -t 0 c").ok();
}

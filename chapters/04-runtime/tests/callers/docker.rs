//! Docker: a dockerd with the runtime as one of its own, on a bridge in the world's network.

use std::fs;
use std::path::PathBuf;

use super::world::{Ran, World};
use super::{DOCKER, RUNTIME, image, is_host, need};

/// A dockerd and its client.
pub struct Docker {
    pub world: World,
}

impl Docker {
    /// Starts one; with `default`, the runtime is used where none is named.
    pub fn start(default: bool) -> Docker {
        need("dockerd");
        need("docker-init");
        let world = World::new();
        let mut command = world.command("dockerd");
        command.args(["--exec-root", "/run/dockerd", "--pidfile", "/run/dockerd.pid"]);
        command.args(["--host", "unix:///run/docker.sock", "--storage-driver", "vfs"]);
        command.args(["--iptables=false", "--ip6tables=false"]);
        command.arg("--data-root").arg(world.dir().join("docker"));
        command.arg(format!("--add-runtime=corten={RUNTIME}"));
        if default {
            command.arg("--default-runtime=corten");
        }
        world.daemon(command, "dockerd", "/run/docker.sock");
        let docker = Docker { world };
        let archive = docker.world.dir().join("image.tar");
        image::write(&archive);
        // The socket is there a moment before the daemon answers.
        docker.world.until("dockerd", || docker.run("version").status == 0);
        docker.run(&format!("load --input {}", archive.display())).ok();
        docker
    }

    pub fn run(&self, line: &str) -> Ran {
        self.world.run(&format!("{DOCKER} --host unix:///run/docker.sock {line}"))
    }

    /// `docker run --rm OPTIONS IMAGE sh -c SCRIPT`.
    pub fn sh(&self, options: &str, script: &str) -> Ran {
        self.world.run_sh(&self.line("--rm", options), script)
    }

    fn tty(&self, line: &str, script: &str) -> Ran {
        self.world.run_tty(&format!("{DOCKER} --host unix:///run/docker.sock {line}"), script)
    }

    fn line(&self, mode: &str, options: &str) -> String {
        let image = image::NAME;
        let client = format!("{DOCKER} --host unix:///run/docker.sock");
        format!("{client} run {mode} --runtime corten {options} {image}")
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.world.dir().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

#[corten_tier::t1]
fn docker_runs_a_shell_and_passes_its_end_on() {
    if !is_host() {
        return;
    }
    let docker = Docker::start(false);
    let ran = docker.sh("", "echo out; echo err >&2; exit 7");
    assert_eq!((ran.status, &*ran.out, &*ran.err), (7, "out\n", "err\n"));
    let shell = format!("run --rm --runtime corten -it {}", image::NAME);
    let terminal = docker.tty(&shell, "tty; exit 6").ends_with(6);
    assert!(terminal.contains("/dev/pts/0"), "{terminal}");
    let missing = docker.run(&format!("run --rm --runtime corten {} nosuch", image::NAME));
    let missing = missing.ends_with(127);
    assert!(missing.contains("executable file not found in $PATH"), "{missing}");
    let directory = docker.run(&format!("run --rm --runtime corten {} /etc", image::NAME));
    assert!(directory.ends_with(126).contains("permission denied"));
    let init = docker.sh("--init", "ps").ok();
    assert!(init.contains("1 root     /sbin/docker-init"), "{init}");
}

#[corten_tier::t1]
fn docker_governs_a_running_container() {
    if !is_host() {
        return;
    }
    let docker = Docker::start(false);
    let count = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done";
    let options = "--name box --memory 64m --cpus 0.5 --pids-limit 50";
    docker.world.run_sh(&docker.line("-d", options), count).ok();
    let client = format!("{DOCKER} --host unix:///run/docker.sock");

    let inside = docker.world.run_sh(&format!("{client} exec box"), "ps; exit 9").ends_with(9);
    assert!(inside.contains("1 root     sh -c i=0"), "{inside}");
    assert!(docker.tty("exec -it box", "tty; exit 8").ends_with(8).contains("/dev/pts/0"));
    let user = docker.run("exec -u 5:6 -w /tmp -e A=b box env").ok();
    assert!(user.contains("A=b"), "{user}");
    assert_eq!(docker.run("exec box nosuch").status, 126, "as with runc");

    let stats = docker.run("stats --no-stream box").ok();
    assert!(stats.contains("/ 64MiB"), "{stats}");
    // With a network of its own, something has been sent.
    assert!(!stats.contains("0B / 0B   0B / 0B   0B"), "{stats}");
    assert!(docker.run("top box").ok().contains("sh -c i=0"));

    let logged = || docker.run("logs box").ok().lines().count();
    docker.run("pause box").ok();
    assert!(docker.run("ps").ok().contains("(Paused)"));
    let before = logged();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(logged(), before, "a paused container goes on");
    docker.run("unpause box").ok();
    docker.world.until("it goes on", || logged() > before);

    docker.run("restart -t 0 box").ok();
    docker.run("kill -s KILL box").ok();
    let state = docker.run("inspect -f {{.State.Status}}:{{.State.ExitCode}} box").ok();
    assert_eq!(state, "exited:137");
    docker.run("start box").ok();
    docker.run("stop -t 0 box").ok();
    docker.run("rm box").ok();
}

#[corten_tier::t1]
fn docker_updates_limits() {
    if !is_host() {
        return;
    }
    let docker = Docker::start(false);
    docker.world.run_sh(&docker.line("-d", "--name box --memory 64m"), "exec sleep 1000").ok();
    let limits = "--memory 128m --memory-swap 128m --pids-limit 60 --cpus 0.5 --cpu-shares 512";
    docker.run(&format!("update {limits} box")).ok();
    let stats = docker.run("stats --no-stream box").ok();
    assert!(stats.contains("/ 128MiB"), "{stats}");
    docker.run("rm -f box").ok();
}

#[corten_tier::t1]
fn docker_sets_limits() {
    if !is_host() {
        return;
    }
    let docker = Docker::start(false);
    let client = format!("{DOCKER} --host unix:///run/docker.sock");
    let line = docker.line("--name hog", "--memory 8m --memory-swap 8m");
    docker.world.run(&format!("{line} tail /dev/zero")).ends_with(137);
    let killed = docker.world.run(&format!("{client} inspect -f {{{{.State.OOMKilled}}}} hog"));
    assert_eq!(killed.ok(), "true");
    docker.run("rm hog").ok();

    let bomb = docker.sh("--pids-limit 5", "for i in 1 2 3 4 5 6; do sleep 1 & done");
    assert!(bomb.ends_with(2).contains("can't fork"));
    let cpus = docker.sh("--cpuset-cpus 0 --cpus 0.5", "grep Cpus_allowed_list /proc/self/status");
    assert_eq!(cpus.ok(), "Cpus_allowed_list:\t0");
    assert_eq!(docker.sh("--ulimit nofile=64:64", "ulimit -n; ulimit -Hn").ok(), "64\n64");
    // More than this machine allows: as much as it does.
    let most = docker.sh("--ulimit nofile=99999999:99999999", "ulimit -n").ok();
    assert!(most.parse::<u64>().unwrap() >= 1024, "{most}");
    let score = docker.sh("--oom-score-adj 500", "cat /proc/self/oom_score_adj").ok();
    assert_eq!(score, "500");
    docker.sh("--oom-score-adj -500", "true").ok();
    assert!(docker.sh("--shm-size 1m", "df /dev/shm").ok().contains(" 1024 "));
}

#[corten_tier::t1]
fn docker_takes_rights_away() {
    if !is_host() {
        return;
    }
    let docker = Docker::start(false);
    let status = |options: &str, field: &str| {
        let ran = docker.sh(options, &format!("grep {field}: /proc/self/status"));
        ran.ok().split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!(status("", "CapEff"), "00000000a80425fb");
    assert_eq!(status("--cap-drop ALL", "CapBnd"), "0000000000000000");
    assert_eq!(status("--cap-add SYS_ADMIN", "CapEff"), "00000000a82425fb");
    assert_eq!(status("", "Seccomp"), "2");
    assert_eq!(status("--security-opt seccomp=unconfined", "Seccomp"), "0");
    assert_eq!(status("--security-opt no-new-privileges", "NoNewPrivs"), "1");
    // A profile of one's own: mkdir(2) does not exist.
    let rule = r#"[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]"#;
    let profile = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":{rule}}}"#);
    let profile = docker.file("profile.json", &profile);
    let option = format!("--security-opt seccomp={}", profile.display());
    assert!(docker.sh(&option, "mkdir /x").ends_with(1).contains("not implemented"));
    // All that root has here, which is less than everything: runc fails.
    let all = docker.sh("--privileged", "grep CapEff /proc/self/status; ls /dev/null").ok();
    assert!(all.contains("/dev/null"), "{all}");
    assert_eq!(docker.sh("-u 1000:1001", "id -u; id -g").ok(), "1000\n1001");
    assert!(docker.sh("--group-add 77", "id -G").ok().contains("77"));
}

#[corten_tier::t1]
fn docker_brings_files_devices_and_names() {
    if !is_host() {
        return;
    }
    let docker = Docker::start(false);
    let volume = docker.world.dir().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "of the host\n").unwrap();
    let volume = volume.display();
    let ran = docker.sh(&format!("-v {volume}:/v:ro"), "cat /v/file; touch /v/new");
    assert!(ran.ends_with(1).contains("of the host\ntouch: /v/new: Read-only file system"));
    docker.sh(&format!("-v {volume}:/v"), "touch /v/new").ok();
    docker.sh("-v named:/v", "touch /v/x").ok();
    assert_eq!(docker.sh("-v named:/v", "ls /v").ok(), "x");
    assert!(docker.sh("--read-only", "touch /x").ends_with(1).contains("Read-only file system"));
    docker.sh("--read-only --tmpfs /t", "touch /t/x").ok();
    assert!(docker.sh("--device /dev/zero:/dev/own", "ls -l /dev/own").ok().contains("1,   5"));
    let forward = "cat /proc/sys/net/ipv4/ip_forward";
    assert_eq!(docker.sh("--sysctl net.ipv4.ip_forward=0", forward).ok(), "0");
    assert_eq!(docker.sh("--sysctl net.ipv4.ip_forward=1", forward).ok(), "1");
    assert_eq!(docker.sh("-h inside -w /made/here", "hostname; pwd").ok(), "inside\n/made/here");
    assert!(docker.sh("", "ip addr show eth0").ok().contains("inet 172."));
    assert!(docker.sh("--cgroupns private", "cat /proc/self/cgroup").ok().ends_with(":/"));

    docker.world.run_sh(&docker.line("-d", "--name shared"), "exec sleep 1000").ok();
    let joined = docker.sh("--network container:shared --pid container:shared", "ps").ok();
    assert!(joined.contains("1 root     sleep 1000"), "{joined}");
    docker.sh("--network host --ipc host --uts host --pid host", "true").ok();
    docker.run("rm -f shared").ok();
}

/// A volume with shared propagation shows the host what a container mounts in it.
#[corten_tier::t1]
fn docker_shares_mounts_in_a_volume() {
    if !is_host() {
        return;
    }
    let docker = Docker::start(false);
    let volume = docker.world.dir().join("volume");
    fs::create_dir_all(volume.join("inner")).unwrap();
    let volume = volume.display();
    // As systemd makes the mounts of a host.
    docker.world.run("mount --make-rshared /").ok();
    let mount = format!("--mount type=bind,src={volume},dst=/v,bind-propagation=rshared");
    let rights = "--cap-add SYS_ADMIN --security-opt seccomp=unconfined";
    docker.sh(&format!("{rights} {mount}"), "mount -t tmpfs t /v/inner && touch /v/inner/x").ok();
    assert_eq!(docker.world.run(&format!("ls {volume}/inner")).ok(), "x");
}

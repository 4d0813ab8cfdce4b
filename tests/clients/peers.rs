//! The two daemons, each in a network of its own, with a directory and an image of its own.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{self, registry::Registry};

/// Which daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Dockerd,
    Corten,
}

/// A daemon that answers.
pub struct Peer {
    kind: Kind,
    child: Child,
    root: PathBuf,
    /// The group that dockerd makes its containers' in.
    parent: String,
    /// Beside it, in its network.
    _registry: Registry,
}

/// Where each has its registry.
const REGISTRY: u16 = 5000;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// `api METHOD PATH [BODY]`; `sorted`, for documents one a line.
const API: &str = r#"api() { m=$1 p=$2; shift 2; case $m in HEAD) set -- -I "$@";; esac
    if [ $# -gt 0 ] && [ "$1" != -I ]; then set -- -H 'Content-Type: application/json' -d "$1"; fi
    if [ "$m" = HEAD ]; then curl -s -o /dev/null -w '%{http_code}\n' -I --unix-socket "$SOCK" "http://d$p"
    else curl -s -g -w '%{http_code}\n' -X "$m" --unix-socket "$SOCK" "$@" "http://d$p"; fi; }
sorted() { python3 -c 'import json, sys
for line in sys.stdin: print(json.dumps(json.loads(line), sort_keys=True))'; }
"#;

impl Peer {
    /// Starts one below `root`. The calling thread has its network from now on.
    pub fn start(kind: Kind, root: &Path, layer: &[u8]) -> Peer {
        support::own_network();
        // dockerd warns without.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        for name in ["w", "home"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::write(root.join("image.tar"), layer).unwrap();
        let parent = support::unique("peer");
        let at = |name: &str| root.join(name).display().to_string();
        let host = format!("unix://{}", at("socket"));
        let mut command = match kind {
            Kind::Corten => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
                command.args(["--root", &at("root"), "--state", &at("run"), "daemon", "-H", &host]);
                command
            }
            Kind::Dockerd => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "--propagation", "private", "dockerd", "--host", &host]);
                command.args(["--data-root", &at("data"), "--exec-root", &at("exec")]);
                command.args(["--pidfile", &at("pid"), "--iptables=false", "--ip6tables=false"]);
                command.args(["--ip-forward=false", "--userland-proxy=false"]);
                command.args(["--cgroup-parent", &format!("/{parent}")]);
                command
            }
        };
        let log = std::fs::File::create(root.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        // Where containerd leaves its stacks when it is slow to end.
        command.env("TMPDIR", root);
        let child = command.spawn().unwrap();
        let _registry = Registry::listening(REGISTRY);
        let peer = Peer { kind, child, root: root.to_owned(), parent, _registry };
        let begin = Instant::now();
        while peer.run("docker version").status != 0 {
            assert!(begin.elapsed() < Duration::from_secs(60), "{kind:?}: {}", peer.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        let made = peer.run("docker import -c 'CMD [\"sh\"]' image.tar busybox");
        assert_eq!(made.status, 0, "{kind:?}: {made:?}");
        peer
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    /// A command line of a shell, with this daemon as docker's.
    pub fn run(&self, line: &str) -> Outcome {
        let mut command = Command::new("timeout");
        command.args(["60", "sh", "-c", &format!("{API}{line}")]).current_dir(&self.root);
        command.env("DOCKER_HOST", format!("unix://{}/socket", self.root.display()));
        command.env("SOCK", self.root.join("socket")).env("W", self.root.join("w"));
        command.env("PARENT", format!("/{}", self.parent));
        command.env("R", format!("127.0.0.1:{REGISTRY}"));
        command.env("HOME", self.root.join("home")).stdin(Stdio::null());
        let output = command.output().unwrap();
        Outcome {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.run("docker ps -aq | xargs -r docker rm -f -v; docker network prune -f");
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
        if self.kind == Kind::Dockerd {
            // The groups of its containers are gone, and those above are left.
            let places = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
            for place in places.map(|place| place.path()).chain([PathBuf::from("/sys/fs/cgroup")]) {
                for group in ["nosuch/x", "nosuch", ""] {
                    let _ = std::fs::remove_dir(place.join(&self.parent).join(group));
                }
            }
        }
    }
}

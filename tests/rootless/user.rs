//! A user, with a number that nobody has, and what the machine knows of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::support::{Outcome, busybox_layer_with, eventually, outcome, text};

/// How many ids a user is granted.
const GRANTED: u32 = 65536;

/// A user, and a machine that knows it.
pub(crate) struct User {
    dir: tempfile::TempDir,
    pub(crate) uid: u32,
    /// The control group that its programs are started in, where it is another than ours.
    pub(crate) group: Option<PathBuf>,
}

pub(crate) fn sh(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status().unwrap();
    assert!(status.success(), "{script}");
}

impl User {
    pub(crate) fn new() -> User {
        // No two tests have the same, so that each can look for what is left of its own.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = (std::process::id() % 1000) * 16 + COUNT.fetch_add(1, Ordering::Relaxed);
        let user = User {
            dir: tempfile::tempdir().unwrap(),
            uid: 4_000_000 + number * 100_000,
            group: None,
        };
        user.furnish();
        user
    }

    fn furnish(&self) {
        let (uid, place) = (self.uid, self.dir.path().display());
        nix::sched::unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        let built = Path::new(env!("CARGO_BIN_EXE_corten")).parent().unwrap().display();
        // The VM has no such files, and no network that leads anywhere.
        let network = std::env::var_os(corten_tier::IN_VM).is_none();
        // udev opens the device of user space's network cards to everybody; not everywhere.
        sh(&format!(
            "mount --make-rprivate /
             chmod 755 {place}; cd {place}; mkdir bin home run
             for name in corten corten-supervisor; do
               touch bin/$name; mount --bind {built}/$name bin/$name
             done
             mkdir -p /dev/net; touch /etc/group /etc/subuid /etc/subgid
             chown {uid}:{uid} home run; chmod 700 home run
             for file in passwd group; do cp /etc/$file $file; done
             echo ada:x:{uid}:{uid}::{place}/home:/bin/sh >> passwd; echo ada:x:{uid}: >> group
             for file in subuid subgid; do echo ada:{}:{GRANTED} > $file; done
             for file in passwd group subuid subgid; do
               test -e /etc/$file && mount --bind $file /etc/$file
             done
             mount -t tmpfs tun /dev/net; mknod -m 666 /dev/net/tun c 10 200
             ip link set lo up; {network} || exit 0; ip link add out type veth peer name other; ip link set other up
             ip address add 192.0.2.1/24 dev out; ip link set out up
             ip route add default via 192.0.2.2",
            uid + 1
        ));
    }

    pub(crate) fn with_busybox() -> User {
        let user = User::new();
        // A program that is set-user-ID to root comes with it.
        let busybox = fs::read("/bin/busybox").unwrap();
        let layer = busybox_layer_with(|layer| layer.file("bin/busybox-su", 0o4755, busybox));
        fs::write(user.path("layer.tar"), layer).unwrap();
        user.corten(&["import", "-c", "CMD [\"sh\"]", text(&user.path("layer.tar")), "busybox"])
            .ok();
        user
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program that the user starts at home.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("sh");
        // While there are containers, processes of a given group are in a child of it. Not busybox's own setpriv.
        let enter = "for way in corten-callers/cgroup.procs cgroup.procs; do
                       test -e \"$0/$way\" && echo 0 > \"$0/$way\" && break
                     done; exec /usr/bin/setpriv \"$@\"";
        command.args(["-c", enter]).arg(self.group.clone().unwrap_or("/none".into()));
        let id = self.uid;
        command.args([&format!("--reuid={id}"), &format!("--regid={id}"), "--clear-groups"]);
        command.arg(program).args(args).current_dir(self.path("home")).stdin(Stdio::null());
        let path =
            format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", self.path("bin").display());
        command.env_clear().env("PATH", path).env("HOME", self.path("home"));
        command.env("XDG_RUNTIME_DIR", self.path("run"));
        command
    }

    pub(crate) fn corten(&self, args: &[&str]) -> Outcome {
        outcome(self.command("corten", args).output().unwrap())
    }

    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        self.corten(&[&["run", "--rm"], args].concat())
    }

    pub(crate) fn docker(&self, args: &[&str]) -> Outcome {
        let host = format!("unix://{}", self.path("run/corten.sock").display());
        let mut command = self.command("docker", args);
        outcome(command.env("DOCKER_HOST", host).env("DOCKER_BUILDKIT", "0").output().unwrap())
    }

    /// The living processes of the user and of the ids that it was granted: the name and the user of each.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        self.living().map(|(_, name, uid)| (name, uid)).collect()
    }

    pub(crate) fn pids(&self) -> Vec<i32> {
        self.living().map(|(pid, ..)| pid).collect()
    }

    pub(crate) fn living(&self) -> impl Iterator<Item = (i32, String, u32)> {
        let ours = self.uid..=self.uid + GRANTED;
        fs::read_dir("/proc").unwrap().flatten().filter_map(move |entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            let line = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                line.split_whitespace().next().map(str::to_owned)
            };
            let uid = line("Uid:")?.parse().ok()?;
            let is_ours = ours.contains(&uid) && line("State:")? != "Z";
            is_ours.then_some((pid, line("Name:")?, uid))
        })
    }

    /// Whatever was there is gone: processes, and files outside of the state directory.
    #[track_caller]
    pub(crate) fn assert_gone(&self) {
        eventually("no process of the user's is left", || {
            self.processes().is_empty().then_some(())
        });
        let left: Vec<_> = fs::read_dir(self.path("run")).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert!(!mounts.contains(".local/share"), "{mounts}");
    }
}

impl Drop for User {
    /// A test that has failed leaves nothing running; and what is mounted on cannot be removed.
    fn drop(&mut self) {
        for pid in self.pids() {
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let bin = self.path("bin").display().to_string();
        let _ = Command::new("sh").args(["-c", &format!("umount {bin}/*")]).status();
    }
}

//! A world of the test's own for a daemon and everything that it starts: namespaces, control
//! groups, /run, /etc and /var/lib. It ends with its first process, and nothing is left of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::groups::Groups;

/// The slowest thing here, a rolled update of a service, takes a tenth of this.
const LIMIT: Duration = Duration::from_secs(100);

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Its output, where it succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out.trim_end().to_owned()
    }

    /// Its output, where it ended with `status`.
    #[track_caller]
    pub fn ends_with(self, status: i32) -> String {
        assert_eq!(self.status, status, "{self:?}");
        format!("{}{}", self.out, self.err)
    }
}

pub struct World {
    dir: TempDir,
    groups: Groups,
    first: Child,
}

impl World {
    pub fn new() -> World {
        let dir = TempDir::with_prefix("corten-world-").unwrap();
        let groups = Groups::new();
        // `unshare` becomes the parent of the world's first process, which goes with it.
        let script = format!(
            "for file in {}; do echo $$ >$file; done\n\
             exec unshare --pid --fork --kill-child --mount --net --ipc --uts --cgroup \
             --mount-proc --propagation private sh -ec '{}' 3<&0",
            groups.join.join(" "),
            first_process(&groups.mounts),
        );
        let mut first = Command::new("sh")
            .args(["-ec", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = first.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the world was not made");
        World { dir, groups, first }
    }

    /// A directory for state that is too large for memory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A command in the world.
    pub fn command(&self, program: &str) -> Command {
        let pid = self.first.id();
        // Into the world's groups as well: it would see its own ones outside of the root.
        let script = format!(
            "for file in {}; do echo $$ >$file; done
             exec nsenter -t {pid} -m -n -i -u -C --pid=/proc/{pid}/ns/pid_for_children -- \"$@\"",
            self.groups.join.join(" ")
        );
        let mut command = Command::new("sh");
        command.args(["-ec", &script, "sh", program]).env("HOME", "/run/home").stdin(Stdio::null());
        // A dockerd that loses patience makes containerd write its stacks there.
        command.env("TMPDIR", self.dir());
        command
    }

    /// Runs a command that is written as in a shell, but without its quotes.
    pub fn run(&self, line: &str) -> Ran {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().unwrap());
        command.args(words);
        self.finish(command)
    }

    /// As [`World::run`], with a script for `sh -c` in the place of the last words.
    pub fn run_sh(&self, line: &str, script: &str) -> Ran {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().unwrap());
        command.args(words).args(["sh", "-c", script]);
        self.finish(command)
    }

    /// As [`World::run_sh`], on a terminal that script(1) makes.
    pub fn run_tty(&self, line: &str, script: &str) -> Ran {
        let mut command = self.command("script");
        command.args(["-qec", &format!("{line} sh -c '{script}'"), "/dev/null"]);
        self.finish(command)
    }

    pub fn finish(&self, mut command: Command) -> Ran {
        let (out, err) = (self.dir().join("out"), self.dir().join("err"));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let mut child = command.spawn().unwrap();
        let status = ended(&mut child, &command);
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        use std::os::unix::process::ExitStatusExt as _;
        let status = status.code().unwrap_or_else(|| -status.signal().unwrap());
        Ran { status, out: text(&out), err: text(&err) }
    }

    /// Starts a daemon, whose messages go to a file, and waits until `socket` is there.
    pub fn daemon(&self, mut command: Command, name: &str, socket: &str) {
        let log = self.dir().join(format!("{name}.log"));
        let messages = File::create(&log).unwrap();
        command.stdout(messages.try_clone().unwrap()).stderr(messages);
        // It ends with the world, which collects it.
        #[allow(clippy::zombie_processes)]
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        while self.run(&format!("test -S {socket}")).status != 0 {
            let gone = child.try_wait().unwrap();
            assert!(
                gone.is_none() && begun.elapsed() < LIMIT,
                "{name} does not listen ({gone:?}): {}",
                fs::read_to_string(&log).unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < LIMIT, "{what}: not after {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // With it goes its child, the first process, and with that the pid namespace.
        let _ = self.first.kill();
        let _ = self.first.wait();
        self.groups.remove();
    }
}

fn ended(child: &mut Child, command: &Command) -> std::process::ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("not ended after {LIMIT:?}: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the world's first process does.
fn first_process(mounts: &str) -> String {
    let overlay = "mount -t overlay -o lowerdir=$d,upperdir=$u/up,workdir=$u/work overlay $d";
    format!(
        "umount -l /mnt 2>/dev/null || true
         mount -t tmpfs -o mode=755 run /run
         mount -t tmpfs shm /dev/shm
         mkdir /run/home
         for d in /etc /var/lib; do
             u=/run/overlay$d; mkdir -p $u/up $u/work; {overlay}
         done
         {mounts}
         ip link set lo up
         echo ready
         # Waiting, it collects orphans; it ends with the test.
         cat <&3 >/dev/null & wait"
    )
}

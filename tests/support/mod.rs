//! What the tests of the whole engine stand on: the built `corten` with a state directory of its
//! own, and the image `busybox` made on the spot.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod building;
pub mod certificates;
pub mod daemon;
pub mod registry;
pub mod tree;
pub mod wire;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use corten_unionfs::fixture::LayerBuilder;

/// The names under which the tests use busybox.
const APPLETS: &str = "sh cat echo id env pwd ls touch true false sleep hostname stat readlink test \
    kill ps wc head mount ip tty stty grep seq mkdir rm dd cut tail unshare ln mv mknod mkfifo chmod chown \
    httpd nslookup nc";

/// How long a test waits for what should happen at once; the machine may be very busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A state directory, and what the host looked like before.
pub struct Host {
    dir: tempfile::TempDir,
    /// What the state directory lies on, the last one first.
    mounted: Vec<PathBuf>,
    mounts: String,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// A running `corten`; dropped, it is killed. Its container is then its host's to end.
pub struct Engine(pub Child);

impl Engine {
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its exit status; `None` where a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Outcome {
    /// Asserts that it went well, and returns its output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out
    }

    /// Asserts that it failed with `status` and one line that contains `why`.
    #[track_caller]
    pub fn fails(self, status: i32, why: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.err.contains(why), "wanted `{why}` in: {}", self.err);
        let lines: Vec<_> = self.err.lines().filter(|l| l.starts_with("corten: ")).collect();
        assert_eq!(lines.len(), 1, "one line says it: {}", self.err);
        assert!(self.err.ends_with(&format!("{}\n", lines[0])), "and it is last: {}", self.err);
    }
}

/// Gives this thread, and all that it starts, a network of its own: what containers are connected to
/// is not the machine's.
pub fn own_network() {
    thread_local!(static DONE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    if !DONE.replace(true) {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.unwrap().success(), "ip link set lo up");
    }
}

impl Host {
    pub fn new() -> Host {
        own_network();
        let dir = tempfile::tempdir().unwrap();
        Host { dir, mounted: Vec::new(), mounts: mounts() }
    }

    /// Whose layers are kept by this driver.
    pub fn on_driver(driver: &str) -> Host {
        let host = Host::new();
        let layers = host.root().join("layers");
        std::fs::create_dir_all(&layers).unwrap();
        let choice = format!("{{\"driver\":\"{driver}\"}}\n");
        std::fs::write(layers.join("driver.json"), choice).unwrap();
        host
    }

    /// Whose state directory is in memory, which has no more than `size`.
    pub fn on_small_disk(size: &str) -> Host {
        let mut host = Host::new();
        host.mount(&host.root(), &["-t", "tmpfs", "small", "-o", &format!("size={size}")]);
        host
    }

    /// Whose state directory is an overlay, with its directories in memory.
    pub fn on_overlay() -> Host {
        let mut host = Host::new();
        let memory = host.path("memory");
        host.mount(&memory, &["-t", "tmpfs", "memory"]);
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| memory.join(name));
        [&lower, &upper, &work].iter().for_each(|path| std::fs::create_dir(path).unwrap());
        let (lower, upper, work) = (text(&lower), text(&upper), text(&work));
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        host.mount(&host.root(), &["-t", "overlay", "state", "-o", &options]);
        host
    }

    fn mount(&mut self, directory: &Path, args: &[&str]) {
        std::fs::create_dir(directory).unwrap();
        assert!(Command::new("mount").args(args).arg(directory).status().unwrap().success());
        self.mounted.insert(0, directory.to_owned());
        self.mounts = mounts();
    }

    /// Takes away what the state directory lies on. Nobody may hold anything of it.
    pub fn unmount(&mut self) {
        for path in self.mounted.drain(..) {
            nix::mount::umount(&path).unwrap();
        }
    }

    /// With the image `busybox`.
    pub fn with_busybox() -> Host {
        let host = Host::new();
        host.import(&busybox_layer(), &["import", "-c", "CMD [\"sh\"]", "-", "busybox"]);
        host
    }

    pub fn import(&self, archive: &[u8], args: &[&str]) -> String {
        let path = self.path("archive.tar");
        std::fs::write(&path, archive).unwrap();
        let stdin = std::fs::File::open(&path).unwrap();
        let output = self.command(args).stdin(stdin).output().unwrap();
        std::fs::remove_file(&path).unwrap();
        outcome(output).ok()
    }

    /// A path beside the state directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn root(&self) -> PathBuf {
        self.path("state")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
        command.env("CORTEN_ROOT", self.root()).args(args).stdin(Stdio::null());
        command
    }

    pub fn corten(&self, args: &[&str]) -> Outcome {
        outcome(self.command(args).output().unwrap())
    }

    /// `corten run --rm busybox …`
    pub fn run(&self, args: &[&str]) -> Outcome {
        self.corten(&[&["run", "--rm", "busybox"], args].concat())
    }

    /// Starts `corten` with `args`, and waits until a container of it runs: its first process.
    pub fn start(&self, args: &[&str]) -> (Engine, i32) {
        let mut command = self.command(args);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let child = Engine(child);
        let pid = eventually("the container runs", || self.running_pid());
        (child, pid)
    }

    fn running_pid(&self) -> Option<i32> {
        self.running().map(|(pid, _)| pid)
    }

    /// The first process and the supervisor of a container that runs.
    pub fn running(&self) -> Option<(i32, i32)> {
        let containers = std::fs::read_dir(self.root().join("containers")).ok()?;
        containers.flatten().find_map(|entry| {
            let text = std::fs::read(entry.path().join("state.json")).ok()?;
            let state: serde_json::Value = serde_json::from_slice(&text).ok()?;
            let number = |name: &str| state[name].as_i64().unwrap() as i32;
            (state["status"] == "running").then(|| (number("pid"), number("supervisor")))
        })
    }

    /// The names in a directory of the state.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root().join(directory)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // The layer store's own: which driver it has, and its lock. The runtime's: its directory,
        // its compiled filters. The engine's: its index of names. What is left in those of networks,
        // tests/engine/network.rs looks at.
        let own = [
            "driver.json",
            ".gate",
            ".runtime",
            ".seccomp",
            ".names",
            "networks",
            "netns",
            "names",
        ];
        names.filter(|name| !own.contains(&&**name)).collect()
    }

    /// Lets engines start until supervisors have ended and nothing is left to be put in order.
    #[track_caller]
    pub fn settle(&self) {
        eventually("all is in order", || {
            self.corten(&["images"]).ok();
            self.names("running").is_empty().then_some(())
        });
    }

    /// No container, no mount, no process of one is left.
    #[track_caller]
    pub fn assert_clean(&self) {
        // Supervisors have things put in order, though nobody is left who asks.
        let places = ["containers", "running", "run"];
        let left = || places.iter().flat_map(|place| self.names(place)).collect::<Vec<_>>();
        eventually("no container is left", || left().is_empty().then_some(()));
        // A supervisor removes what is left of its container when it has told of its end.
        eventually("the runtime's state is empty", || {
            let is_there = self.root().join("run/.runtime").exists();
            (!is_there || self.names("run/.runtime").is_empty()).then_some(())
        });
        assert_eq!(mounts(), self.mounts, "the host's mounts have changed");
    }
}

impl Host {
    /// And no link of a container, no namespace, no address, no port, no note is left.
    #[track_caller]
    pub fn assert_no_trace(&self) {
        eventually("all is taken off its networks", || {
            self.corten(&["images"]).ok();
            let links = outcome(Command::new("ip").args(["-o", "link"]).output().unwrap()).out;
            (!links.contains("veth")).then_some(())
        });
        let state = self.root().join("run");
        for place in ["netns", "networks/pending", "networks/ports", "networks/containers"] {
            let left = std::fs::read_dir(state.join(place)).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{place}");
        }
        let find = "find $0/networks -path '*/addresses/*' -o -path '*/endpoints/*'";
        let found = Command::new("sh").args(["-c", find]).arg(&state).output().unwrap();
        assert_eq!(outcome(found).out, "");
        self.assert_clean();
    }
}

impl Drop for Host {
    /// A test that has failed leaves no container running.
    fn drop(&mut self) {
        let running = std::fs::read_dir(self.root().join("running"));
        for id in running.into_iter().flatten().flatten() {
            let _ = self.command(&["rm", "-f"]).arg(id.file_name()).output();
        }
        for path in &self.mounted {
            let _ = nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

/// Copies a directory with all that is in it.
pub fn copy(from: &Path, to: &Path) -> bool {
    Command::new("cp").arg("-a").args([from, to]).status().unwrap().success()
}

pub fn outcome(output: std::process::Output) -> Outcome {
    Outcome {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

/// Asks again until there is an answer.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < corten_tier::patience(PATIENCE), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process with this number is there and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

/// A root file system of busybox with two users, as a tar archive.
pub fn busybox_layer() -> Vec<u8> {
    busybox_layer_with(|layer| layer)
}

/// The same with something more.
pub fn busybox_layer_with(more: impl FnOnce(LayerBuilder) -> LayerBuilder) -> Vec<u8> {
    let mut layer = LayerBuilder::new().dir(".", 0o755).busybox(APPLETS);
    for (directory, mode) in [("etc", 0o755), ("tmp", 0o1777), ("proc", 0o555)] {
        layer = layer.dir(directory, mode);
    }
    layer = layer
        .file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\n")
        .file("etc/group", 0o644, "root:x:0:\nweb:x:33:\nextra:x:44:web,root\n")
        .file("bin/not-a-program", 0o755, "\u{7f}ELF and nothing more");
    more(layer).build()
}

/// A name that no other test has, also of this process.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("corten-{what}-{}-{number}", std::process::id())
}

/// The text of a path, for arguments.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

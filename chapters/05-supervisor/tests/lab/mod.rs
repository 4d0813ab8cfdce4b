//! A bundle with a busybox root, a supervisor for it, and what can be seen of both from outside.
#![allow(dead_code)]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use corten_supervisor::client::Client;
use corten_supervisor::protocol::{Attach, Exec, Operation};
use corten_supervisor::record::Exit;
use corten_supervisor::settings::{Cgroups, Log, Restart, Settings, Stop};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use serde_json::{Value, json};

pub mod proc;
pub mod sys;

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
        assert!(self.status == 0, "{self:?}");
        self.out.trim_end().to_owned()
    }
}

pub fn finish(child: Child) -> Ran {
    use std::os::unix::process::ExitStatusExt;
    let output = child.wait_with_output().unwrap();
    Ran {
        status: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub fn run(command: &mut Command) -> Ran {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap())
}

/// Runs it with `input`, which is all that comes.
pub fn run_with(command: &mut Command, input: &[u8]) -> Ran {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let ran = finish(child);
    feeding.join().unwrap();
    ran
}

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let (begun, limit) = (Instant::now(), corten_tier::patience(Duration::from_secs(30)));
    while !condition() {
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What takes a second here may take longer in an emulated machine.
pub fn slack() -> Duration {
    let in_vm = std::env::var_os(corten_tier::IN_VM).is_some();
    Duration::from_millis(if in_vm { 8000 } else { 1500 })
}

/// The binary under test: beside the tests on the host, in the PATH of the lab VM.
pub fn supervisor() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_corten-supervisor"));
    match std::env::var_os("CORTEN_SUPERVISOR_BIN") {
        Some(path) => PathBuf::from(path),
        None if built.exists() => built.to_path_buf(),
        None => PathBuf::from("corten-supervisor"),
    }
}

pub fn busybox() -> PathBuf {
    ["/usr/bin/busybox", "/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("the package busybox-static")
}

/// A bundle, the supervisors' directory, and names that no other test uses.
pub struct Lab {
    base: tempfile::TempDir,
    pub config: Value,
    pub settings: Settings,
    /// The program that supervises.
    pub program: PathBuf,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// Runs `script` in a shell.
    pub fn new(script: &str) -> Lab {
        let base = tempfile::Builder::new().prefix("corten-supervisor-").tempdir().unwrap();
        // State belongs on a tmpfs, as /run is.
        let state = base.path().join("run");
        fs::create_dir(&state).unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), &state, Some("tmpfs"), flags, None::<&str>).unwrap();
        let rootfs = base.path().join("bundle/rootfs");
        for directory in ["bin", "etc", "proc", "dev", "sys", "tmp", "root"] {
            fs::create_dir_all(rootfs.join(directory)).unwrap();
        }
        corten_tier::copy_program(busybox(), rootfs.join("bin/busybox"));
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        let id = format!("s{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = state.join("supervisors");
        let record = root.join(&id).join("record");
        let settings = Settings {
            id: id.clone(),
            bundle: base.path().join("bundle"),
            runtime_root: root.join(".runtime"),
            log: Some(Log {
                driver: "json-file".into(),
                path: record.join("output.log"),
                ..Log::default()
            }),
            record,
            cgroups: Cgroups::Cgroupfs,
            given_group: None,
            root: None,
            subpaths: Vec::new(),
            memory: None,
            journal: None,
            stdin: false,
            stdin_once: false,
            init: false,
            restart: Restart::No,
            stop: Stop { signal: libc::SIGTERM, timeout: 10 },
            health: None,
            auto_remove: false,
            leashed: false,
            after: Vec::new(),
            restarts: 0,
        };
        let mut config = default_config();
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        Lab { base, config, settings, program: supervisor() }
    }

    /// As [`Lab::new`], with the script's input open.
    pub fn with_input(script: &str) -> Lab {
        let mut lab = Lab::new(script);
        lab.settings.stdin = true;
        lab
    }

    pub fn id(&self) -> &str {
        &self.settings.id
    }

    pub fn base(&self) -> &Path {
        self.base.path()
    }

    /// The directory of all supervisors.
    pub fn root(&self) -> PathBuf {
        self.base.path().join("run/supervisors")
    }

    /// The directory of this one.
    pub fn directory(&self) -> PathBuf {
        self.root().join(self.id())
    }

    pub fn rootfs(&self) -> PathBuf {
        self.settings.bundle.join("rootfs")
    }

    /// The container sees the host's processes, and its orphans outlive it.
    pub fn share_processes(&mut self) {
        let namespaces = self.config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    }

    /// Writes the configuration, without the settings.
    pub fn write_config(&self) {
        let text = serde_json::to_string_pretty(&self.config).unwrap();
        fs::write(self.settings.bundle.join("config.json"), text).unwrap();
    }

    /// Writes the configuration and the settings.
    pub fn write(&self) {
        self.write_config();
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.settings.record).unwrap();
        self.settings.write(&self.directory()).unwrap();
    }

    /// A shim that waits for `start`, and the connection to it.
    pub fn shim(&self) -> (Client, Child) {
        self.write();
        let (family, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs) = socketpair(family, SockType::SeqPacket, None, flags).unwrap();
        let errors = self.directory().join("shim.log");
        let errors = fs::OpenOptions::new().append(true).create(true).open(errors).unwrap();
        let child = Command::new(&self.program)
            .arg0(corten_supervisor::launch::NAME)
            .arg(self.directory())
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::from(errors))
            .spawn()
            .unwrap();
        (Client::over(ours, self.id()), child)
    }

    /// A shim whose container runs. It is collected when it ends.
    pub fn started(&self) -> Client {
        let (mut client, mut child) = self.shim();
        std::thread::spawn(move || child.wait());
        client.start().unwrap_or_else(|error| panic!("{error}: {}", self.errors()));
        client
    }

    /// What the shim has to say that it can tell nobody.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.directory().join("shim.log")).unwrap_or_default()
    }

    /// Another connection.
    pub fn client(&self) -> Client {
        Client::connect(&self.directory(), self.id()).unwrap()
    }

    /// `corten-supervisor --root … VERB`.
    pub fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.root()).args(verb).current_dir(&self.settings.bundle);
        command
    }

    /// As [`Lab::command`] with the container's name behind it, until it ends.
    pub fn verb(&self, verb: &[&str]) -> Ran {
        run(self.command(verb).arg(self.id()))
    }

    /// `run`, of the configuration as it is.
    pub fn run(&self, options: &[&str]) -> Ran {
        self.write_config();
        self.verb(&[&["run"][..], options].concat())
    }

    /// The shim's number.
    pub fn shim_pid(&self) -> i32 {
        let lock = self.directory().join(corten_supervisor::shim::LOCK);
        fs::read_to_string(lock).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    pub fn exit(&self) -> Option<Exit> {
        Exit::read(&self.settings.record).unwrap()
    }

    /// How it ends, or has ended: the supervisor may be gone already, and then it is written.
    pub fn end_of(&self, client: &mut Client) -> Exit {
        match client.wait(false) {
            Err(corten_supervisor::Error::Gone { .. }) => self.exit().unwrap(),
            other => other.unwrap(),
        }
    }

    /// What the program has written, as its log has it; of both streams.
    pub fn log(&self) -> String {
        let path = &self.settings.log.as_ref().unwrap().path;
        let text = fs::read_to_string(path).unwrap_or_default();
        // The last line may just be being written.
        let lines = text.lines().map_while(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| line["log"].as_str().map(str::to_owned)).collect()
    }

    /// Waits for a line of its log.
    #[track_caller]
    pub fn said(&self, what: &str) {
        until(what, || self.log().contains(what));
    }

    /// A program to run in the container, as its first one runs.
    pub fn process(&self, args: &[&str]) -> Value {
        let mut process = self.config["process"].clone();
        process["args"] = json!(args);
        process["terminal"] = json!(false);
        process
    }

    pub fn exec(&self, args: &[&str], attach: Option<Attach>) -> Exec {
        Exec { process: self.process(args), attach, detach: false }
    }

    /// The control groups with the container's name.
    pub fn groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        find(Path::new("/sys/fs/cgroup"), self.id(), &mut found, 0);
        found
    }

    /// The content of a file of the container's control groups.
    pub fn group_file(&self, name: &str) -> String {
        let mut texts = self.groups().into_iter().filter_map(|group| {
            fs::read_to_string(group.join(name)).ok().map(|text| text.trim().to_owned())
        });
        texts.next().unwrap_or_default()
    }

    /// That nothing is left but the files of the supervisor's own directory: no process, no control
    /// group, no state of the runtime's, no mount.
    #[track_caller]
    pub fn nothing_left(&self) {
        let mut last = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < corten_tier::patience(Duration::from_secs(20)) {
            last = self.left();
            if last.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("left: {last:?}");
    }

    fn left(&self) -> Vec<String> {
        let mut left: Vec<String> =
            self.groups().iter().map(|group| format!("group {}", group.display())).collect();
        let base = self.base.path().to_string_lossy().into_owned();
        for pid in proc::all() {
            let holds = proc::read(pid, "cgroup").contains(&format!("/{}", self.id()))
                || proc::read(pid, "cmdline").contains(&self.directory().display().to_string());
            if holds && !proc::stat(pid).is_zombie() {
                left.push(format!("process {pid} {:?}", proc::read(pid, "cmdline")));
            }
        }
        let states = fs::read_dir(&self.settings.runtime_root).into_iter().flatten().flatten();
        left.extend(
            states
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .filter(|name| !name.starts_with('.') && name != "seccomp"),
        );
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let ours = mounts.lines().filter(|line| line.contains(&base)).skip(1);
        left.extend(ours.map(|line| format!("mount {line}")));
        left
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Ok(mut client) = Client::connect(&self.directory(), self.id()) {
            let _ = client.perform(Operation::Policy(Restart::No));
            let _ = client.perform(Operation::Resume);
            let _ = client.stop(Some(libc::SIGKILL), Some(0));
        }
        let begun = Instant::now();
        while self.shim_pid() > 0
            && proc::read(self.shim_pid(), "cmdline").contains(self.id())
            && begun.elapsed() < Duration::from_secs(10)
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.verb(&["rm"]);
        let state = self.base.path().join("run");
        let _ = nix::mount::umount2(&state, nix::mount::MntFlags::MNT_DETACH);
    }
}

fn find(directory: &Path, name: &str, found: &mut Vec<PathBuf>, depth: u32) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())) {
        if entry.file_name() == name {
            found.push(entry.path());
        } else if depth < 2 {
            find(&entry.path(), name, found, depth + 1);
        }
    }
}

/// All streams, waited for.
pub fn all_streams() -> Attach {
    Attach { stdin: true, stdout: true, stderr: true, wait: true, detach_keys: Vec::new() }
}

/// Output only, waited for.
pub fn output_streams() -> Attach {
    Attach { stdin: false, ..all_streams() }
}

/// Reads to the end.
pub fn read_all(streams: OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    match fs::File::from(streams).read_to_end(&mut bytes) {
        // A shim that was killed, or a client that was dropped with bytes on the way.
        Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {}
        other => drop(other.unwrap()),
    }
    bytes
}

/// Takes frames apart: standard output, and error.
#[track_caller]
pub fn frames(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let [stream, 0, 0, 0, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (now, after) = rest.split_at(length.min(rest.len()));
        match stream {
            1 => out.extend(now),
            2 => err.extend(now),
            other => panic!("a frame of stream {other}"),
        }
        bytes = after;
    }
    assert!(bytes.is_empty(), "no frame: {:?}", &bytes[..bytes.len().min(16)]);
    (out, err)
}

/// Output to the end, without its frames.
#[track_caller]
pub fn output(streams: OwnedFd) -> String {
    String::from_utf8_lossy(&frames(&read_all(streams)).0).into_owned()
}

/// Writes all of it.
pub fn write(streams: &OwnedFd, bytes: &[u8]) {
    let mut file = fs::File::from(streams.try_clone().unwrap());
    file.write_all(bytes).unwrap();
}

/// Ends our direction.
pub fn end_input(streams: &OwnedFd) {
    use std::os::fd::AsRawFd;
    shutdown(streams.as_fd().as_raw_fd(), Shutdown::Write).unwrap();
}

const APPLETS: [&str; 36] = [
    "sh", "cat", "echo", "true", "false", "sleep", "kill", "ls", "id", "pwd", "env", "head", "dd",
    "seq", "yes", "tail", "wc", "readlink", "stty", "mkdir", "rm", "touch", "test", "date",
    "printf", "sync", "ps", "tr", "grep", "nc", "setsid", "find", "usleep", "md5sum", "cut",
    "sort",
];

fn default_config() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities
            },
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "corten",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}
        ],
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "network"}, {"type": "cgroup"}
            ],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]}
        }
    })
}

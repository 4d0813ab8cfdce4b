//! A bundle to attack a runtime with, and the runtimes: ours, ours with a defence taken out, and
//! Debian's crun and runc.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::weak;

const LIMIT: Duration = Duration::from_secs(60);

/// Who is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    Corten,
    /// Ours without a defence, by the name that [`weak`] knows it by.
    Weak(&'static str),
    Crun,
    Runc,
}

impl Runtime {
    fn program(self) -> PathBuf {
        match self {
            Runtime::Corten => corten(),
            Runtime::Weak(_) => std::env::current_exe().unwrap(),
            Runtime::Crun => "/usr/bin/crun".into(),
            Runtime::Runc => "/usr/sbin/runc".into(),
        }
    }
}

/// The binary under test: beside the tests on the host, in the PATH of the lab VM.
pub fn corten() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_corten-runtime"));
    if built.exists() {
        return built.to_owned();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("corten-runtime"));
    found.into_iter().find(|path| path.exists()).expect("corten-runtime")
}

/// How an attack ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The attacker has what he wanted.
    Succeeded,
    /// He has not; what was said.
    Stopped(String),
}

/// What a command did: its status, and what it wrote on both streams.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    pub text: String,
}

impl Ran {
    /// What the runtime or the container says last.
    pub fn stopped(&self) -> Outcome {
        let line = self.text.trim().lines().last().unwrap_or_default();
        Outcome::Stopped(line.chars().filter(|c| !c.is_control()).collect())
    }
}

pub struct Lab {
    dir: TempDir,
    runtime: Runtime,
    id: String,
    pub config: Value,
}

impl Lab {
    /// A bundle with a busybox root and Docker's usual rights; and a copy of the runtime, so that
    /// what an attack does to it does no harm.
    pub fn new(runtime: Runtime) -> Lab {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("corten-attack-{}-{number}", std::process::id());
        let dir = TempDir::with_prefix("corten-attack-").unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let lab = Lab { dir, runtime, config: config(&id), id };
        for name in ["bin", "proc", "dev", "sys", "tmp", "etc", "usr", "vol"] {
            fs::create_dir_all(lab.rootfs().join(name)).unwrap();
        }
        let busybox = ["/usr/bin/busybox", "/bin/busybox"].map(Path::new);
        let busybox = busybox.into_iter().find(|path| path.exists()).expect("busybox-static");
        copy(busybox, &lab.rootfs().join("bin/busybox"));
        let listing = Command::new(busybox).arg("--list").output().unwrap();
        for applet in String::from_utf8(listing.stdout).unwrap().lines() {
            let _ = symlink("busybox", lab.rootfs().join("bin").join(applet));
        }
        copy(&runtime.program(), &lab.program());
        lab
    }

    /// The host's side.
    pub fn outside(&self) -> &Path {
        self.dir.path()
    }

    pub fn rootfs(&self) -> PathBuf {
        self.outside().join("rootfs")
    }

    pub fn program(&self) -> PathBuf {
        self.outside().join("runtime")
    }

    /// Whether the runtime's file is what it was.
    pub fn program_is_whole(&self) -> bool {
        fs::read(self.program()).unwrap() == fs::read(self.runtime.program()).unwrap()
    }

    /// A directory of the host, for a volume.
    pub fn volume(&self, name: &str) -> PathBuf {
        let path = self.outside().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn script(&mut self, script: &str) {
        self.config["process"]["args"] = json!(["/bin/sh", "-c", script]);
    }

    pub fn mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }

    pub fn bind(&mut self, from: &Path, to: &str) {
        self.mount(json!({
            "destination": to, "source": from, "type": "bind", "options": ["rbind", "rw"],
        }));
    }

    pub fn unmount(&mut self, destination: &str) {
        let mounts = self.config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != destination);
    }

    /// Shows the libraries of the host, for programs that are linked dynamically.
    pub fn show_libraries(&mut self) {
        self.mount(json!({
            "destination": "/usr", "source": "/usr", "type": "bind", "options": ["rbind", "ro"],
        }));
        for name in ["lib", "lib64"] {
            symlink(format!("usr/{name}"), self.rootfs().join(name)).unwrap();
        }
    }

    /// The command `run` or `exec`; `more` are the options that only a caller of runc's kind has.
    pub fn command(&self, verb: &str, more: &[&str]) -> Command {
        let text = serde_json::to_string_pretty(&self.config).unwrap();
        fs::write(self.outside().join("config.json"), text).unwrap();
        let mut command = Command::new(self.program());
        command.stdin(Stdio::null()).current_dir(self.outside());
        if let Runtime::Weak(weakness) = self.runtime {
            weak::arguments(&mut command, weakness, verb, self.outside(), &self.id, more);
            return command;
        }
        command.arg("--root").arg(self.outside().join("state"));
        if self.runtime != Runtime::Runc {
            command.arg("--cgroup-manager=disabled");
        }
        command.arg(verb);
        if verb == "run" {
            command.arg("--bundle").arg(self.outside());
        }
        command.args(more).arg(&self.id);
        command
    }

    /// Runs the container to its end, and deletes it.
    pub fn run(&self) -> Ran {
        let ran = finish(self.command("run", &[]));
        self.delete();
        ran
    }

    /// Starts the container, which says `ready`, and lets the runtime end: as long as that runs,
    /// nobody can write to its file.
    pub fn start(&self) -> Running<'_> {
        let file = File::create(self.outside().join("running")).unwrap();
        let mut command = self.command("run", &["--detach"]);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let status = command.status().unwrap();
        let running = Running { lab: self };
        assert!(status.success(), "{}", running.text());
        until(|| running.text().contains("ready"), || running.text());
        running
    }

    /// Runs another process in the container.
    pub fn exec(&self, process: &Value, more: &[&str]) -> Ran {
        let file = self.outside().join("process.json");
        fs::write(&file, process.to_string()).unwrap();
        let mut options = vec!["--process", file.to_str().unwrap()];
        options.extend(more);
        finish(self.command("exec", &options))
    }

    /// A process for [`Lab::exec`] with the container's own rights.
    pub fn process(&self, args: &[&str]) -> Value {
        let mut process = self.config["process"].clone();
        process["args"] = json!(args);
        process
    }

    pub fn delete(&self) {
        // A weakened runtime keeps its state as ours does.
        let program = match self.runtime {
            Runtime::Weak(_) => corten(),
            other => other.program(),
        };
        let mut command = Command::new(program);
        command.arg("--root").arg(self.outside().join("state"));
        command.args(["delete", "--force", &self.id]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.delete();
    }
}

/// A container that runs.
pub struct Running<'a> {
    lab: &'a Lab,
}

impl Running<'_> {
    /// What it has written.
    pub fn text(&self) -> String {
        fs::read_to_string(self.lab.outside().join("running")).unwrap()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.lab.delete();
    }
}

/// By another process: one that this process starts meanwhile, for another test, would have the
/// file open for writing a moment longer, and what is open for writing cannot be executed.
pub fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

pub fn until(mut condition: impl FnMut() -> bool, text: impl Fn() -> String) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "not after {LIMIT:?}: {}", text());
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn finish(mut command: Command) -> Ran {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.flush().unwrap();
    command.stdout(file.reopen().unwrap()).stderr(file.reopen().unwrap());
    // Both streams at the end of the file, whoever writes.
    let append = || fs::OpenOptions::new().append(true).open(file.path()).unwrap();
    command.stdout(append()).stderr(append());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if begun.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = String::from_utf8_lossy(&fs::read(file.path()).unwrap()).into_owned();
    Ran { status, text }
}

fn config(id: &str) -> Value {
    let rights = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE",
    ];
    let namespaces = ["pid", "network", "ipc", "uts", "mount"];
    json!({
        // crun of Debian 12 knows no later one.
        "ociVersion": "1.0.0",
        "hostname": "attacked",
        "root": { "path": "rootfs" },
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": { "bounding": rights, "effective": rights, "permitted": rights },
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["newinstance", "ptmxmode=0666", "mode=0620"] },
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "namespaces": namespaces.map(|kind| json!({ "type": kind })),
        },
    })
}

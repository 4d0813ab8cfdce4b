//! A bundle with a busybox root, and the runtime to run it with.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Its output, where it succeeded and said nothing on standard error.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status == 0 && self.err.is_empty(), "{self:?}");
        self.out.trim_end().to_owned()
    }

    /// What it said, where it failed.
    #[track_caller]
    pub fn failed(self) -> String {
        assert!(self.status != 0 && self.err.contains("error"), "{self:?}");
        self.err
    }
}

pub fn finish(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    use std::os::unix::process::ExitStatusExt;
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

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The binary under test: beside the tests on the host, in the PATH of the lab VM.
pub fn runtime() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_corten-runtime"));
    match std::env::var_os("CORTEN_RUNTIME_BIN") {
        Some(path) => PathBuf::from(path),
        None if built.exists() => built.to_path_buf(),
        None => PathBuf::from("corten-runtime"),
    }
}

/// A bundle, a state directory, and names that no other test uses.
pub struct Lab {
    base: tempfile::TempDir,
    pub config: Value,
    pub runtime: PathBuf,
    id: String,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Lab {
    pub fn new() -> Lab {
        let base = tempfile::Builder::new().prefix("corten-runtime-").tempdir().unwrap();
        // The state belongs on a tmpfs, as /run is.
        fs::create_dir(base.path().join("state")).unwrap();
        let flags = nix::mount::MsFlags::empty();
        let state = base.path().join("state");
        nix::mount::mount(Some("tmpfs"), &state, Some("tmpfs"), flags, None::<&str>).unwrap();
        let rootfs = base.path().join("bundle/rootfs");
        for directory in ["bin", "etc", "proc", "dev", "sys", "tmp", "root"] {
            fs::create_dir_all(rootfs.join(directory)).unwrap();
        }
        corten_tier::copy_program(busybox(), rootfs.join("bin/busybox"));
        let applets = Command::new(busybox()).arg("--list").output().unwrap().stdout;
        for applet in String::from_utf8(applets).unwrap().lines().filter(|a| *a != "busybox") {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        let spec =
            run(Command::new(runtime()).arg("spec").arg("--bundle").arg(rootfs.parent().unwrap()));
        spec.ok();
        let path = base.path().join("bundle/config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["root"]["readonly"] = json!(false);
        config["process"]["rlimits"] = json!([]);
        let id = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Lab { base, config, runtime: runtime(), id }
    }

    pub fn with_args(args: &[&str]) -> Lab {
        let mut lab = Lab::new();
        lab.args(args);
        lab
    }

    pub fn shell(script: &str) -> Lab {
        Lab::with_args(&["sh", "-c", script])
    }

    pub fn args(&mut self, args: &[&str]) {
        self.config["process"]["args"] = json!(args);
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn base(&self) -> &Path {
        self.base.path()
    }

    pub fn bundle(&self) -> PathBuf {
        self.base.path().join("bundle")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    pub fn state_root(&self) -> PathBuf {
        self.base.path().join("state/r")
    }

    /// Writes the configuration.
    pub fn write(&self) {
        let text = serde_json::to_string_pretty(&self.config).unwrap();
        fs::write(self.bundle().join("config.json"), text).unwrap();
    }

    /// `corten-runtime --root … VERB`.
    pub fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(self.state_root()).args(verb).current_dir(self.bundle());
        command
    }

    /// As [`Lab::command`] with the container's name behind the verb.
    pub fn verb(&self, verb: &[&str]) -> Ran {
        run(self.command(verb).arg(&self.id))
    }

    /// `run`, of the configuration as it is.
    pub fn run(&self) -> Ran {
        self.write();
        self.verb(&["run"])
    }

    /// `create`, with nothing attached: the container inherits descriptors.
    pub fn create(&self) -> Ran {
        self.write();
        self.create_with(&[])
    }

    pub fn create_with(&self, options: &[&str]) -> Ran {
        let said = self.base.path().join("create.err");
        let out = fs::File::create(self.base.path().join("out")).unwrap();
        let mut command = self.command(&["create"]);
        command.args(options).arg(&self.id);
        command.stdin(Stdio::null()).stdout(out).stderr(fs::File::create(&said).unwrap());
        let status = command.status().unwrap();
        let err = fs::read_to_string(&said).unwrap();
        Ran { status: status.code().unwrap_or(-1), out: String::new(), err }
    }

    /// What the container has written so far.
    pub fn output(&self) -> String {
        fs::read_to_string(self.base.path().join("out")).unwrap().trim_end().to_owned()
    }

    pub fn status(&self) -> String {
        let state: Value = serde_json::from_str(&self.verb(&["state"]).ok()).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    pub fn pid(&self) -> i32 {
        let state: Value = serde_json::from_str(&self.verb(&["state"]).ok()).unwrap();
        state["pid"].as_i64().unwrap() as i32
    }

    #[track_caller]
    pub fn wait_for(&self, status: &str) {
        until(status, || self.status() == status);
    }

    /// That nothing is left: no state, no control group, no process.
    #[track_caller]
    pub fn nothing_left(&self) {
        until("nothing left", || {
            let files = fs::read_dir(self.state_root()).map_or(0, |entries| {
                entries.flatten().filter(|entry| entry.file_name() != ".seccomp").count()
            });
            files == 0 && self.groups().is_empty()
        });
    }

    /// The control groups with the container's name.
    pub fn groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        find(Path::new("/sys/fs/cgroup"), &self.id, &mut found, 0);
        found
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = run(self.command(&["delete", "--force"]).arg(&self.id));
        let state = self.base.path().join("state");
        let _ = nix::mount::umount2(&state, nix::mount::MntFlags::MNT_DETACH);
    }
}

fn find(directory: &Path, name: &str, found: &mut Vec<PathBuf>, depth: u32) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())) {
        if entry.file_name() == name {
            found.push(entry.path());
        } else if depth < 5 {
            find(&entry.path(), name, found, depth + 1);
        }
    }
}

pub fn busybox() -> PathBuf {
    ["/usr/bin/busybox", "/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("the package busybox-static")
}

/// Adds a mount to a configuration.
pub fn add_mount(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().unwrap().push(mount);
}

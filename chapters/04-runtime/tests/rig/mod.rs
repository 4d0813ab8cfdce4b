//! What the black-box tests of this chapter share: bundles of busybox, and an OCI runtime that is
//! called by its command line only, so that the same checks can be made of any runtime.
//!
//! `CORTEN_CONFORMANCE_RUNTIME` names the runtime; without it, it is ours. A check that this machine
//! cannot make says so ([`skip`]), and `CORTEN_CONFORMANCE_SKIPS` names a file that collects that.
// Each test target compiles this module, and none uses all of it.
#![allow(dead_code)]

pub mod cgroup;
pub mod config;
pub mod json;
pub mod sys;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Nothing here takes a tenth of this.
const LIMIT: Duration = Duration::from_secs(20);

/// The runtime's program.
pub fn runtime() -> PathBuf {
    std::env::var_os("CORTEN_CONFORMANCE_RUNTIME")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_corten-runtime")), PathBuf::from)
}

/// Whether the runtime's program has this name.
pub fn is(name: &str) -> bool {
    runtime().file_name().is_some_and(|file| file == name)
}

/// Says that this machine cannot make the check.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
    if let Some(path) = std::env::var_os("CORTEN_CONFORMANCE_SKIPS") {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().write_all(format!("{name}\t{reason}\n").as_bytes()).unwrap();
    }
}

/// What a command of the runtime left.
#[derive(Debug)]
pub struct Done {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// Panics where it failed, or succeeded and wrote to standard error.
    #[track_caller]
    pub fn ok(self) -> Done {
        assert!(self.status.success(), "it failed: {self:?}");
        assert_eq!(self.stderr, "", "it succeeded, and wrote to standard error");
        self
    }

    /// Panics where it succeeded, or failed without saying so.
    #[track_caller]
    pub fn failed(self) -> Done {
        assert!(!self.status.success(), "it succeeded: {self:?}");
        assert!(!self.stderr.is_empty(), "it says nothing: {self:?}");
        self
    }
}

/// A container to be: a bundle, a state directory of its own, an id.
pub struct Container {
    dir: TempDir,
    pub id: String,
    pub config: Value,
    created: bool,
}

impl Container {
    /// A bundle of busybox with the configuration that every caller begins with.
    pub fn new() -> Container {
        cgroup::prepare();
        let dir = TempDir::with_prefix("corten-conf-").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // Not the prefix: pids and threads share it, and a cgroup may be named after the id.
        let id = dir.path().file_name().unwrap().to_string_lossy().replace('.', "-");
        let container = Container { dir, id, config: config::usual(), created: false };
        let rootfs = container.rootfs();
        for name in ["bin", "proc", "dev", "sys", "tmp", "etc", "mnt", "root"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        corten_tier::copy_program(busybox(), rootfs.join("bin/busybox"));
        for applet in applets().iter().filter(|name| *name != "busybox") {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::create_dir(container.outside().join("state")).unwrap();
        container
    }

    /// With a shell script as its program.
    pub fn script(script: &str) -> Container {
        let mut container = Container::new();
        container.set("/process/args", ["/bin/sh", "-c", script]);
        container
    }

    /// Whose program sleeps.
    pub fn sleeper() -> Container {
        let mut container = Container::new();
        container.set("/process/args", ["/bin/sleep", "1000"]);
        container
    }

    /// The directory with the bundle, the state, and room for more.
    pub fn outside(&self) -> &Path {
        self.dir.path()
    }

    pub fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Sets a field of config.json, making what is missing on the way; see [`json::set`].
    pub fn set<T: serde::Serialize>(&mut self, pointer: &str, value: T) -> &mut Container {
        json::set(&mut self.config, pointer, serde_json::to_value(value).unwrap());
        self
    }

    /// Adds to a list of config.json.
    pub fn push<T: serde::Serialize>(&mut self, pointer: &str, value: T) -> &mut Container {
        json::push(&mut self.config, pointer, serde_json::to_value(value).unwrap());
        self
    }

    /// Removes a field.
    pub fn remove(&mut self, pointer: &str) -> &mut Container {
        json::remove(&mut self.config, pointer);
        self
    }

    /// Leaves out a namespace.
    pub fn share(&mut self, namespace: &str) -> &mut Container {
        let list = self.config.pointer_mut("/linux/namespaces").unwrap().as_array_mut().unwrap();
        list.retain(|entry| entry["type"] != namespace);
        self
    }

    /// Writes config.json.
    pub fn write(&self) {
        fs::create_dir_all(self.bundle()).unwrap();
        let text = serde_json::to_vec_pretty(&self.config).unwrap();
        fs::write(self.bundle().join("config.json"), text).unwrap();
    }

    /// The runtime with `--root` and `arguments`.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(runtime());
        command.arg("--root").arg(self.root()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs it to its end. Output goes to files: a container inherits it, so a pipe would stay open
    /// as long as that lives.
    pub fn call<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Done {
        self.finish(self.command(arguments), "call")
    }

    fn finish(&self, mut command: Command, name: &str) -> Done {
        let (out, err) = (self.file(name, "out"), self.file(name, "err"));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let status = wait(command.spawn().unwrap());
        Done { status, stdout: read(&out), stderr: read(&err) }
    }

    fn file(&self, name: &str, kind: &str) -> PathBuf {
        self.outside().join(format!("{name}.{kind}"))
    }

    /// `create`, whatever comes of it. The container's output is in files of its own.
    pub fn create_with(&mut self, options: &[&str]) -> Done {
        self.write();
        let bundle = self.bundle();
        let mut command = self.command(&["create", "--bundle", bundle.to_str().unwrap()]);
        command.args(options).arg(&self.id);
        self.created = true;
        self.finish(command, "create")
    }

    /// `create`, which must succeed and be silent.
    #[track_caller]
    pub fn create(&mut self) -> &mut Container {
        self.create_with(&[]).ok();
        self
    }

    /// `create`, which must fail, say why, and leave nothing: what it said.
    #[track_caller]
    pub fn refused(&mut self) -> String {
        let done = self.create_with(&[]).failed();
        let state = self.call(&["state", &self.id]);
        assert!(!state.status.success(), "a container is left: {state:?}");
        done.stderr
    }

    /// `start`, which must succeed and be silent.
    #[track_caller]
    pub fn start(&mut self) -> &mut Container {
        self.call(&["start", &self.id]).ok();
        self
    }

    /// `create` and `start`.
    #[track_caller]
    pub fn started(&mut self) -> &mut Container {
        self.create();
        self.start()
    }

    /// Runs the container to its end; what its program wrote. Standard error must stay empty.
    #[track_caller]
    pub fn output(&mut self) -> String {
        self.started();
        self.wait_for("stopped");
        assert_eq!(read(&self.file("create", "err")), "", "the program's standard error");
        self.written()
    }

    /// What its program has written so far.
    pub fn written(&self) -> String {
        read(&self.file("create", "out"))
    }

    /// What `state` prints.
    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.call(&["state", &self.id]).ok().stdout).unwrap()
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().unwrap() as i32
    }

    #[track_caller]
    pub fn wait_for(&self, status: &str) {
        let end = Instant::now() + LIMIT;
        while self.status() != status {
            assert!(Instant::now() < end, "it does not become {status}: {}", self.state());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    pub fn kill(&self, signal: &str) -> &Container {
        self.call(&["kill", &self.id, signal]).ok();
        self
    }

    #[track_caller]
    pub fn delete(&mut self) {
        self.call(&["delete", &self.id]).ok();
        self.created = false;
    }

    /// `exec`, with options before the id and the command after it.
    pub fn exec_with(&self, options: &[&str], command: &[&str]) -> Done {
        let arguments = [&["exec"], options, &[self.id.as_str()], command].concat();
        self.call(&arguments)
    }

    /// `exec`, which must succeed; what the command wrote.
    #[track_caller]
    pub fn exec(&self, command: &[&str]) -> String {
        self.exec_with(&[], command).ok().stdout
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.created {
            // A runtime that is broken on purpose may need to be told more than once.
            for _ in 0..20 {
                if self.call(&["delete", "--force", &self.id]).status.success() {
                    break;
                }
                let _ = self.call(&["kill", &self.id, "KILL"]);
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        // Where the container shared the mount namespace, its root may still be mounted.
        let _ = nix::mount::umount2(&self.rootfs(), nix::mount::MntFlags::MNT_DETACH);
    }
}

/// Waits for the end of a program, which must come.
pub fn wait(mut child: std::process::Child) -> ExitStatus {
    wait_for(&mut child)
}

/// The same for one whose pipes are wanted afterwards.
pub fn wait_for(child: &mut std::process::Child) -> ExitStatus {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            panic!("it does not end: {child:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The descriptors that this process hands on to all that it starts, beside the first three: a
/// shell that runs the tests may have left some.
pub fn inherited() -> Vec<i32> {
    let open = |number: &i32| {
        let info = read(format!("/proc/self/fdinfo/{number}").as_ref());
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.is_some_and(|flags| u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 == 0)
    };
    (3..1024).filter(open).collect()
}

/// A file's text, empty where there is none.
pub fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

pub fn busybox() -> PathBuf {
    ["/usr/bin/busybox", "/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("busybox is needed: ./x doctor")
}

fn applets() -> &'static [String] {
    static APPLETS: OnceLock<Vec<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let output = Command::new(busybox()).arg("--list").output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    })
}

//! What the tests of this chapter share: a root file system made of busybox, containers by library
//! and by command line with their output, and the traces that a container may leave.
// Each test target compiles this module, and none uses all of it.
#![allow(dead_code)]

pub mod pty;
pub mod race;
pub mod sys;
pub mod trace;

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use corten_namespaces::config::RootSwitch;
use corten_namespaces::{Config, Container, Exit, Namespace, Plan, Process, Result, Rootfs};
use tempfile::TempDir;

/// Nothing here takes a tenth of this; a test that hangs is killed and fails.
const LIMIT: Duration = Duration::from_secs(30);

/// The namespaces that `corten-namespaces run` makes where none is named.
pub const USUAL: [Namespace; 6] = [
    Namespace::Mount,
    Namespace::Pid,
    Namespace::Net,
    Namespace::Ipc,
    Namespace::Uts,
    Namespace::Cgroup,
];

/// A directory with `rootfs/` in it, and room beside it for what must stay out of reach.
pub struct Lab {
    dir: TempDir,
}

impl Lab {
    /// A root file system of busybox with a link for each of its commands.
    pub fn new() -> Lab {
        let dir = TempDir::with_prefix("corten-ns-").unwrap();
        // Root in a user namespace is nobody here, and must be able to walk to the rootfs.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let lab = Lab { dir };
        for name in ["bin", "proc", "dev", "sys", "tmp", "etc", "mnt", "root"] {
            fs::create_dir_all(lab.rootfs().join(name)).unwrap();
        }
        corten_tier::copy_program(busybox(), lab.rootfs().join("bin/busybox"));
        for applet in applets().iter().filter(|name| *name != "busybox") {
            symlink("busybox", lab.rootfs().join("bin").join(applet)).unwrap();
        }
        fs::set_permissions(lab.rootfs().join("tmp"), Permissions::from_mode(0o1777)).unwrap();
        lab
    }

    /// The directory above the root file system: the host's side.
    pub fn outside(&self) -> &Path {
        self.dir.path()
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    /// A file of the host beside the root file system.
    pub fn secret(&self) -> PathBuf {
        let path = self.outside().join("secret");
        fs::write(&path, "host-secret\n").unwrap();
        path
    }

    /// A container of the usual kind that runs `script`, with all capabilities.
    pub fn config(&self, script: &str) -> Config {
        Config {
            namespaces: USUAL.into_iter().collect(),
            rootfs: Some(rootfs(self.rootfs())),
            process: shell(script),
            die_with_parent: true,
            ..Config::default()
        }
    }

    /// `corten-namespaces run --rootfs … OPTIONS -- sh -c SCRIPT`.
    pub fn run(&self, options: &[&str], script: &str) -> Ran {
        finish(self.start(options, script))
    }

    pub fn start(&self, options: &[&str], script: &str) -> Child {
        self.command(options, &["sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub fn command(&self, options: &[&str], argv: &[&str]) -> Command {
        let mut command = corten();
        command.arg("run").arg("--rootfs").arg(self.rootfs()).args(options).arg("--").args(argv);
        command
    }
}

pub fn rootfs(path: impl Into<PathBuf>) -> Rootfs {
    Rootfs { path: path.into(), mount: None, switch: RootSwitch::Pivot }
}

pub fn shell(script: &str) -> Process {
    Process { args: ["sh", "-c", script].map(String::from).into(), ..Process::default() }
}

pub fn busybox() -> PathBuf {
    ["/usr/bin/busybox", "/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("the package busybox-static")
}

fn applets() -> &'static [String] {
    static APPLETS: OnceLock<Vec<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let output = Command::new(busybox()).arg("--list").output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    })
}

/// The binary under test: beside the tests on the host, in the PATH of the lab VM.
pub fn corten() -> Command {
    let built = Path::new(env!("CARGO_BIN_EXE_corten-namespaces"));
    let mut command = match std::env::var_os("CORTEN_NAMESPACES_BIN") {
        Some(path) => Command::new(path),
        None if built.exists() => Command::new(built),
        None => Command::new("corten-namespaces"),
    };
    command.stdin(Stdio::null());
    command
}

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
        assert!(self.status == 0 && self.err.is_empty(), "{self:?}");
        self.out.trim_end().to_owned()
    }
}

/// Runs `corten-namespaces` with `arguments`.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    run_command(corten().args(arguments))
}

pub fn run_command(command: &mut Command) -> Ran {
    finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Waits for the end of `child`, but not for ever. Its output must fit the pipes.
pub fn finish(mut child: Child) -> Ran {
    let status = ended(&mut child);
    let (mut out, mut err) = (String::new(), String::new());
    if let Some(pipe) = &mut child.stdout {
        pipe.read_to_string(&mut out).unwrap();
    }
    if let Some(pipe) = &mut child.stderr {
        pipe.read_to_string(&mut err).unwrap();
    }
    use std::os::unix::process::ExitStatusExt;
    Ran { status: status.code().unwrap_or_else(|| -status.signal().unwrap()), out, err }
}

pub fn ended(child: &mut Child) -> std::process::ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > corten_tier::patience(LIMIT) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("not ended after {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < corten_tier::patience(LIMIT), "{what}: not after {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `config`, changed as a plan by `change`, and gives its end and what it wrote.
pub fn capture(mut config: Config, change: impl FnOnce(&mut Plan)) -> Result<(Exit, String)> {
    let mut file = tempfile::tempfile().unwrap();
    let copy = || OwnedFd::from(file.try_clone().unwrap());
    config.process.stdio =
        [Some(File::open("/dev/null").unwrap().into()), Some(copy()), Some(copy())];
    let mut plan = Plan::new(config)?;
    change(&mut plan);
    let exit = plan.spawn()?.wait()?;
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    Ok((exit, text.trim_end().to_owned()))
}

/// As [`capture`], of the plan as it is, which must succeed.
#[track_caller]
pub fn output(config: Config) -> String {
    let (exit, text) = capture(config, |_| {}).unwrap();
    assert_eq!(exit, Exit::Code(0), "{text}");
    text
}

/// A container with which the test talks by lines.
pub struct Talk {
    pub container: Container,
    pub input: File,
    pub output: BufReader<File>,
}

impl Talk {
    pub fn start(mut config: Config) -> Talk {
        use nix::fcntl::OFlag;
        let (theirs_in, input) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let (output, theirs_out) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        config.process.stdio = [Some(theirs_in), Some(theirs_out), None];
        let container = Plan::new(config).unwrap().spawn().unwrap();
        Talk { container, input: input.into(), output: BufReader::new(output.into()) }
    }

    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }
}

/// Makes the mounts of this test's own namespace shared, as systemd makes those of a host.
pub fn share_mounts() {
    use nix::mount::{MsFlags, mount};
    let flags = MsFlags::MS_REC | MsFlags::MS_SHARED;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
}

/// Runs the test binary again, as the attacker: the program and what it needs of the host, as
/// mounts of a container.
pub fn own_program() -> Vec<corten_namespaces::mount::Mount> {
    use corten_namespaces::mount::{Mount, attribute::RDONLY};
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut libraries: Vec<&str> = maps
        .lines()
        .filter_map(|l| l.split_whitespace().nth(5))
        .filter(|p| p.contains(".so"))
        .collect();
    libraries.sort_unstable();
    libraries.dedup();
    let mut mounts =
        vec![Mount::bind(&std::env::current_exe().unwrap(), "/attacker", RDONLY).unwrap()];
    for library in libraries {
        let path = Path::new(library);
        mounts.push(Mount::bind(path, path, RDONLY).unwrap());
        // The interpreter is named by its path before /lib and /lib64 became links into /usr.
        if let Some(name) = path.file_name().filter(|n| n.to_string_lossy().starts_with("ld-")) {
            for directory in ["/lib64", "/lib"] {
                mounts.push(Mount::bind(path, Path::new(directory).join(name), RDONLY).unwrap());
            }
        }
    }
    mounts
}

/// The role that [`attack`] gives to the test binary when it runs again.
pub const ROLE: &str = "CORTEN_ATTACK";

/// The set-user-ID program of root's that an image may hold, and that shows the file `SECRET` with
/// the rights that it then has. busybox would give them back before it reads.
pub fn setuid_program(lab: &Lab) -> Vec<corten_namespaces::mount::Mount> {
    let tool = lab.rootfs().join("bin/setuid");
    corten_tier::copy_program(std::env::current_exe().unwrap(), &tool);
    fs::set_permissions(&tool, Permissions::from_mode(0o4755)).unwrap();
    let libraries: Vec<_> = own_program().split_off(1);
    for mount in &libraries {
        let place = lab.rootfs().join(mount.target.path().strip_prefix("/").unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, "").unwrap();
    }
    libraries
}

/// What [`setuid_program`] does.
pub fn show_secret() {
    let secret = fs::read_to_string(std::env::var_os("SECRET").unwrap());
    println!("uid {} sees {secret:?}", nix::unistd::geteuid());
}

/// The process that runs this test binary again, in the role `role`, which the test `attacker` of
/// the same target plays.
pub fn attack(program: &str, role: &str) -> Process {
    let args = [program, "attacker", "--exact", "--nocapture", "--test-threads=1"];
    Process {
        args: args.map(String::from).into(),
        env: vec![format!("{ROLE}={role}"), "PATH=/bin:/usr/bin".into()],
        ..Process::default()
    }
}

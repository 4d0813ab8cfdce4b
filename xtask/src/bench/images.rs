//! Pulling and unpacking one large image, beside podman and containerd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::server::{Registry, Server, serve};
use super::{Before, Method, compare, large_blobs, record, shell};
use crate::error::{Error, OnPath, Result};
use crate::run::build;
use crate::setup::apt::Privilege;
use crate::{process, say, workspace};

/// `pull`, with nothing there beforehand, and `push` into an empty registry.
pub fn run() -> Result<()> {
    let privilege = Privilege::here();
    if privilege != Privilege::Root {
        return Err(Error::failed("unpacking an image with its owners needs root"));
    }
    build("corten")?;
    let scratch = workspace::scratch("bench-images")?;
    let layout = scratch.join("usr");
    say!("making an image of /usr (the first time takes some minutes)");
    let script = workspace::root().join("benches/images/make.sh");
    process::run(Command::new(script).arg(&layout))?;
    // In memory: ext4 looks at every inode that was deleted in the last minute before it gives one
    // away, so on a disk each run would measure how lately the run before it was removed.
    let memory = Memory::new()?;
    let registry = Registry::start(&scratch.join("registry"))?;
    let image = format!("{}/usr:1", registry.host);
    let source = format!("oci:{}:usr", layout.display());
    let to = format!("docker://{image}");
    process::run(
        Command::new("skopeo")
            .args(["copy", "--quiet", "--dest-tls-verify=false", &source, &to])
            .stdout(Stdio::null()),
    )?;
    let containerd = Containerd::start(&memory.0)?;
    let pulls = Pulls::new(&memory.0, &image, &containerd);
    let blobs: Vec<String> =
        large_blobs(&layout)?.iter().map(|blob| blob.display().to_string()).collect();
    let gzip =
        shell(&format!("for blob in {}; do gzip -dc $blob >/dev/null; done", blobs.join(" ")));
    let commands = [
        ("corten", pulls.corten.0.clone()),
        ("podman", pulls.podman.0.clone()),
        ("containerd", pulls.containerd.0.clone()),
        ("gzip -dc of each layer", gzip),
    ];
    let prepare = vec![
        pulls.corten.1.clone(),
        pulls.podman.1.clone(),
        pulls.containerd.1.clone(),
        "sync".into(),
    ];
    let clean = [&pulls.corten.1, &pulls.podman.1, &pulls.containerd.1];
    let method = Method {
        before: Before::Commands { prepare, cleanup: "sync".into() },
        rounds: 1,
        runs: 3,
        warmup: 0,
        ..Method::default()
    };
    let title = "Pulling and unpacking a large image";
    let measured = compare(privilege, "images-pull", title, &method, &commands);
    let pushed = measured.and_then(|()| push(&scratch, &pulls, &registry));
    for line in clean {
        let _ = process::try_output(&mut apart(line));
    }
    pushed
}

/// `push` of the image that has been pulled, to names that the registry does not have.
fn push(scratch: &Path, pulls: &Pulls, registry: &Registry) -> Result<()> {
    for (_, prepare, line) in
        [("corten", &pulls.corten.1, &pulls.corten.0), ("podman", &pulls.podman.1, &pulls.podman.0)]
    {
        for line in [prepare, line] {
            process::run(apart(line).stdout(Stdio::null()))?;
        }
    }
    peak(pulls)?;
    // A registry that has the blobs is asked for them, and nothing is sent.
    let empty = shell(&format!("rm -rf {}/registry/docker", scratch.display()));
    let from = format!("{}/usr:1", registry.host);
    let corten = format!("{} push --quiet --tls-verify=false {from}", pulls.program);
    let podman = format!("{} push --quiet --tls-verify=false {from}", pulls.podman_with_roots);
    let commands = [("corten", corten), ("podman", podman)];
    let before = Before::Commands { prepare: vec![empty.clone(), empty], cleanup: "sync".into() };
    let method = Method { before, rounds: 1, runs: 3, warmup: 0, ..Method::default() };
    compare(Privilege::Root, "images-push", "Pushing the same image", &method, &commands)
}

/// The peak memory of one more pull of each.
fn peak(pulls: &Pulls) -> Result<()> {
    let mut commands = Vec::new();
    let mut peaks = Vec::new();
    for (label, (line, prepare)) in [("corten", &pulls.corten), ("podman", &pulls.podman)] {
        process::run(apart(prepare).stdout(Stdio::null()))?;
        let mut command = apart(&format!("exec /usr/bin/time -f 'peak %M' {line}"));
        let output = process::try_output(&mut command);
        let said = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
        let kib = said.as_deref().and_then(|said| {
            said.lines().find_map(|line| line.strip_prefix("peak ")?.trim().parse::<f64>().ok())
        });
        let kib = kib.ok_or_else(|| Error::failed(format!("{line}: {said:?}")))?;
        commands.push((label, line.clone()));
        peaks.push(vec![kib * 1024.0 / 1e6]);
    }
    record("images-memory", "Peak memory of one pull", ("MB", "GNU time"), &commands, &peaks)
}

/// A shell command in a mount namespace of its own: podman leaves its directory mounted.
fn apart(line: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", line]);
    command
}

/// The command that pulls, and the one that takes away what it has brought.
struct Pulls {
    program: String,
    podman_with_roots: String,
    corten: (String, String),
    podman: (String, String),
    containerd: (String, String),
}

impl Pulls {
    fn new(memory: &Path, image: &str, containerd: &Containerd) -> Pulls {
        let root = memory.join("corten");
        let program = workspace::target().join("release/corten");
        let program = format!("{} --root {}", program.display(), root.display());
        let storage = memory.join("podman");
        let podman = format!(
            "podman --root {0}/root --runroot {0}/run --storage-driver overlay",
            storage.display()
        );
        let ctr = format!("ctr --address {}", containerd.socket.display());
        Pulls {
            corten: (
                format!("{program} pull --quiet --tls-verify=false {image}"),
                format!("rm -rf {}", root.display()),
            ),
            podman: (
                format!("{podman} pull --quiet --tls-verify=false {image}"),
                format!("{podman} rmi --all --force"),
            ),
            containerd: (
                format!("{ctr} images pull --plain-http {image}"),
                format!("{ctr} images rm --sync {image}"),
            ),
            program,
            podman_with_roots: podman,
        }
    }
}

/// A directory in memory, removed with all that is in it; and what else goes then.
struct Memory(PathBuf, Vec<PathBuf>);

impl Memory {
    fn new() -> Result<Memory> {
        let path = PathBuf::from("/dev/shm/corten-bench-images");
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).on("create", &path)?;
        // podman makes one, and leaves it.
        let lock = PathBuf::from("/dev/shm/libpod_lock");
        Ok(Memory(path, if lock.exists() { Vec::new() } else { vec![lock] }))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for lock in &self.1 {
            let _ = fs::remove_file(lock);
        }
        if let Err(error) = fs::remove_dir_all(&self.0) {
            say!("remove {}: {error}", self.0.display());
        }
    }
}

struct Containerd {
    socket: PathBuf,
    _server: Server,
}

impl Containerd {
    fn start(scratch: &Path) -> Result<Containerd> {
        let dir = scratch.join("containerd");
        fs::create_dir_all(&dir).on("create", &dir)?;
        let socket = dir.join("socket");
        let config = dir.join("config.toml");
        let text = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{0}/socket\"\n",
            dir.display()
        );
        fs::write(&config, text).on("write", &config)?;
        let mut command = Command::new("containerd");
        let server = serve(command.arg("--config").arg(&config), || {
            let mut ctr = Command::new("ctr");
            let version = process::try_output(ctr.arg("--address").arg(&socket).arg("version"));
            version.is_some_and(|output| output.status.success())
        })?;
        Ok(Containerd { socket, _server: server })
    }
}

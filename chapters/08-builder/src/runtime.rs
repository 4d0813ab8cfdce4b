//! `RUN` without an engine: each command in a container that an OCI runtime makes, chapter 4's or any other.
//!
//! The rights are those of `corten run`: Docker's capabilities, chapter 4's filter of system calls, masked
//! paths. What an engine adds is not there: networks of one's own, limits, volumes, a supervisor that ends the
//! command where the builder itself is killed.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use corten_namespaces::capability::CapabilitySet;
use corten_namespaces::mount::{MASKED, READ_ONLY};
use corten_namespaces::{Root, capability, sys};
use corten_unionfs::LayerStore;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use crate::error::{At, Error, Result};
use crate::owner;
use crate::run::{Cancel, Ended, Mount, MountSource, Runner, Step, Told};
use crate::work::{self, Work};

/// The version of the runtime specification that bundles say.
const OCI_VERSION: &str = "1.2.1";

/// Runs commands by an OCI runtime.
#[derive(Debug)]
pub struct Runtime<'a> {
    /// The runtime: `corten-runtime`, `runc`, `crun`.
    pub program: PathBuf,
    /// Where the layers of images are.
    pub layers: &'a LayerStore,
    /// Where bundles are made; nothing stays in it.
    pub directory: PathBuf,
    /// The runtime's own directory, which stays: chapter 4's keeps compiled filters in it.
    pub state: PathBuf,
}

impl<'a> Runtime<'a> {
    /// One that works below `root`. Its mounts only this process and its children see: they are gone with it,
    /// whatever ends it. What a killed one has left is removed.
    ///
    /// # Errors
    /// `EPERM` without root's rights. Must be called before there are other threads.
    pub fn new(program: PathBuf, layers: &'a LayerStore, root: &Path) -> Result<Runtime<'a>> {
        let [directory, state] = ["containers", "runtime"].map(|name| root.join(name));
        work::clear(&directory)?;
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
            .at("make a mount namespace for", "RUN (needs root)")?;
        let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
            .at("make private the mounts of", "/")?;
        Ok(Runtime { program, layers, directory, state })
    }
}

impl Runner for Runtime<'_> {
    // ANCHOR: run
    fn run(&self, step: &Step<'_>, tell: &mut dyn FnMut(Told<'_>)) -> Result<Ended> {
        let work = Work::new(&self.directory)?;
        let bundle = work.directory()?;
        let rootfs = bundle.join("rootfs");
        fs::create_dir(&rootfs).at("make", &rootfs)?;
        let mounted = Mounted::new(self.layers, step, &rootfs)?;
        let id = identifier(&bundle);
        let config = configuration(step, &rootfs, &id)?;
        let path = bundle.join("config.json");
        fs::write(&path, config.to_string()).at("write", &path)?;
        let call = Call { runtime: self, bundle: &bundle, id: &id };
        let mut child = call.start()?;
        tell(Told::Started(&id));
        let cancelled = call.pass_on(&mut child, step.cancel, tell);
        let status = child.wait().at("wait for", &self.program)?;
        mounted.end()?;
        tell(Told::Removed(&id));
        if cancelled? {
            return Err(Error::Cancelled);
        }
        call.complaint()?;
        Ok(Ended::with(status.code().unwrap_or(137)))
    }
    // ANCHOR_END: run
}

/// A name that no other container has: of the process, and a count.
fn identifier(bundle: &Path) -> String {
    let mut parts: Vec<_> =
        bundle.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    parts.reverse();
    format!("build-{}", parts.join("-"))
}

/// The root of a container.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(layers: &LayerStore, step: &Step<'_>, at: &'a Path) -> Result<Mounted<'a>> {
        let lowers = layers.lowers(step.layers.last())?;
        let tree = layers.build_driver().mount(&lowers, Some(step.writable))?;
        let target = fs::File::open(at).at("open", at)?;
        sys::mount::move_mount(tree.as_fd(), target.as_raw_fd()).at("mount the root on", at)?;
        Ok(Mounted(at))
    }

    fn end(self) -> Result<()> {
        nix::mount::umount(self.0).at("unmount", self.0)?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // The first error tells more; the mount goes with this process.
        let _ = nix::mount::umount2(self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// One container of the runtime's.
struct Call<'a> {
    runtime: &'a Runtime<'a>,
    bundle: &'a Path,
    id: &'a str,
}

impl Call<'_> {
    /// The runtime, with its log in the bundle's directory.
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.runtime.program);
        command.arg("--root").arg(&self.runtime.state);
        command.arg("--log").arg(self.log()).args(["--log-format", "json", verb]);
        command
    }

    fn log(&self) -> PathBuf {
        self.bundle.join("log")
    }

    fn start(&self) -> Result<Child> {
        use std::os::unix::process::CommandExt;
        let mut command = self.command("run");
        command.arg("--bundle").arg(self.bundle).arg(self.id);
        // A Ctrl-C is for us, who tell the container.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|why| {
            let program = self.runtime.program.display();
            Error::refused(format!(
                "RUN needs an OCI runtime, and {program} cannot be started: {why}: name one with \
                 --runtime"
            ))
        })
    }

    /// Passes on what the command writes until it ends; tells whether the build shall end, and the command
    /// with it.
    fn pass_on(
        &self,
        child: &mut Child,
        cancel: &Cancel,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<bool> {
        let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
            return Ok(false);
        };
        let (mut open, mut cancelled) = ([true, true], false);
        let mut buffer = vec![0; 32 << 10];
        while open.contains(&true) {
            let nothing = PollFlags::empty();
            let wanted = |is_open: bool| if is_open { PollFlags::POLLIN } else { nothing };
            let mut fds = [
                PollFd::new(out.as_fd(), wanted(open[0])),
                PollFd::new(err.as_fd(), wanted(open[1])),
                PollFd::new(cancel.as_fd(), wanted(!cancelled)),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other.at("wait for", "the command's output")?,
            };
            let ready = fds.map(|fd| fd.any().unwrap_or(false));
            if ready[2] && !cancelled {
                cancelled = true;
                self.kill();
            }
            let streams: [&mut dyn Read; 2] = [&mut out, &mut err];
            for (at, stream) in streams.into_iter().enumerate() {
                if !(ready[at] && open[at]) {
                    continue;
                }
                let length = stream.read(&mut buffer).at("read", "the command's output")?;
                let bytes = buffer.get(..length).unwrap_or_default();
                match (length, at) {
                    (0, _) => open[at] = false,
                    (_, 0) => tell(Told::Output(bytes)),
                    (_, _) => tell(Told::Error(bytes)),
                }
            }
        }
        Ok(cancelled)
    }

    /// It may have ended this very moment, and then there is nobody to kill.
    fn kill(&self) {
        let mut command = self.command("kill");
        command.args([self.id, "KILL"]).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = command.status();
    }

    /// What the runtime could not do: that is no status of the command's.
    fn complaint(&self) -> Result<()> {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut errors = lines.filter(|line| line["level"] == "error");
        match errors.next_back().as_ref().and_then(|line| line["msg"].as_str()) {
            Some(why) => Err(Error::refused(format!("{}: {why}", self.runtime.program.display()))),
            None => Ok(()),
        }
    }
}

// ANCHOR: configuration
/// The bundle's config.json (runtime-spec, config.md).
fn configuration(step: &Step<'_>, rootfs: &Path, id: &str) -> Result<Value> {
    let words = |name: &str| -> Vec<String> {
        let all = step.config[name].as_array().into_iter().flatten();
        all.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let word = |name: &str| step.config[name].as_str().unwrap_or_default();
    let root = Root::open(rootfs)?;
    let (uid, gid) = match word("User") {
        "" => (0, 0),
        user => owner::ids(&root, "USER ", user)?,
    };
    let set = match step.insecure {
        true => CapabilitySet::from_names(capability::names().iter().copied())?,
        false => CapabilitySet::CONTAINER,
    };
    let capabilities: Vec<String> = set.to_string().split(',').map(str::to_owned).collect();
    let mut linux = json!({"namespaces": namespaces(step.network)?});
    if !step.insecure {
        linux["seccomp"] = corten_runtime::seccomp::default::profile(set);
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
    }
    let cwd = if word("WorkingDir").is_empty() { "/" } else { word("WorkingDir") };
    Ok(json!({
        "ociVersion": OCI_VERSION,
        "process": {
            "user": {"uid": uid, "gid": gid},
            "args": words("Cmd"),
            "env": words("Env"),
            "cwd": cwd,
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities}
        },
        "root": {"path": rootfs},
        "hostname": id,
        "mounts": mounts(step, &root),
        "linux": linux
    }))
}
// ANCHOR_END: configuration

/// `none` is a network namespace without links; all others need an engine, so the usual one is the host's.
fn namespaces(network: &str) -> Result<Value> {
    let mut kinds = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    match network {
        "none" => kinds.push("network"),
        "" | "default" | "host" => {}
        other => {
            return Err(Error::refused(format!(
                "--network={other} needs an engine: use none or host, or `corten build`"
            )));
        }
    }
    Ok(kinds.iter().map(|kind| json!({"type": kind})).collect())
}

/// What is mounted in every container; the host's names of the network, where the image has the file; and
/// what the command asks for.
fn mounts(step: &Step<'_>, root: &Root) -> Value {
    let of = |kind: &str, target: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let mut all = vec![
        of("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        of("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        of(
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        of("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        of("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        of("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    let bind = |target: &str, source: &Path, writable: bool| {
        let rights = if writable { "rw" } else { "ro" };
        json!({"destination": target, "type": "bind", "source": source, "options": ["rbind", rights]})
    };
    for file in ["/etc/resolv.conf", "/etc/hosts"] {
        // Where it is missing its place would be made, and be in the image.
        if step.network != "none" && root.resolve(file).is_ok() && Path::new(file).exists() {
            all.push(bind(file, Path::new(file), false));
        }
    }
    all.extend(step.mounts.iter().map(|Mount { target, source, writable }| match source {
        MountSource::Host(path) => bind(target, path, *writable),
        MountSource::Memory(0) => of("tmpfs", target, &["nosuid", "nodev"]),
        MountSource::Memory(size) => {
            of("tmpfs", target, &["nosuid", "nodev", &format!("size={size}")])
        }
    }));
    Value::Array(all)
}

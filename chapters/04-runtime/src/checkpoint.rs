//! `checkpoint` and `restore`: a container as files, by CRIU.
//!
//! CRIU dumps a tree of processes and makes it again. It knows namespaces and mounts; what it cannot
//! know is what came from outside of the container: bind mounts have names in its image, to which
//! the sources are given at restore.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corten_namespaces::error::Context;

use crate::bundle::Bundle;
use crate::container::{Container, Status};
use crate::error::{Error, Result};
use crate::mount::Options as MountOptions;

/// What checkpoint and restore have in common.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The program.
    pub criu: PathBuf,
    /// Where the image is.
    pub image: PathBuf,
    /// Where CRIU's log goes; the image's directory where none is given.
    pub work: Option<PathBuf>,
    /// An earlier pre-dump, relative to the image.
    pub parent: Option<PathBuf>,
    /// Open TCP connections are kept.
    pub tcp_established: bool,
    /// Connections to sockets outside are allowed.
    pub ext_unix_sockets: bool,
    /// The container has a terminal of the caller's.
    pub shell_job: bool,
    /// File locks are kept.
    pub file_locks: bool,
    /// `soft`, `full`, `strict`, `ignore`.
    pub cgroups_mode: Option<String>,
    /// Memory is fetched when it is first touched.
    pub lazy_pages: bool,
    /// A descriptor that is told when lazy pages can be fetched.
    pub status_fd: Option<i32>,
    /// Where a page server listens: ADDRESS:PORT.
    pub page_server: Option<String>,
    /// Finds memory that has changed without looking at it.
    pub auto_dedup: bool,
    /// The container goes on.
    pub leave_running: bool,
    /// Memory only, as a first step.
    pub pre_dump: bool,
    /// Namespaces that are left out.
    pub empty_namespaces: Vec<String>,
    /// Another label of security modules.
    pub lsm_profile: Option<String>,
}

impl Settings {
    fn command(&self, verb: &str) -> Result<Command> {
        let private = |path: &Path| std::fs::create_dir_all(path).on("create", path);
        private(&self.image)?;
        let work = self.work.as_ref().unwrap_or(&self.image);
        private(work)?;
        let mut command = Command::new(&self.criu);
        command.arg(verb).arg("--images-dir").arg(&self.image).arg("--work-dir").arg(work);
        command.arg("--log-file").arg(format!("{verb}.log")).arg("-v4");
        let flags = [
            (self.tcp_established, "--tcp-established"),
            (self.ext_unix_sockets, "--ext-unix-sk"),
            (self.shell_job, "--shell-job"),
            (self.file_locks, "--file-locks"),
            (self.lazy_pages, "--lazy-pages"),
            (self.auto_dedup, "--auto-dedup"),
        ];
        command.args(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag));
        let mode = self.cgroups_mode.as_deref().unwrap_or("soft");
        command.arg(format!("--manage-cgroups={mode}"));
        if let Some(parent) = &self.parent {
            command.arg("--prev-images-dir").arg(parent);
        }
        if let Some(fd) = self.status_fd {
            command.arg("--status-fd").arg(fd.to_string());
        }
        if let Some(server) = &self.page_server {
            let (address, port) = server.rsplit_once(':').ok_or_else(|| {
                Error::invalid(format!("--page-server {server}"), "must be ADDRESS:PORT")
            })?;
            command.args(["--page-server", "--address", address, "--port", port]);
        }
        for namespace in &self.empty_namespaces {
            command.arg("--empty-ns").arg(namespace);
        }
        if let Some(profile) = &self.lsm_profile {
            command.arg("--lsm-profile").arg(profile);
        }
        Ok(command)
    }

    /// Runs CRIU; where it fails, the last errors of its log say why.
    fn run(&self, mut command: Command, verb: &str) -> Result<()> {
        if let Some(fd) = self.status_fd {
            crate::sys::process::keep_over_exec(fd).during("hand on --status-fd")?;
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let output = command.stderr(Stdio::piped()).output().on("run", &self.criu)?;
        if output.status.success() {
            return Ok(());
        }
        let log = self.work.as_ref().unwrap_or(&self.image).join(format!("{verb}.log"));
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let errors: Vec<&str> = text.lines().filter(|line| line.contains("Error")).collect();
        let said = errors.last().copied().unwrap_or_default();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let why =
            format!("{verb}: {}: {} {said} (see {})", output.status, stderr.trim(), log.display());
        Err(Error::Helper { program: "criu", why })
    }
}

/// Mounts whose source is outside: their places in the container, and their sources.
fn externals(bundle: &Bundle) -> Vec<(String, PathBuf)> {
    let mut externals = Vec::new();
    for mount in bundle.spec.mounts().iter().flatten() {
        let options = MountOptions::parse(mount.options().iter().flatten().map(String::as_str));
        let bind = options.bind.is_some() || mount.typ().as_deref() == Some("bind");
        if let Some(source) = mount.source().as_ref().filter(|_| bind) {
            externals.push((mount.destination().display().to_string(), bundle.path.join(source)));
        }
    }
    // A file that is hidden lies under the host's null device.
    let masked = bundle.spec.linux().as_ref().and_then(|linux| linux.masked_paths().clone());
    for path in masked.into_iter().flatten() {
        if !Path::new(&path).is_dir() {
            externals.push((path, PathBuf::from("/dev/null")));
        }
    }
    externals
}

// ANCHOR: checkpoint
/// Writes the container's processes to files. It has stopped then, unless it is left running.
///
/// # Errors
/// Where it does not run, or CRIU cannot dump it.
pub fn checkpoint(container: &Container, settings: &Settings) -> Result<()> {
    let status = container.status();
    if !matches!(status, Status::Running | Status::Paused) {
        return Err(container.wrong_status("checkpoint", status, ""));
    }
    let init = container.init("checkpoint")?;
    let bundle = container.bundle()?;
    let verb = if settings.pre_dump { "pre-dump" } else { "dump" };
    let mut command = settings.command(verb)?;
    command.arg("--tree").arg(init.pid.to_string());
    if settings.pre_dump {
        command.arg("--track-mem");
    } else {
        command.arg("--root").arg(&container.state.rootfs);
        for (destination, _) in externals(&bundle) {
            command.arg("--external").arg(format!("mnt[{destination}]:{destination}"));
        }
        if settings.leave_running {
            command.arg("--leave-running");
        }
    }
    if let Some(path) = freezer(container)? {
        command.arg("--freeze-cgroup").arg(path);
    }
    settings.run(command, verb)?;
    if !settings.pre_dump {
        container.directory.write_file("checkpointed", b"")?;
        let names = stdio(init.pid);
        let file = settings.image.join("descriptors.json");
        let text = serde_json::to_vec(&names).unwrap_or_default();
        std::fs::write(&file, text).on("write", &file)?;
    }
    Ok(())
}
// ANCHOR_END: checkpoint

/// v1's freezer directory, or v2's group.
fn freezer(container: &Container) -> Result<Option<PathBuf>> {
    let Some(cgroup) = container.cgroup()? else { return Ok(None) };
    let groups = cgroup.inner();
    let group = groups.group(corten_cgroups::Controller::Freezer).or_else(|| groups.unified());
    Ok(group.map(|group| group.path().to_path_buf()))
}

/// What standard input, output and error are: CRIU calls pipes by these names.
fn stdio(pid: libc::pid_t) -> Vec<String> {
    (0..3)
        .map(|number| {
            let link = std::fs::read_link(format!("/proc/{pid}/fd/{number}"));
            link.map(|path| path.display().to_string()).unwrap_or_default()
        })
        .collect()
}

// ANCHOR: restore
/// Lets CRIU make the processes again, in a mount namespace of its own, where the root file system
/// is a mount, as CRIU wants it. Gives the number of the first process.
///
/// # Errors
/// Where CRIU cannot restore.
pub fn restore(
    bundle: &Bundle,
    settings: &Settings,
    cgroup: Option<&crate::cgroup::Cgroup>,
    pid_file: &Path,
) -> Result<libc::pid_t> {
    let rootfs = bundle.rootfs()?;
    let mut command = settings.command("restore")?;
    command.args(["--restore-detached", "--restore-sibling"]);
    command.arg("--root").arg(&rootfs).arg("--pidfile").arg(pid_file);
    for (destination, source) in externals(bundle) {
        command.arg("--external").arg(format!("mnt[{destination}]:{}", source.display()));
    }
    let names: Vec<String> = std::fs::read_to_string(settings.image.join("descriptors.json"))
        .ok()
        .and_then(|text| crate::json::parse(&text).ok())
        .unwrap_or_default();
    let mut kept = Vec::new();
    for (number, name) in (0..).zip(&names) {
        if name.starts_with("pipe:") || name.starts_with("socket:") {
            let copy = crate::sys::process::duplicate(number).during("copy a descriptor")?;
            crate::sys::process::keep_over_exec(copy.as_raw_fd()).during("hand on a descriptor")?;
            let fd = copy.as_raw_fd();
            let name = name.replace(':', ":[").replace("[[", "[");
            let name = if name.ends_with(']') { name } else { format!("{name}]") };
            command.arg("--inherit-fd").arg(format!("fd[{fd}]:{name}"));
            kept.push(copy);
        }
    }
    // The groups are made already, with the configuration's limits; CRIU moves the processes there.
    for (label, path) in cgroup.iter().flat_map(|cgroup| cgroup.inner().paths()) {
        let group = from_top(&path);
        let root = if label.is_empty() { group } else { format!("{label}:{group}") };
        command.arg("--cgroup-root").arg(root);
    }
    own_mounts(&rootfs)?;
    command.arg0("criu");
    settings.run(command, "restore")?;
    let text = std::fs::read_to_string(pid_file).on("read", pid_file)?;
    text.trim().parse().map_err(|_| Error::Helper {
        program: "criu",
        why: format!("wrote no number to {}", pid_file.display()),
    })
}
// ANCHOR_END: restore

/// Leaves the caller's mount namespace, and makes a mount of the root file system.
fn own_mounts(rootfs: &Path) -> Result<()> {
    use corten_namespaces::sys::mount as kernel;
    use std::os::fd::AsFd;
    let slave = || {
        // The value is one of the CLONE_NEW* flags, which fit.
        corten_namespaces::sys::unshare(corten_namespaces::Namespace::Mount.flag() as i32)?;
        kernel::setattr(libc::AT_FDCWD, c"/", true, 0, 0, libc::MS_SLAVE)
    };
    slave().during("make a mount namespace")?;
    let c = crate::process::c_path(rootfs)?;
    let target = File::open(rootfs).on("open", rootfs)?;
    let tree = kernel::clone_tree(libc::AT_FDCWD, &c, true);
    let attached = tree.and_then(|tree| kernel::move_mount(tree.as_fd(), target.as_raw_fd()));
    Ok(attached.on("mount on itself", rootfs)?)
}

/// A group's path from the top of its hierarchy.
fn from_top(path: &Path) -> String {
    let is_group = |dir: &&Path| dir.join("cgroup.procs").exists();
    let top = path.ancestors().skip(1).take_while(is_group).last().unwrap_or(path);
    Path::new("/").join(path.strip_prefix(top).unwrap_or(path)).display().to_string()
}

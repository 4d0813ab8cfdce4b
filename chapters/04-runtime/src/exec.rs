//! `exec`: another process in a running container.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::PathBuf;

use corten_namespaces::error::Context;
use corten_namespaces::{Namespace, NamespaceSet};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use oci_spec::runtime as oci;

use crate::bundle::Bundle;
use crate::channel::{Channel, Message};
use crate::child;
use crate::container::{Container, StateReport, Status};
use crate::create::step::Terminal;
use crate::create::{Step, rights};
use crate::error::{Error, Result};
use crate::process::Process;
use crate::program::Program;
use crate::seccomp;
use crate::sys::process::{CloneOptions, clone};

/// What the caller of `exec` says beside the process.
#[derive(Debug, Default)]
pub struct Options {
    /// The socket on which the caller waits for the master of the terminal.
    pub console: Option<OwnedFd>,
    /// How many descriptors beyond 2 the process inherits.
    pub preserve_fds: RawFd,
    /// A group below the container's own.
    pub cgroup: Option<Below>,
    /// Whether a paused container is no failure.
    pub ignore_paused: bool,
    /// Where to write its number.
    pub pid_file: Option<PathBuf>,
    /// Where to send a descriptor of it.
    pub pidfd_socket: Option<PathBuf>,
    /// The state directory of all containers.
    pub root: PathBuf,
}

/// A group below the container's own.
#[derive(Debug)]
pub struct Below {
    /// In the hierarchies of these controllers only; in all where there are none.
    pub controllers: Vec<String>,
    /// The way to it.
    pub path: PathBuf,
}

/// Namespaces to be joined.
type Namespaces = Vec<(Namespace, OwnedFd)>;

/// A process to be made in a container.
#[derive(Debug)]
pub struct Exec {
    options: Options,
    /// What the child does.
    pub steps: Vec<Step>,
    /// What was asked for and cannot be had.
    pub warnings: Vec<String>,
    /// What helps to find a fault.
    pub notes: Vec<String>,
    pid_namespace: Option<OwnedFd>,
    listener: Option<seccomp::Listener>,
    oom_score_adj: Option<i32>,
}

impl Exec {
    // ANCHOR: new
    /// Plans a process in `container`.
    ///
    /// # Errors
    /// Where the container does not run; [`Error::Invalid`] with the field.
    pub fn new(
        container: &Container,
        bundle: &Bundle,
        process: &oci::Process,
        mut options: Options,
    ) -> Result<Exec> {
        runs(container, options.ignore_paused)?;
        let init = container.init("exec in")?;
        let mut process = Process::plan(process)?;
        let warnings = std::mem::take(&mut process.warnings);
        let (namespaces, pid_namespace) = Exec::namespaces(init.pid)?;
        let (before, after) = &process.affinity;
        let notes =
            before.iter().map(|cpus| format!("affinity: {}", crate::process::mask(cpus))).collect();
        let mut steps: Vec<Step> = before.clone().map(Step::Affinity).into_iter().collect();
        steps.extend(enter(namespaces));
        if let Some(size) = process.terminal {
            let socket = options.console.take().ok_or_else(|| {
                Error::invalid("process.terminal", "is set, so a --console-socket is needed")
            })?;
            let uid = process.user.uid;
            steps.push(Step::Terminal(Terminal { size, uid, socket, console: false }));
        }
        steps.extend(after.clone().map(Step::Affinity));
        steps.extend(process.scheduler.map(Step::Scheduler));
        steps.extend(process.io_priority.map(|(class, level)| Step::IoPriority(class, level)));
        let linux = bundle.spec.linux().as_ref();
        if let Some(personality) = linux.and_then(|linux| linux.personality().as_ref()) {
            steps.push(Step::Personality(crate::create::personality(personality)?));
        }
        let program = Program::new(&process.args, &process.env)?;
        let (filter, listener) = seccomp::of(bundle, &options.root)?;
        let oom_score_adj = process.oom_score_adj;
        let keep_admin = filter.is_some() && !process.no_new_privileges;
        steps.extend(rights(process, keep_admin));
        steps.push(Step::FindProgram);
        steps.push(Step::CloseDescriptors(3 + options.preserve_fds));
        steps.push(Step::AwaitStart(None));
        steps.push(Step::ResetSignals);
        steps.extend(filter.map(Step::Seccomp));
        steps.push(Step::Execute(program));
        Ok(Exec { options, steps, warnings, notes, pid_namespace, listener, oom_score_adj })
    }
    // ANCHOR_END: new

    /// The namespaces of `pid` that are not ours, the pid namespace apart: it counts for children.
    fn namespaces(pid: libc::pid_t) -> Result<(Namespaces, Option<OwnedFd>)> {
        let own = std::process::id() as libc::pid_t;
        let mut found = Vec::new();
        let mut pid_namespace = None;
        let differs = |kind: Namespace| Ok::<_, Error>(kind.of(pid)? != kind.of(own)?);
        for kind in Namespace::ALL {
            if !differs(kind)? {
                continue;
            }
            let fd = OwnedFd::from(kind.open(pid)?);
            if kind == Namespace::Pid {
                pid_namespace = Some(fd);
            } else {
                found.push((kind, fd));
            }
        }
        Ok((found, pid_namespace))
    }

    // ANCHOR: execute
    /// Makes the process and starts its program.
    ///
    /// # Errors
    /// The first failure, here or in the child; no process is left then.
    pub fn execute(self, container: &Container) -> Result<(OwnedFd, libc::pid_t)> {
        let (ours, theirs) = Channel::pair()?;
        let proc = child::host_proc()?;
        let cgroup = container.cgroup()?;
        // A group below is not known by descriptor, so its process begins in ours.
        let into = cgroup.as_ref().filter(|_| self.options.cgroup.is_none());
        let options = CloneOptions {
            flags: NamespaceSet::EMPTY.flags(),
            cgroup: into.and_then(crate::cgroup::Cgroup::clone_fd),
        };
        let ours_number = ours.number();
        let steps = &self.steps;
        let state = container.state.clone();
        let body = move || {
            let _ = nix::unistd::close(ours_number);
            child::walk(steps, theirs, proc, state)
        };
        let (pidfd, pid) = match &self.pid_namespace {
            Some(joined) => crate::create::clone_among(joined.as_fd(), options, "clone3", body)?,
            None => clone(options, body).during("clone3")?,
        };
        let done = self.accompany(&ours, &pidfd, pid, cgroup.as_ref(), container);
        if done.is_err() {
            let _ = corten_namespaces::sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = corten_namespaces::sys::wait(pidfd.as_fd());
        }
        done.map(|()| (pidfd, pid))
    }
    // ANCHOR_END: execute

    fn accompany(
        &self,
        ours: &Channel,
        pidfd: &OwnedFd,
        pid: libc::pid_t,
        cgroup: Option<&crate::cgroup::Cgroup>,
        container: &Container,
    ) -> Result<()> {
        let tasks = match (cgroup, &self.options.cgroup) {
            (Some(cgroup), Some(below)) => {
                cgroup.add_below(pid, &below.controllers, &below.path)?;
                Vec::new()
            }
            (Some(cgroup), None) => cgroup.tasks()?,
            (None, _) => Vec::new(),
        };
        if let Some(score) = self.oom_score_adj {
            crate::create::set_oom_score(pid, score)?;
        }
        ours.send_with(&Message::Joined, &tasks)?;
        match ours.receive()? {
            Some(Message::Ready) => {}
            Some(Message::Failed(code, message)) => return Err(Error::Container { message, code }),
            _ => return Err(crate::create::died(pidfd.as_fd())),
        }
        if let Some(path) = &self.options.pidfd_socket {
            let socket = crate::channel::connect_caller(path)?;
            crate::channel::send_fd(socket.as_fd(), b"pidfd", pidfd.as_fd())?;
        }
        if let Some(path) = &self.options.pid_file {
            crate::create::write_pid(path, pid)?;
        }
        let report: StateReport<'_> = container.report(Status::Running);
        let listener = self.listener.as_ref();
        crate::create::start_over(ours, pidfd.as_fd(), pid, listener, &report)
    }
}

/// That the container is in a state in which a process can be made in it.
fn runs(container: &Container, ignore_paused: bool) -> Result<()> {
    match container.status() {
        Status::Running | Status::Created => Ok(()),
        Status::Paused if ignore_paused => Ok(()),
        Status::Paused => {
            let hint = ": resume it first, or use --ignore-paused";
            Err(container.wrong_status("exec in", Status::Paused, hint))
        }
        other => Err(container.wrong_status("exec in", other, "")),
    }
}

// ANCHOR: enter
/// The steps into the container: it must not look into the process from the first namespace on.
fn enter(namespaces: Namespaces) -> Vec<Step> {
    let mut steps =
        vec![Step::DieWithParent, Step::HideProcess, Step::Cgroups { namespace: false }];
    let joins_user = namespaces.iter().any(|(kind, _)| *kind == Namespace::User);
    steps.extend(namespaces.into_iter().map(|(kind, fd)| Step::Join(kind, fd)));
    steps.extend(joins_user.then_some(Step::BecomeRoot));
    steps.push(Step::OpenRoot);
    steps
}
// ANCHOR_END: enter

/// Opens the root of this process, for a terminal's devices.
pub(crate) fn own_root() -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open("/", flags, Mode::empty()).on("open", "/")?)
}

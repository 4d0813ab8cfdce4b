//! The parent's part of creating a container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corten_namespaces::Namespace;
use corten_namespaces::error::Context;
use corten_namespaces::idmap::write_maps;
use corten_namespaces::rootless;

use super::{Create, Step};
use crate::cgroup::Cgroup;
use crate::channel::{self, Channel, Listener, Message};
use crate::child;
use crate::container::{Container, START_SOCKET, Status};
use crate::error::{Error, Result};
use crate::state::{Directory, Init, Lock};
use crate::sys::process::{CloneOptions, clone};
use crate::{hooks, link, seccomp};

/// A container whose first process waits for `start`.
#[derive(Debug)]
pub struct Created {
    /// It.
    pub container: Container,
    /// Its first process.
    pub pidfd: OwnedFd,
    channel: Channel,
    poststart: Vec<oci_spec::runtime::Hook>,
    listener: Option<seccomp::Listener>,
    /// Held until the caller lets go of this.
    pub lock: Lock,
}

/// What has to be undone where creating fails.
struct Undo {
    directory: Directory,
    cgroup: Option<Cgroup>,
    process: Option<OwnedFd>,
    rdt: Option<std::path::PathBuf>,
    armed: bool,
}

// ANCHOR: undo
impl Drop for Undo {
    /// Processes first, since a group with processes cannot be removed; the state last, since it
    /// tells what there is to be removed.
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        if let Some(pidfd) = &self.process {
            let _ = corten_namespaces::sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            while corten_namespaces::sys::wait(pidfd.as_fd()) == Err(nix::errno::Errno::EINTR) {}
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
        if let Some(rdt) = &self.rdt {
            let _ = std::fs::remove_dir(rdt);
        }
        if let Ok(Some(state)) = self.directory.read() {
            let _ = super::detach_root(&state);
        }
        let _ = self.directory.remove();
    }
}
// ANCHOR_END: undo

impl Create {
    // ANCHOR: execute
    /// Creates the container. What was made is undone where this fails, and what a crash leaves
    /// behind is written down before it is made.
    ///
    /// # Errors
    /// The first failure, here or in the child.
    pub fn execute(mut self) -> Result<Created> {
        let (directory, lock) = Directory::create(&self.options.root, &self.id)?;
        let mut undo = Undo {
            directory: directory.clone(),
            cgroup: None,
            process: None,
            rdt: self.rdt.as_ref().and_then(crate::rdt::Plan::removable),
            armed: true,
        };
        self.state.cgroup = self.cgroup.as_ref().map(crate::cgroup::Plan::saved);
        self.state.rdt.clone_from(&undo.rdt);
        directory.write(&self.state)?;
        directory.write_file("config.json", self.config.as_bytes())?;
        if self.options.detached_start {
            self.listen(&directory)?;
        }
        let direct = self.cgroup.as_ref().filter(|plan| !plan.by_systemd());
        // v2's group has to be there for clone3; the others are made while the child is at work.
        undo.cgroup = direct.map(crate::cgroup::Plan::execute_unified).transpose()?.flatten();
        let (ours, pidfd, pid) = self.clone_child(undo.cgroup.as_ref(), &lock)?;
        undo.process = Some(pidfd.try_clone().during("keep the container's pidfd")?);
        let report = |error: Error| told(&ours).unwrap_or(error);
        self.map_ids(&ours, pid).map_err(report)?;
        let mut tasks = Vec::new();
        if let Some(plan) = &self.cgroup {
            if plan.by_systemd() {
                undo.cgroup = Some(plan.start_scope(pid).map_err(report)?);
            } else {
                let cgroup = plan.execute().map_err(report)?;
                tasks = undo.cgroup.insert(cgroup).tasks().map_err(report)?;
            }
        }
        self.equip(&ours, pid, &tasks).map_err(report)?;
        self.state.init = Some(Init::of(pid).map_err(report)?);
        self.converse(&ours, &directory, &pidfd)?;
        self.state.complete = true;
        directory.write(&self.state)?;
        self.tell_caller(&pidfd, pid)?;
        undo.armed = false;
        let container = Container { directory, state: self.state };
        let poststart = self.hooks.poststart;
        Ok(Created { container, pidfd, channel: ours, poststart, listener: self.listener, lock })
    }
    // ANCHOR_END: execute

    /// Makes the socket on which the child will wait.
    fn listen(&mut self, directory: &Directory) -> Result<()> {
        let dir = std::fs::File::open(directory.path()).on("open", directory.path())?;
        let listener = Listener::bind(dir.as_fd(), START_SOCKET)?;
        for step in &mut self.steps {
            if let Step::AwaitStart(slot) = step {
                *slot = Some(listener);
                break;
            }
        }
        Ok(())
    }

    // ANCHOR: clone_child
    /// Makes the first process. A pid namespace that is joined counts for children only, so this
    /// process joins it for a moment; a user namespace that is joined must own what is made new, so
    /// a process in between does.
    fn clone_child(
        &self,
        cgroup: Option<&Cgroup>,
        lock: &Lock,
    ) -> Result<(Channel, OwnedFd, libc::pid_t)> {
        let (ours, theirs) = Channel::pair()?;
        let proc = child::host_proc()?;
        let flags = self.namespaces.flags();
        let options = CloneOptions { flags, cgroup: cgroup.and_then(Cgroup::clone_fd) };
        let (ours_number, lock_number) = (ours.number(), lock.number());
        let body = move || {
            // With our end open in the child, too, it would not see us go; and it would hold the
            // lock as long as it lives.
            let _ = nix::unistd::close(ours_number);
            let _ = nix::unistd::close(lock_number);
            child::walk(&self.steps, theirs, proc, self.state.clone())
        };
        let failed = format!("clone3 with namespaces {}", self.namespaces);
        if !self.through.is_empty() {
            let through: Vec<_> =
                self.through.iter().map(|(kind, fd)| (*kind, fd.as_fd())).collect();
            let (pidfd, pid) = clone_between(options, &through, body)?;
            return Ok((ours, pidfd, pid));
        }
        let Some(joined) = &self.pid_namespace else {
            let (pidfd, pid) = clone(options, body).during(&failed)?;
            return Ok((ours, pidfd, pid));
        };
        let (pidfd, pid) = clone_among(joined.as_fd(), options, &failed, body)?;
        Ok((ours, pidfd, pid))
    }
    // ANCHOR_END: clone_child

    fn map_ids(&self, ours: &Channel, pid: libc::pid_t) -> Result<()> {
        if let Some((uids, gids)) = &self.maps {
            write_maps(pid, uids, gids)?;
            ours.send(&Message::Mapped)?;
        }
        Ok(())
    }

    // ANCHOR: equip
    /// What only the parent can do for the child, while that builds its tree.
    fn equip(&self, ours: &Channel, pid: libc::pid_t, tasks: &[OwnedFd]) -> Result<()> {
        if let Some(rdt) = &self.rdt {
            rdt.apply(pid)?;
        }
        if let Some(score) = self.oom_score_adj {
            set_oom_score(pid, score)?;
        }
        for (name, new_name) in &self.devices {
            link::give(name, new_name.as_deref(), pid)?;
        }
        ours.send_with(&Message::Joined, tasks)
    }
    // ANCHOR_END: equip

    /// Talks to the child until it is ready.
    fn converse(&mut self, ours: &Channel, directory: &Directory, pidfd: &OwnedFd) -> Result<()> {
        loop {
            match ours.receive()? {
                Some(Message::Ready) => return Ok(()),
                Some(Message::Hooks) => {
                    directory.write(&self.state)?;
                    let container =
                        Container { directory: directory.clone(), state: self.state.clone() };
                    // The older kind ran after create once, and is told so still.
                    let report = container.report(Status::Created);
                    hooks::run("prestart", &self.hooks.prestart, &report)?;
                    let report = container.report(Status::Creating);
                    hooks::run("createRuntime", &self.hooks.create_runtime, &report)?;
                    ours.send(&Message::Hooks)?;
                }
                Some(Message::Failed(code, message)) => {
                    return Err(Error::Container { message, code });
                }
                Some(_) => {}
                None => return Err(died(pidfd.as_fd())),
            }
        }
    }

    fn tell_caller(&self, pidfd: &OwnedFd, pid: libc::pid_t) -> Result<()> {
        if let Some(path) = &self.options.pidfd_socket {
            let socket = channel::connect_caller(path)?;
            channel::send_fd(socket.as_fd(), b"pidfd", pidfd.as_fd())?;
        }
        match &self.options.pid_file {
            Some(path) => write_pid(path, pid),
            None => Ok(()),
        }
    }
}

/// A failure that the child has told: it explains best why the parent could not go on. Where the
/// parent's failure is its own, the child waits for the parent, and nothing must wait for the child.
fn told(ours: &Channel) -> Option<Error> {
    match ours.heard() {
        Some(Message::Failed(code, message)) => Some(Error::Container { message, code }),
        _ => None,
    }
}

/// The file of `--pid-file`: a number without a newline, whole or absent. It may be in a directory
/// where the caller may write and not rename over, so the temporary is beside it.
///
/// # Errors
/// What writing says.
pub(crate) fn write_pid(path: &Path, pid: libc::pid_t) -> Result<()> {
    crate::state::write_whole(path, pid.to_string().as_bytes())?;
    use std::os::unix::fs::PermissionsExt;
    let readable = std::fs::Permissions::from_mode(0o644);
    Ok(std::fs::set_permissions(path, readable).on("make readable", path)?)
}

pub(crate) fn died(pidfd: BorrowedFd<'_>) -> Error {
    let how = match corten_namespaces::sys::wait(pidfd) {
        Ok((libc::CLD_EXITED, status)) => format!("exit status {status}"),
        Ok((_, signal)) => format!("killed by signal {signal}"),
        Err(_) => "its status is another process's to know".to_owned(),
    };
    Error::Died { how }
}

// ANCHOR: clone_among
/// Makes a process in another pid namespace, which this process joins for a moment. In a user namespace
/// it could not come back: its own pid namespace is the host's.
pub(crate) fn clone_among(
    joined: BorrowedFd<'_>,
    options: CloneOptions<'_>,
    failed: &str,
    body: impl FnOnce() -> std::convert::Infallible,
) -> Result<(OwnedFd, libc::pid_t)> {
    if rootless::inside() {
        return clone_between(options, &[(Namespace::Pid, joined)], body);
    }
    let own = Namespace::Pid.open(std::process::id() as libc::pid_t)?;
    Namespace::Pid.join(joined)?;
    let made = clone(options, body).during(failed);
    Namespace::Pid.join(own.as_fd())?;
    Ok(made?)
}
// ANCHOR_END: clone_among

/// By a process in between, which joins and then makes its sibling.
fn clone_between(
    options: CloneOptions<'_>,
    through: &[(Namespace, BorrowedFd<'_>)],
    body: impl FnOnce() -> std::convert::Infallible,
) -> Result<(OwnedFd, libc::pid_t)> {
    let (hear, tell) = Channel::pair()?;
    let between = || {
        let made = || -> Result<libc::pid_t> {
            for (kind, fd) in through {
                kind.join(*fd)?;
            }
            if through.iter().any(|(kind, _)| *kind == Namespace::User) {
                corten_namespaces::sys::identity::setgid(0).during("become group 0")?;
                corten_namespaces::sys::identity::setuid(0).during("become user 0")?;
            }
            let flags = options.flags | libc::CLONE_PARENT as u64;
            let options = CloneOptions { flags, cgroup: None };
            Ok(clone(options, body).during("clone3 in joined namespaces")?.1)
        };
        let message = match made() {
            Ok(pid) => Message::Pid(pid),
            Err(error) => Message::Failed(error.exit_code(), error.to_string()),
        };
        let _ = tell.send(&message);
        corten_namespaces::sys::exit_now(0)
    };
    let first = CloneOptions { flags: 0, cgroup: options.cgroup };
    let (pidfd, _) = clone(first, between).during("clone3")?;
    drop(tell);
    let heard = hear.receive()?;
    let _ = corten_namespaces::sys::wait(pidfd.as_fd());
    match heard {
        Some(Message::Pid(pid)) => {
            let pidfd = corten_namespaces::sys::pidfd_open(pid).during("open the child")?;
            Ok((pidfd, pid))
        }
        Some(Message::Failed(code, message)) => Err(Error::Container { message, code }),
        _ => Err(Error::Died { how: "while it joined namespaces".into() }),
    }
}

// ANCHOR: oom_score
/// Lowering it below the own one needs CAP_SYS_RESOURCE; without, it stays as low as it can be.
pub(crate) fn set_oom_score(pid: libc::pid_t, score: i32) -> Result<()> {
    let path = format!("/proc/{pid}/oom_score_adj");
    match std::fs::write(&path, score.to_string()) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            let own = std::fs::read_to_string("/proc/self/oom_score_adj").on("read", &path)?;
            let own = own.trim().parse().unwrap_or(0);
            Ok(std::fs::write(&path, score.max(own).to_string()).on("write", &path)?)
        }
        other => Ok(other.on(&format!("write {score} to"), &path)?),
    }
}
// ANCHOR_END: oom_score

impl Created {
    /// Starts the program.
    ///
    /// # Errors
    /// What keeps it from running; a poststart hook that failed.
    pub fn start(&self) -> Result<()> {
        let init = self.container.init("start")?;
        let report = self.container.report(Status::Running);
        let pidfd = self.pidfd.as_fd();
        start_over(&self.channel, pidfd, init.pid, self.listener.as_ref(), &report)?;
        hooks::run("poststart", &self.poststart, &report)
    }
}

// ANCHOR: start_over
/// Says `start` and waits for execve, which closes the other end.
///
/// # Errors
/// What the child says.
pub(crate) fn start_over(
    channel: &Channel,
    pidfd: BorrowedFd<'_>,
    pid: libc::pid_t,
    listener: Option<&seccomp::Listener>,
    report: &crate::container::StateReport<'_>,
) -> Result<()> {
    channel.send(&Message::Start)?;
    let mut going = false;
    loop {
        match channel.receive()? {
            None if going => return Ok(()),
            None => return Err(died(pidfd)),
            Some(Message::Going) => going = true,
            Some(Message::Failed(code, message)) => return Err(Error::Container { message, code }),
            Some(Message::Listener(number)) => {
                if let Some(listener) = listener {
                    seccomp::listener::deliver(pidfd, number, listener, report, pid)?;
                }
                channel.send(&Message::Start)?;
            }
            Some(_) => {}
        }
    }
}
// ANCHOR_END: start_over

//! create, run, kill, delete, pause, resume.

use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::Args;

use super::{Global, args::Named, terminal};
use crate::bundle::Bundle;
use crate::container::{Container, Status};
use crate::create::{self, Created};
use crate::error::Result;
use crate::id::ContainerId;
use crate::log::Log;
use crate::{channel, delete, kill, notify};

// What create and run have in common.
#[derive(Debug, Args)]
struct Making {
    /// The container's name
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// The directory of config.json
    #[arg(long, short = 'b', default_value = ".")]
    bundle: PathBuf,
    /// The socket that gets the master of the terminal
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// The file that gets the number of the first process
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// The socket that gets a descriptor of the first process
    #[arg(long)]
    pidfd_socket: Option<PathBuf>,
    /// Moves the root instead of pivot_root, for a root in an initramfs
    #[arg(long)]
    no_pivot: bool,
    /// Keeps the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// How many descriptors after 2 the container inherits
    #[arg(long, default_value_t = 0)]
    preserve_fds: i32,
    /// The file of the configuration, instead of config.json in the bundle
    #[arg(long, short = 'f', hide = true)]
    config: Option<PathBuf>,
}

impl Making {
    fn bundle(&self) -> Result<Bundle> {
        match &self.config {
            None => Bundle::open(&self.bundle),
            Some(file) => Bundle::open_with(&self.bundle, file),
        }
    }

    fn options(&self, global: &Global) -> Result<create::Options> {
        let console = self.console_socket.as_deref().map(channel::connect_caller).transpose()?;
        let variable = std::env::var("LISTEN_FDS").ok();
        let ours =
            std::env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
        Ok(create::Options {
            root: global.root(),
            console,
            pid_file: self.pid_file.clone(),
            pidfd_socket: self.pidfd_socket.clone(),
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserve_fds: self.preserve_fds,
            cgroup_manager: global.manager(),
            detached_start: false,
            listen_fds: variable.filter(|_| ours).and_then(|fds| fds.parse().ok()),
            init: false,
            // For `run` only: whoever says `create` is gone when the service is ready.
            notify: None,
        })
    }

    fn create(&self, bundle: &Bundle, options: create::Options, log: &Log) -> Result<Created> {
        let id: ContainerId = self.id.parse()?;
        let plan = create::Create::new(id, bundle, options)?;
        plan.warnings.iter().for_each(|warning| log.warn(warning));
        plan.notes.iter().for_each(|note| log.debug(note));
        plan.execute()
    }
}

#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    making: Making,
}

impl Create {
    pub fn run(&self, global: &Global, log: &Log) -> Result<()> {
        let bundle = self.making.bundle()?;
        let mut options = self.making.options(global)?;
        options.detached_start = true;
        self.making.create(&bundle, options, log)?;
        Ok(())
    }
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    making: Making,
    /// Returns when the program runs
    #[arg(long, short = 'd')]
    detach: bool,
    /// Leaves orphans of the container to others
    #[arg(long)]
    no_subreaper: bool,
    /// Does not delete the container when it has ended
    #[arg(long)]
    keep: bool,
}

impl Run {
    pub fn run(&self, global: &Global, log: &Log) -> Result<u8> {
        let bundle = self.making.bundle()?;
        let mut options = self.making.options(global)?;
        let wants = bundle.spec.process().as_ref().and_then(|p| p.terminal()).unwrap_or(false);
        let front = terminal::Front::prepare(wants && options.console.is_none(), self.detach)?;
        if let Some(socket) = front.socket()? {
            options.console = Some(socket);
        }
        if !self.detach && !self.no_subreaper {
            let set = corten_namespaces::sys::identity::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0);
            corten_namespaces::error::Context::during(set, "become a subreaper")?;
        }
        let host = std::env::var_os("NOTIFY_SOCKET").map(PathBuf::from);
        let notified = match host.filter(|host| !host.as_os_str().is_empty()) {
            Some(host) => {
                let (socket, tree) = notify::bind()?;
                options.notify = Some(tree);
                Some((socket, host))
            }
            None => None,
        };
        let created = self.making.create(&bundle, options, log)?;
        let started = created.start();
        if let Err(error) = started {
            let _ = corten_namespaces::sys::pidfd_send_signal(created.pidfd.as_fd(), libc::SIGKILL);
            let _ = corten_namespaces::sys::wait(created.pidfd.as_fd());
            let _ = delete::remove(&created.container);
            return Err(error);
        }
        let Created { container, pidfd, lock, .. } = created;
        drop(lock);
        let pid = container.state.init.map_or(0, |init| init.pid);
        if let Some((socket, host)) = notified {
            notify::relay(&socket, &host, pid)?;
        }
        if self.detach {
            return Ok(0);
        }
        let status = front.wait(pidfd.as_fd(), pid)?;
        if !self.keep {
            clean_up(container, log);
        }
        Ok(status)
    }
}

/// After the container's end its status is what counts; what cannot be removed is told.
pub(super) fn clean_up(container: Container, log: &Log) {
    let Ok(lock) = container.directory.lock() else { return };
    if let Err(error) = delete::remove_later(container, lock) {
        log.error(&error.to_string());
    }
}

#[derive(Debug, Args)]
pub struct Kill {
    /// The container
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// The signal, by name or number
    #[arg(default_value = "SIGTERM", allow_hyphen_values = false)]
    signal: String,
    /// To all processes of the container
    #[arg(long, short = 'a')]
    all: bool,
}

impl Kill {
    pub fn run(&self, global: &Global) -> Result<()> {
        let number = kill::signal(&self.signal)?;
        let container = Container::load(&global.root(), &self.id.parse()?)?;
        kill::kill(&container, number, self.all)
    }
}

#[derive(Debug, Args)]
pub struct Delete {
    /// The container
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// Kills it first where it still runs; that it does not exist is no failure
    #[arg(long, short = 'f')]
    force: bool,
}

impl Delete {
    pub fn run(&self, global: &Global) -> Result<()> {
        delete::delete(&global.root(), &self.id.parse()?, self.force)
    }
}

/// `pause` and `resume`
pub fn pause(global: &Global, named: &Named, freeze: bool) -> Result<()> {
    let (container, _lock) = Container::locked(&global.root(), &named.id()?)?;
    let status = container.status();
    let operation = if freeze { "pause" } else { "resume" };
    let cgroup = match (container.cgroup()?, status, freeze) {
        (Some(cgroup), Status::Running | Status::Created, true)
        | (Some(cgroup), Status::Paused, false) => cgroup,
        (None, ..) => {
            return Err(container.wrong_status(operation, status, ", and has no control group"));
        }
        _ => return Err(container.wrong_status(operation, status, "")),
    };
    if freeze { cgroup.freeze() } else { cgroup.thaw() }
}

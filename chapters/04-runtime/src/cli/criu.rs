//! checkpoint and restore.

use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::Args;
use corten_namespaces::error::Context;

use super::{Global, terminal};
use crate::bundle::Bundle;
use crate::checkpoint::{self, Settings};
use crate::container::Container;
use crate::create::{self, Create};
use crate::error::Result;
use crate::log::Log;

// What checkpoint and restore have in common.
#[derive(Debug, Args)]
struct Common {
    /// The container
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// The directory of the image
    #[arg(long, default_value = "checkpoint")]
    image_path: PathBuf,
    /// The directory of the log
    #[arg(long)]
    work_path: Option<PathBuf>,
    /// Keeps open TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Allows connections to Unix sockets outside
    #[arg(long)]
    ext_unix_sk: bool,
    /// The container has the caller's terminal
    #[arg(long)]
    shell_job: bool,
    /// Fetches memory when it is first touched
    #[arg(long)]
    lazy_pages: bool,
    /// Keeps file locks
    #[arg(long)]
    file_locks: bool,
    /// soft, full, strict or ignore
    #[arg(long)]
    manage_cgroups_mode: Option<String>,
    /// Leaves a kind of namespace out
    #[arg(long)]
    empty_ns: Vec<String>,
    /// Finds memory that is twice in an image and its parent
    #[arg(long)]
    auto_dedup: bool,
}

impl Common {
    fn settings(&self, global: &Global) -> Result<Settings> {
        let absolute = |path: &PathBuf| std::path::absolute(path).on("find", path);
        Ok(Settings {
            criu: global.criu.clone(),
            image: absolute(&self.image_path)?,
            work: self.work_path.as_ref().map(absolute).transpose()?,
            tcp_established: self.tcp_established,
            ext_unix_sockets: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            cgroups_mode: self.manage_cgroups_mode.clone(),
            lazy_pages: self.lazy_pages,
            auto_dedup: self.auto_dedup,
            empty_namespaces: self.empty_ns.clone(),
            ..Settings::default()
        })
    }
}

#[derive(Debug, Args)]
pub struct Checkpoint {
    #[command(flatten)]
    common: Common,
    /// An earlier pre-dump, relative to the image
    #[arg(long)]
    parent_path: Option<PathBuf>,
    /// Lets the container go on
    #[arg(long)]
    leave_running: bool,
    /// Memory only
    #[arg(long)]
    pre_dump: bool,
    /// A descriptor that is told when lazy pages can be fetched
    #[arg(long)]
    status_fd: Option<i32>,
    /// ADDRESS:PORT of a page server
    #[arg(long)]
    page_server: Option<String>,
}

impl Checkpoint {
    pub fn run(&self, global: &Global) -> Result<()> {
        let (container, _lock) = Container::locked(&global.root(), &self.common.id.parse()?)?;
        let settings = Settings {
            parent: self.parent_path.clone(),
            leave_running: self.leave_running,
            pre_dump: self.pre_dump,
            status_fd: self.status_fd,
            page_server: self.page_server.clone(),
            ..self.common.settings(global)?
        };
        checkpoint::checkpoint(&container, &settings)
    }
}

#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    common: Common,
    /// The directory of config.json
    #[arg(long, short = 'b', default_value = ".")]
    bundle: PathBuf,
    /// Returns when the program runs
    #[arg(long, short = 'd')]
    detach: bool,
    /// The file that gets the number of the first process
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// Another label of security modules
    #[arg(long)]
    lsm_profile: Option<String>,
    /// Accepted for runc's callers
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// Leaves orphans to others
    #[arg(long)]
    no_subreaper: bool,
    /// Accepted for runc's callers
    #[arg(long)]
    no_pivot: bool,
}

impl Restore {
    pub fn run(&self, global: &Global, log: &Log) -> Result<u8> {
        let bundle = Bundle::open(&self.bundle)?;
        let settings =
            Settings { lsm_profile: self.lsm_profile.clone(), ..self.common.settings(global)? };
        if !self.no_subreaper {
            let set = corten_namespaces::sys::identity::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0);
            set.during("become a subreaper")?;
        }
        let front = terminal::Front::prepare(false, self.detach)?;
        let options = create::Options {
            root: global.root(),
            cgroup_manager: global.manager(),
            pid_file: self.pid_file.clone(),
            ..create::Options::default()
        };
        let plan = Create::for_restore(self.common.id.parse()?, &bundle, options)?;
        let (container, pid) = plan.restore(&bundle, &settings)?;
        if self.detach {
            return Ok(0);
        }
        let pidfd = corten_namespaces::sys::pidfd_open(pid).during("watch the container")?;
        let status = front.wait(pidfd.as_fd(), pid)?;
        super::life::clean_up(container, log);
        Ok(status)
    }
}

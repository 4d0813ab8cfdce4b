//! `run`, `explain` and `enter`: from arguments to a [`Config`].

use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use clap::Args;
use corten_namespaces::capability::CapabilitySet;
use corten_namespaces::config::{ClockOffsets, DEFAULT_PATH, Limit, RootSwitch, User};
use corten_namespaces::error::{Context, Error, Result};
use corten_namespaces::idmap::{self, IdMap, Range};
use corten_namespaces::mount::{Mount, attribute};
use corten_namespaces::{
    Config, Namespace, NamespaceSet, Plan, Process, Relay, Rootfs, explain, sys, terminal,
};

/// Which kinds of namespace.
#[derive(Debug, Args)]
struct Kinds {
    /// New mount namespace.
    #[arg(long)]
    mnt: bool,
    /// New pid namespace.
    #[arg(long)]
    pid: bool,
    /// New network namespace, with nothing but a loopback interface.
    #[arg(long)]
    net: bool,
    /// New ipc namespace.
    #[arg(long)]
    ipc: bool,
    /// New uts namespace.
    #[arg(long)]
    uts: bool,
    /// New user namespace; see --map-root, --uid-map and --gid-map.
    #[arg(long)]
    user: bool,
    /// New cgroup namespace.
    #[arg(long)]
    cgroup: bool,
    /// New time namespace; see --monotonic and --boottime.
    #[arg(long)]
    time: bool,
}

impl Kinds {
    fn set(&self) -> NamespaceSet {
        use Namespace::{Cgroup, Ipc, Mount, Net, Pid, Time, User, Uts};
        [
            (self.mnt, Mount),
            (self.pid, Pid),
            (self.net, Net),
            (self.ipc, Ipc),
            (self.uts, Uts),
            (self.user, User),
            (self.cgroup, Cgroup),
            (self.time, Time),
        ]
        .into_iter()
        .filter_map(|(asked, namespace)| asked.then_some(namespace))
        .collect()
    }
}

/// Arguments of `run` and `explain`. Without a namespace option, all are new but user and time.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The directory that becomes /.
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    #[command(flatten)]
    kinds: Kinds,
    /// The host name inside; implies --uts.
    #[arg(long)]
    hostname: Option<String>,
    /// The NIS domain name inside; implies --uts.
    #[arg(long)]
    domainname: Option<String>,
    /// New user namespace in which the calling user is root: needs no privilege.
    #[arg(long, conflicts_with_all = ["uid_map", "gid_map", "map_auto"])]
    map_root: bool,
    /// As --map-root, and the ids from 1 on are those that /etc/subuid and /etc/subgid grant.
    #[arg(long, conflicts_with_all = ["uid_map", "gid_map"])]
    map_auto: bool,
    /// User ids of a new user namespace; may be repeated.
    #[arg(long, value_name = "INSIDE:OUTSIDE:LENGTH")]
    uid_map: Vec<Range>,
    /// Its group ids.
    #[arg(long, value_name = "INSIDE:OUTSIDE:LENGTH")]
    gid_map: Vec<Range>,
    /// Join the namespace behind a file: /proc/PID/ns/net, or what `keep` made.
    #[arg(long, value_name = "FILE")]
    join: Vec<PathBuf>,
    /// Seconds to add to CLOCK_MONOTONIC; implies --time.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    monotonic: Option<i64>,
    /// Seconds to add to CLOCK_BOOTTIME, which uptime shows; implies --time.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    boottime: Option<i64>,
    /// Show a directory or file of the host inside.
    #[arg(short = 'v', long = "volume", value_name = "SRC:DST[:ro]")]
    volumes: Vec<String>,
    /// Mount an empty tmpfs inside.
    #[arg(long, value_name = "DST")]
    tmpfs: Vec<PathBuf>,
    /// Make / read-only.
    #[arg(long)]
    read_only: bool,
    /// Give the command a terminal of its own.
    #[arg(short = 't', long)]
    tty: bool,
    /// Put an init before the command, which collects orphans and forwards signals.
    #[arg(long)]
    init: bool,
    /// Forbid to gain rights by set-user-ID programs and file capabilities.
    #[arg(long)]
    no_new_privs: bool,
    /// Capabilities to keep: `default` (Docker's 14), `all`, `none`, or a list.
    #[arg(long, value_name = "LIST")]
    caps: Option<String>,
    /// A resource limit; may be repeated.
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<Limit>,
    /// Use chroot where pivot_root belongs. A process inside can leave it: for the lab only.
    #[arg(long, requires = "rootfs")]
    insecure_chroot: bool,
    #[command(flatten)]
    program: ProgramArgs,
}

/// What is run, for `run` and `enter`.
#[derive(Debug, Args)]
struct ProgramArgs {
    /// Set an environment variable; nothing of the caller's is passed on but TERM with a terminal.
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The working directory, made where it is missing.
    #[arg(short = 'w', long, default_value = "/")]
    workdir: PathBuf,
    /// Who runs it, by number.
    #[arg(short = 'u', long = "as", value_name = "UID[:GID]", default_value = "0")]
    who: String,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl RunArgs {
    /// Runs the container in the foreground and gives its exit status.
    ///
    /// # Errors
    /// What could not be done; nothing is left of the container then.
    pub fn run(self) -> Result<u8> {
        let relay = Relay::new()?;
        let plan = Plan::new(self.config()?)?;
        let mut container = plan.spawn()?;
        Ok(relay.run(&mut container)?.status())
    }

    /// Prints the plan.
    ///
    /// # Errors
    /// What `run` would refuse before its first system call.
    pub fn explain(self) -> Result<u8> {
        print!("{}", explain::render(&Plan::new(self.config()?)?));
        Ok(0)
    }

    fn config(self) -> Result<Config> {
        let mut join = Vec::new();
        for path in &self.join {
            join.push(open_namespace(path)?);
        }
        let namespaces = self.namespaces(&join);
        let (uid_map, gid_map) = self.maps(namespaces)?;
        let mut mounts = Vec::new();
        for volume in &self.volumes {
            mounts.push(parse_volume(volume)?);
        }
        for target in &self.tmpfs {
            let attributes = attribute::NOSUID | attribute::NODEV;
            mounts.push(Mount::file_system("tmpfs", target, attributes, "mode=1777")?);
        }
        let switch = if self.insecure_chroot { RootSwitch::Chroot } else { RootSwitch::Pivot };
        let contained = self.rootfs.is_some();
        let mut process = self.program.process(self.tty)?;
        process.init = self.init;
        process.no_new_privileges = self.no_new_privs;
        process.capabilities = capabilities(self.caps.as_deref(), contained)?;
        process.limits = self.ulimit;
        Ok(Config {
            namespaces,
            join,
            uid_map,
            gid_map,
            rootfs: self.rootfs.map(|path| Rootfs { path, mount: None, switch }),
            mounts,
            read_only: self.read_only,
            protect_kernel: contained && namespaces.contains(Namespace::Pid),
            hostname: self.hostname,
            domainname: self.domainname,
            clocks: ClockOffsets { monotonic: self.monotonic, boottime: self.boottime },
            process,
            die_with_parent: true,
        })
    }

    /// What was asked for by name, or by an option that makes sense only with it.
    fn namespaces(&self, join: &[(Namespace, OwnedFd)]) -> NamespaceSet {
        use Namespace::{Cgroup, Ipc, Mount, Net, Pid, Time, User, Uts};
        let mut set = self.kinds.set();
        let joined = |namespace| join.iter().any(|(kind, _)| *kind == namespace);
        // New ones would belong to our user namespace, and a joined one has no rights over them.
        if set.is_empty() && !joined(User) {
            let usual = [Mount, Pid, Net, Ipc, Uts, Cgroup];
            set = usual.into_iter().filter(|namespace| !joined(*namespace)).collect();
        }
        let mounts = self.rootfs.is_some() || !self.volumes.is_empty() || !self.tmpfs.is_empty();
        let names = self.hostname.is_some() || self.domainname.is_some();
        let clocks = self.monotonic.is_some() || self.boottime.is_some();
        let maps =
            self.map_root || self.map_auto || !self.uid_map.is_empty() || !self.gid_map.is_empty();
        for (implied, namespace) in [(mounts, Mount), (names, Uts), (clocks, Time), (maps, User)] {
            if implied {
                set = set.with(namespace);
            }
        }
        set
    }

    fn maps(&self, namespaces: NamespaceSet) -> Result<(IdMap, IdMap)> {
        if !namespaces.contains(Namespace::User) {
            return Ok((IdMap::default(), IdMap::default()));
        }
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        if self.map_auto {
            let user = nix::unistd::User::from_uid(uid.into())
                .during("look up the calling user")?
                .map_or(String::new(), |user| user.name);
            let uids = idmap::granted(Path::new("/etc/subuid"), &user, uid)?;
            let gids = idmap::granted(Path::new("/etc/subgid"), &user, uid)?;
            return Ok((idmap::rootless(uid, &uids), idmap::rootless(gid, &gids)));
        }
        if self.uid_map.is_empty() && self.gid_map.is_empty() {
            return Ok((IdMap::root_is(uid), IdMap::root_is(gid)));
        }
        Ok((IdMap::new(self.uid_map.clone())?, IdMap::new(self.gid_map.clone())?))
    }
}

impl ProgramArgs {
    fn process(self, tty: bool) -> Result<Process> {
        let mut env = self.env;
        for pair in &env {
            if !pair.contains('=') || pair.starts_with('=') {
                return Err(Error::invalid(format!("environment `{pair}`"), "is not NAME=VALUE"));
            }
        }
        let mut default = |name: &str, value: &str| {
            if !env.iter().any(|pair| pair.split('=').next() == Some(name)) {
                env.push(format!("{name}={value}"));
            }
        };
        default("PATH", DEFAULT_PATH);
        let stdin = std::io::stdin();
        if tty || stdin.is_terminal() {
            default("TERM", &std::env::var("TERM").unwrap_or_else(|_| "xterm".into()));
        }
        Ok(Process {
            args: self.command,
            env,
            cwd: self.workdir,
            user: parse_user(&self.who)?,
            terminal: tty.then(|| terminal::size(stdin.as_fd())),
            ..Process::default()
        })
    }
}

fn capabilities(list: Option<&str>, contained: bool) -> Result<Option<CapabilitySet>> {
    match list {
        // Without a root of its own the command is a tool of the caller's, not a container.
        None if !contained => Ok(None),
        None | Some("default") => Ok(Some(CapabilitySet::CONTAINER)),
        Some("all") => Ok(None),
        Some("none") => Ok(Some(CapabilitySet::NONE)),
        Some(list) => CapabilitySet::from_names(list.split(',')).map(Some),
    }
}

fn parse_user(who: &str) -> Result<User> {
    let bad = |_| Error::invalid(format!("user `{who}`"), "is not UID[:GID] in numbers");
    let (uid, gid) = who.split_once(':').unwrap_or((who, "0"));
    Ok(User { uid: uid.parse().map_err(bad)?, gid: gid.parse().map_err(bad)?, groups: Vec::new() })
}

fn parse_volume(volume: &str) -> Result<Mount> {
    let bad = || Error::invalid(format!("volume `{volume}`"), "is not SRC:DST or SRC:DST:ro");
    let mut parts = volume.split(':');
    let (Some(source), Some(target)) = (parts.next(), parts.next()) else { return Err(bad()) };
    let attributes = match (parts.next(), parts.next()) {
        (None | Some("rw"), None) => 0,
        (Some("ro"), None) => attribute::RDONLY,
        _ => return Err(bad()),
    };
    Mount::bind(Path::new(source), target, attributes)
}

fn open_namespace(path: &Path) -> Result<(Namespace, OwnedFd)> {
    let file = std::fs::File::open(path).on("open namespace", path)?;
    let kind = sys::ns::kind(file.as_raw_fd()).map_err(|_| {
        Error::invalid(
            path.display().to_string(),
            "is no namespace: give /proc/PID/ns/NAME or a kept one",
        )
    })?;
    Namespace::ALL
        .into_iter()
        // The flag is a positive number.
        .find(|namespace| namespace.flag() == kind as u64)
        .map(|namespace| (namespace, file.into()))
        .ok_or_else(|| Error::invalid(path.display().to_string(), "is of an unknown kind"))
}

/// Arguments of `enter`. Without a namespace option, all that differ from the caller's are entered.
#[derive(Debug, Args)]
pub struct EnterArgs {
    #[command(flatten)]
    kinds: Kinds,
    /// The process whose namespaces are entered.
    target: libc::pid_t,
    #[command(flatten)]
    program: ProgramArgs,
}

impl EnterArgs {
    /// Runs the command there and gives its exit status.
    ///
    /// # Errors
    /// `ESRCH` where there is no such process, `EPERM` without CAP_SYS_ADMIN there.
    pub fn enter(self) -> Result<u8> {
        let pidfd = sys::pidfd_open(self.target).on("open process", self.target.to_string())?;
        let asked = self.kinds.set();
        // The number of this process is positive and fits.
        let own = std::process::id() as libc::pid_t;
        let mut namespaces = NamespaceSet::EMPTY;
        for namespace in Namespace::ALL {
            // To be in a user namespace already is an error for setns(2), so those shared are left
            // out even when they were asked for.
            let differs = namespace.of(self.target)? != namespace.of(own)?;
            if differs && (asked.is_empty() || asked.contains(namespace)) {
                namespaces = namespaces.with(namespace);
            }
        }
        let relay = Relay::new()?;
        let process = self.program.process(false)?;
        let mut container = Plan::enter(namespaces, pidfd, process)?.spawn()?;
        Ok(relay.run(&mut container)?.status())
    }
}

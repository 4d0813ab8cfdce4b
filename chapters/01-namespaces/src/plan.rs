//! From a [`Config`] to a [`Plan`]: what the child will do between clone3 and execve, as data.
//!
//! The plan is made, and everything in it checked and converted, while allocation is still
//! allowed. It can be printed (`corten-namespaces explain`), tested without root, and changed by a
//! test that wants to see what happens without one of its steps. The module `execute` walks it.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::capability::CapabilitySet;
use crate::config::{ClockOffsets, Config, DEFAULT_PATH, Limit, Process, RootSwitch, Rootfs, User};
use crate::error::{Error, Result};
use crate::idmap::IdMap;
use crate::mount::{self, Mount, Target, attribute};
use crate::namespace::{Namespace, NamespaceSet};
use crate::sys::CStrings;

// ANCHOR: step
/// One thing that the child does. The order in the plan is the order in time.
#[derive(Debug)]
pub enum Step {
    /// Is killed when the thread that spawned it ends. The kernel forgets that at a fork and at a
    /// change of ids, so it is asked for again after those.
    DieWithParent,
    /// Waits until the parent has written the id maps, then becomes root inside.
    BecomeMappedRoot,
    /// Moves into a namespace of another process.
    Join(NamespaceSet, OwnedFd),
    /// Makes a time namespace, sets its clocks and moves into it.
    OffsetClocks(CString),
    /// Makes the process one that others may not look into (PR_SET_DUMPABLE), until execve: its
    /// /proc/PID/exe is this program, a file of the host, which root inside could overwrite
    /// (CVE-2019-5736), and its memory is the caller's.
    HideProcess,
    /// Makes all mounts private, so that none made here is seen outside and none outside here.
    IsolateMounts,
    /// Attaches the root's tree where it can become a root: on a directory, as a mount of its own.
    AttachRoot(CString, Option<OwnedFd>),
    /// Works on the host's own root (where there is no rootfs).
    KeepRoot,
    /// Mounts something below the root.
    Mount(Mount),
    /// Makes a device node in /dev, or bind-mounts the host's where mknod is not allowed.
    Device(Target, CString, libc::dev_t),
    /// Makes a symbolic link in /dev.
    Link(Target, CString),
    /// Hides a path of the kernel's: a file under /dev/null, a directory under an empty tmpfs.
    Mask(Target),
    /// Makes a path of the kernel's read-only.
    WriteProtect(Target),
    /// Makes the working directory.
    MakeDirectory(Target),
    /// Opens a pseudoterminal in the container's /dev/pts and hands its master to the parent.
    Terminal(u16, u16, User),
    /// pivot_root, and the old root is unmounted.
    PivotRoot,
    /// chroot alone, which does not confine root.
    Chroot,
    /// Makes `/` read-only.
    WriteProtectRoot,
    /// Sets the host name.
    Hostname(CString),
    /// Sets the NIS domain name.
    Domainname(CString),
    /// Sets the loopback interface up.
    LoopbackUp,
    /// Sets a resource limit.
    Limit(Limit),
    /// Sets the file mode creation mask.
    Umask(u32),
    /// Puts a descriptor in the place of standard input, output or error.
    Stdio(i32, OwnedFd),
    /// Starts a session and takes the pseudoterminal as its controlling terminal.
    Session,
    /// Forks: the parent stays as pid 1 (or outside of a joined pid namespace), forwards signals,
    /// collects orphans, and ends as the child ends.
    Fork,
    /// Drops capabilities from the bounding set, for good.
    BoundCapabilities(CapabilitySet),
    /// Takes on the ids of the user.
    Credentials(User, bool),
    /// Reduces root's own capabilities to the set.
    Capabilities(CapabilitySet),
    /// Sets no_new_privs.
    NoNewPrivileges,
    /// Marks every descriptor but 0, 1 and 2 close-on-exec.
    CloseDescriptors,
    /// Changes to the working directory and checks that it lies inside the root.
    WorkingDirectory(CString),
    /// Gives all signals their default action and unblocks them.
    ResetSignals,
    /// execve(2).
    Execute(Program),
}
// ANCHOR_END: step

/// The program to be executed, in the form that execve(2) takes.
pub struct Program {
    /// The arguments.
    pub argv: CStrings,
    /// The environment.
    pub envp: CStrings,
    /// The files to try, in this order.
    pub candidates: Vec<CString>,
    /// The `PATH` that they come from, for messages; empty where the command has a slash.
    pub searched: String,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Program").field(&self.argv.strings()).finish()
    }
}

/// Everything that is needed to start a container.
#[derive(Debug)]
pub struct Plan {
    /// The namespaces that clone3 makes.
    pub namespaces: NamespaceSet,
    /// What the parent writes to uid_map.
    pub uid_map: IdMap,
    /// What the parent writes to gid_map.
    pub gid_map: IdMap,
    /// What the child does.
    pub steps: Vec<Step>,
}

impl Plan {
    // ANCHOR: plan_new
    /// Checks `config` and turns it into steps.
    ///
    /// # Errors
    /// [`Error::Invalid`] for everything that the kernel would refuse with a bare errno: a host
    /// name without a uts namespace, a rootfs without a mount namespace, ids that are not mapped.
    pub fn new(config: Config) -> Result<Plan> {
        check(&config)?;
        let Config { namespaces, uid_map, gid_map, process, .. } = config;
        let start = Start {
            joins_pid: config.join.iter().any(|(namespace, _)| *namespace == Namespace::Pid),
            own_session: config.rootfs.is_some(),
            single_id: uid_map.ranges().len() == 1,
            die_with_parent: config.die_with_parent,
        };
        let mut steps = Vec::with_capacity(64);
        steps.extend(config.die_with_parent.then_some(Step::DieWithParent));
        enter(&mut steps, namespaces, config.join, config.clocks)?;
        if namespaces.contains(Namespace::Mount) {
            steps.push(Step::IsolateMounts);
            let view = View {
                namespaces,
                gid_map: &gid_map,
                mounts: config.mounts,
                protect: config.protect_kernel,
            };
            match config.rootfs {
                Some(Rootfs { path, mount, switch }) => {
                    steps.push(Step::AttachRoot(c_path(&path)?, mount));
                    furnish(&mut steps, view, &process)?;
                    steps.push(match switch {
                        RootSwitch::Pivot => Step::PivotRoot,
                        RootSwitch::Chroot => Step::Chroot,
                    });
                    steps.extend(config.read_only.then_some(Step::WriteProtectRoot));
                }
                None => keep_root(&mut steps, view)?,
            }
        }
        name_and_network(&mut steps, namespaces, config.hostname, config.domainname)?;
        finish(&mut steps, process, start)?;
        Ok(Plan { namespaces, uid_map, gid_map, steps })
    }
    // ANCHOR_END: plan_new

    /// The plan that enters the namespaces of another process: `namespaces` behind `pidfd`, as
    /// `corten-namespaces enter` does. Its root and working directory are those of the mount
    /// namespace. It dies with the thread that spawns it: nobody else would.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad command or environment.
    pub fn enter(namespaces: NamespaceSet, pidfd: OwnedFd, process: Process) -> Result<Plan> {
        let mut steps = vec![Step::HideProcess];
        let start = Start {
            joins_pid: namespaces.contains(Namespace::Pid),
            own_session: false,
            single_id: namespaces.contains(Namespace::User),
            die_with_parent: true,
        };
        steps.push(Step::DieWithParent);
        if !namespaces.is_empty() {
            steps.push(Step::Join(namespaces, pidfd));
        }
        finish(&mut steps, process, start)?;
        Ok(Plan {
            namespaces: NamespaceSet::EMPTY,
            uid_map: IdMap::default(),
            gid_map: IdMap::default(),
            steps,
        })
    }
}

/// What the kernel would answer with a bare `EPERM` or `EINVAL`.
fn check(config: &Config) -> Result<()> {
    let new = |namespace| config.namespaces.contains(namespace);
    check_joined(config)?;
    let needs = |what: &str, namespace: Namespace| {
        Err(Error::invalid(
            what,
            format!(
                "needs a new {namespace} namespace, or it would change the host: add --{namespace}"
            ),
        ))
    };
    if config.hostname.is_some() && !new(Namespace::Uts) {
        return needs("the host name", Namespace::Uts);
    }
    if config.domainname.is_some() && !new(Namespace::Uts) {
        return needs("the domain name", Namespace::Uts);
    }
    if (config.rootfs.is_some() || !config.mounts.is_empty()) && !new(Namespace::Mount) {
        return needs("a root file system", Namespace::Mount);
    }
    if config.read_only && config.rootfs.is_none() {
        return Err(Error::invalid("a read-only root", "needs a root file system: add --rootfs"));
    }
    if config.clocks != ClockOffsets::default() && !new(Namespace::Time) {
        return needs("a clock offset", Namespace::Time);
    }
    if config.process.terminal.is_some() && config.rootfs.is_none() {
        return Err(Error::invalid(
            "a terminal",
            "needs a root file system with a /dev/pts of its own",
        ));
    }
    if new(Namespace::User) {
        let User { uid, gid, groups } = &config.process.user;
        if !config.uid_map.maps(*uid) {
            return Err(Error::invalid(
                format!("user {uid}"),
                format!("is not in the uid map {}", config.uid_map),
            ));
        }
        for gid in std::iter::once(gid).chain(groups) {
            if !config.gid_map.maps(*gid) {
                return Err(Error::invalid(
                    format!("group {gid}"),
                    format!("is not in the gid map {}", config.gid_map),
                ));
            }
        }
        if !config.uid_map.maps(0) || !config.gid_map.maps(0) {
            return Err(Error::invalid(
                "the id maps",
                "leave out 0, and mounting inside needs root there",
            ));
        }
    } else if !config.uid_map.is_empty() || !config.gid_map.is_empty() {
        return needs("an id map", Namespace::User);
    }
    Ok(())
}

/// A joined namespace belongs to others, so nothing may be done in it that is meant for a new one:
/// in a joined mount namespace, all *its* mounts would be made private and covered with ours.
fn check_joined(config: &Config) -> Result<()> {
    for (namespace, _) in &config.join {
        if config.namespaces.contains(*namespace) {
            return Err(Error::invalid(
                format!("the {namespace} namespace"),
                "is to be both new and joined: leave one out",
            ));
        }
        if *namespace == Namespace::User && !config.namespaces.is_empty() {
            return Err(Error::invalid(
                format!("new namespaces ({})", config.namespaces),
                "would belong to our user namespace, not to the joined one: leave one out",
            ));
        }
    }
    Ok(())
}

// ANCHOR: enter
/// The steps before anything is mounted: into the namespaces of others, the user namespace first,
/// because it gives the rights that the rest needs.
fn enter(
    steps: &mut Vec<Step>,
    namespaces: NamespaceSet,
    mut join: Vec<(Namespace, OwnedFd)>,
    clocks: ClockOffsets,
) -> Result<()> {
    join.sort_by_key(|(namespace, _)| *namespace);
    for (namespace, fd) in join {
        steps.push(Step::Join(NamespaceSet::EMPTY.with(namespace), fd));
    }
    if namespaces.contains(Namespace::User) {
        steps.push(Step::BecomeMappedRoot);
    }
    let ClockOffsets { monotonic, boottime } = clocks;
    let mut offsets = String::new();
    for (clock, offset) in [("monotonic", monotonic), ("boottime", boottime)] {
        if let Some(seconds) = offset {
            offsets += &format!("{clock} {seconds} 0\n");
        }
    }
    if !offsets.is_empty() {
        steps.push(Step::OffsetClocks(c_string(offsets.into_bytes(), "clock offsets")?));
    }
    // Not before: a hidden process's files in /proc, the id maps among them, belong to root.
    steps.push(Step::HideProcess);
    Ok(())
}
// ANCHOR_END: enter

/// The host's root stays; only /proc must show the new pid namespace, or ps and kill inside would
/// see the host's processes by the host's numbers.
fn keep_root(steps: &mut Vec<Step>, view: View<'_>) -> Result<()> {
    steps.push(Step::KeepRoot);
    if view.namespaces.contains(Namespace::Pid) {
        let quiet = attribute::NOSUID | attribute::NOEXEC | attribute::NODEV;
        steps.push(Step::Mount(Mount::file_system("proc", "/proc", quiet, "")?));
    }
    steps.extend(view.mounts.into_iter().map(Step::Mount));
    Ok(())
}

/// What the mounts of a container depend on.
struct View<'a> {
    namespaces: NamespaceSet,
    gid_map: &'a IdMap,
    mounts: Vec<Mount>,
    protect: bool,
}

// ANCHOR: furnish
/// The mounts, devices and links below the new root, while the host's tree can still be reached.
fn furnish(steps: &mut Vec<Step>, view: View<'_>, process: &Process) -> Result<()> {
    let new = |namespace| view.namespaces.contains(namespace);
    let (user, net) = (new(Namespace::User), new(Namespace::Net));
    let gid_5 = !user || view.gid_map.maps(5);
    let standard = mount::standard(new(Namespace::Pid), !user || net, new(Namespace::Ipc), gid_5)?;
    // A mount of the caller's on the same path takes the place of the standard one in the order,
    // too: what belongs below it, as /dev/pts and the devices below /dev, would else be covered.
    let mut own = view.mounts;
    for mount in standard {
        let same = own.iter().position(|candidate| candidate.target == mount.target);
        steps.push(Step::Mount(same.map_or(mount, |at| own.remove(at))));
    }
    for (name, major, minor) in mount::DEVICES {
        let host = c_path(Path::new("/dev").join(name).as_path())?;
        let target = Target::new(Path::new("/dev").join(name))?;
        steps.push(Step::Device(target, host, libc::makedev(major, minor)));
    }
    for (name, to) in mount::DEVICE_LINKS {
        let target = Target::new(Path::new("/dev").join(name))?;
        steps.push(Step::Link(target, c_string(to.into(), "link")?));
    }
    steps.extend(own.into_iter().map(Step::Mount));
    if view.protect {
        for path in mount::MASKED {
            steps.push(Step::Mask(Target::new(path)?));
        }
        for path in mount::READ_ONLY {
            steps.push(Step::WriteProtect(Target::new(path)?));
        }
    }
    if process.cwd != Path::new("/") {
        steps.push(Step::MakeDirectory(Target::new(&process.cwd)?));
    }
    if let Some((rows, columns)) = process.terminal {
        steps.push(Step::Terminal(rows, columns, process.user.clone()));
    }
    Ok(())
}
// ANCHOR_END: furnish

fn name_and_network(
    steps: &mut Vec<Step>,
    namespaces: NamespaceSet,
    hostname: Option<String>,
    domainname: Option<String>,
) -> Result<()> {
    if let Some(name) = hostname {
        if name.is_empty() || name.len() > 64 {
            let why = "must have 1 to 64 bytes (sethostname(2))";
            return Err(Error::invalid(format!("host name `{name}`"), why));
        }
        steps.push(Step::Hostname(c_string(name.into_bytes(), "host name")?));
    }
    if let Some(name) = domainname {
        steps.push(Step::Domainname(c_string(name.into_bytes(), "domain name")?));
    }
    if namespaces.contains(Namespace::Net) {
        steps.push(Step::LoopbackUp);
    }
    Ok(())
}

/// What the last steps depend on beside the process itself.
struct Start {
    /// A pid namespace is joined, which counts for children only.
    joins_pid: bool,
    /// In the caller's session a container could type into the caller's terminal (TIOCSTI).
    own_session: bool,
    /// Perhaps an unprivileged user mapped nothing but the own id, and setgroups is denied.
    single_id: bool,
    /// The program is to be killed when its parent ends.
    die_with_parent: bool,
}

// ANCHOR: finish
/// From a furnished root to execve. Rights are given up last, because every step before may need
/// them; what gives them up for good is followed only by what needs none.
fn finish(steps: &mut Vec<Step>, process: Process, start: Start) -> Result<()> {
    let program = program(&process)?;
    steps.extend(process.limits.into_iter().map(Step::Limit));
    steps.push(Step::Umask(process.umask.unwrap_or(0o022)));
    for (number, fd) in (0..).zip(process.stdio) {
        steps.extend(fd.map(|fd| Step::Stdio(number, fd)));
    }
    if process.init || start.joins_pid {
        steps.push(Step::Fork);
    }
    if start.own_session {
        steps.push(Step::Session);
    }
    if let Some(set) = process.capabilities {
        steps.push(Step::BoundCapabilities(set));
    }
    let root = process.user.uid == 0;
    let keep_groups = start.single_id && process.user.groups.is_empty();
    steps.push(Step::Credentials(process.user, keep_groups));
    if let Some(set) = process.capabilities.filter(|_| root) {
        steps.push(Step::Capabilities(set));
    }
    steps.extend(start.die_with_parent.then_some(Step::DieWithParent));
    if process.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    steps.push(Step::CloseDescriptors);
    steps.push(Step::WorkingDirectory(c_path(&process.cwd)?));
    steps.push(Step::ResetSignals);
    steps.push(Step::Execute(program));
    Ok(())
}
// ANCHOR_END: finish

fn program(process: &Process) -> Result<Program> {
    let Some(command) = process.args.first().filter(|command| !command.is_empty()) else {
        return Err(Error::invalid("the command", "is empty: say what to run"));
    };
    let strings = |list: &[String], what: &str| -> Result<Vec<CString>> {
        list.iter().map(|s| c_string(s.clone().into_bytes(), what)).collect()
    };
    let mut searched = String::new();
    let candidates = if command.contains('/') {
        vec![c_string(command.clone().into_bytes(), "command")?]
    } else {
        let path = process.env.iter().find_map(|v| v.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        searched = path.to_owned();
        path.split(':')
            .map(|dir| if dir.is_empty() { "." } else { dir })
            .map(|dir| c_path(&PathBuf::from(dir).join(command)))
            .collect::<Result<_>>()?
    };
    Ok(Program {
        argv: CStrings::new(strings(&process.args, "argument")?),
        envp: CStrings::new(strings(&process.env, "environment")?),
        candidates,
        searched,
    })
}

fn c_path(path: &Path) -> Result<CString> {
    c_string(path.as_os_str().as_bytes().to_vec(), "path")
}

fn c_string(bytes: Vec<u8>, what: &str) -> Result<CString> {
    CString::new(bytes).map_err(|error| {
        let shown = String::from_utf8_lossy(&error.into_vec()).replace('\0', "\\0");
        Error::invalid(format!("{what} `{shown}`"), "holds a NUL byte")
    })
}

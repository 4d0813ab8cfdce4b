//! The plan as text: the system calls that creating this container makes, in order.

use std::fmt;
use std::path::Path;

use super::Create;
use super::step::{Step, Switch};
use crate::mount::Inside;

impl Create {
    /// One line for each thing that is done, by whom: the parent makes the child, the child makes
    /// the container of itself, and the parent lets it start.
    pub fn lines(&self) -> Vec<String> {
        let namespaces: Vec<_> = self.namespaces.iter().map(|kind| kind.to_string()).collect();
        let mut lines = Vec::new();
        if self.cgroup.is_some() {
            lines.push("parent  mkdir(2) of the control groups, and their limits".to_owned());
        }
        lines.push(format!("parent  clone3(2): new {}", namespaces.join(", ")));
        if self.maps.is_some() {
            lines.push("parent  write uid_map and gid_map".to_owned());
        }
        lines.extend(self.oom_score_adj.map(|n| format!("parent  write {n} to oom_score_adj")));
        lines.extend(self.steps.iter().map(|step| format!("child   {step}")));
        lines.push("parent  write state.json, and the byte for which the child waits".to_owned());
        lines
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.enter(out)? || self.furnish(out)? || self.become_program(out)? {
            return Ok(());
        }
        // What none of the three knows has a name that says it.
        let name = format!("{self:?}");
        let end = name.find(|c: char| !c.is_alphanumeric()).unwrap_or(name.len());
        out.write_str(name.get(..end).unwrap_or_default())
    }
}

impl Step {
    /// Into the namespaces, and out of reach.
    fn enter(&self, out: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
        match self {
            Step::DieWithParent => out.write_str("prctl(PR_SET_PDEATHSIG, SIGKILL)")?,
            Step::Join(kind, _) => write!(out, "setns(2): the {kind} namespace of another")?,
            Step::BecomeMappedRoot | Step::BecomeRoot => out.write_str("setresuid(0, 0, 0)")?,
            Step::HideProcess => out.write_str("prctl(PR_SET_DUMPABLE, 0)")?,
            Step::Keyring(name) => {
                write!(out, "keyctl(KEYCTL_JOIN_SESSION_KEYRING, {})", name.to_string_lossy())?;
            }
            Step::NewNetwork => out.write_str("unshare(CLONE_NEWNET)")?,
            Step::OffsetClocks(_) => out.write_str("unshare(CLONE_NEWTIME), timens_offsets")?,
            Step::Cgroups { namespace: true } => {
                out.write_str("wait for the control groups; unshare(CLONE_NEWCGROUP)")?;
            }
            Step::Cgroups { namespace: false } => out.write_str("wait for the control groups")?,
            Step::LoopbackUp => out.write_str("ioctl(SIOCSIFFLAGS): lo up")?,
            Step::Hostname(name) => write!(out, "sethostname({})", name.to_string_lossy())?,
            Step::Domainname(name) => write!(out, "setdomainname({})", name.to_string_lossy())?,
            Step::Sysctl(path, value) => {
                write!(out, "write {value:?} to /proc/sys/{}", path.display())?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The root file system.
    fn furnish(&self, out: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
        match self {
            Step::Propagation(..) => {
                out.write_str("mount_setattr(2): propagation of all mounts")?
            }
            Step::RootPropagation(..) => out.write_str("mount_setattr(2): propagation of /")?,
            Step::AttachRoot(path) => {
                write!(out, "move_mount(2): {} on itself", path.to_string_lossy())?;
            }
            Step::PrivateParent(path) => {
                write!(out, "mount_setattr(2): private below {}", path.to_string_lossy())?;
            }
            Step::Mount(mount) => write!(out, "move_mount(2): {mount}")?,
            Step::Unmount(place) => write!(out, "umount2({place}, MNT_DETACH)")?,
            Step::Device(device) => write!(out, "mknod({})", device.target)?,
            Step::Link(at, to) => write!(out, "symlink({}, {at})", to.display())?,
            Step::Terminal(_) => out.write_str("open /dev/ptmx, and send it to the caller")?,
            Step::SwitchRoot(Switch::Pivot) => out.write_str("pivot_root(2), umount2(2)")?,
            Step::SwitchRoot(Switch::Move) => out.write_str("move_mount(2) over /, chroot(2)")?,
            Step::SwitchRoot(Switch::Chroot) => out.write_str("chroot(2)")?,
            Step::ReadOnlyRoot => out.write_str("mount_setattr(2): / read-only")?,
            Step::WriteProtect(paths) => write!(out, "bind read-only: {}", listed(paths))?,
            Step::Mask(paths) => write!(out, "hide: {}", listed(paths))?,
            Step::MakeDirectory(path) => write!(out, "mkdir({path})")?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// From root of the container to its program.
    fn become_program(&self, out: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
        match self {
            Step::Limit(limit) => {
                write!(out, "prlimit({}, {}, {})", limit.name, limit.soft, limit.hard)?;
            }
            Step::Session => out.write_str("setsid(2), ioctl(TIOCSCTTY)")?,
            Step::BoundCapabilities(set) => {
                write!(out, "prctl(PR_CAPBSET_DROP): all but {set:#x}")?;
            }
            Step::Credentials(user) => {
                write!(out, "setgroups(2), setresgid({}), setresuid({})", user.gid, user.uid)?;
            }
            Step::Capabilities(sets, _) => write!(out, "capset(2): {:#x}", sets.effective)?,
            Step::NoNewPrivileges => out.write_str("prctl(PR_SET_NO_NEW_PRIVS)")?,
            Step::Umask(mask) => write!(out, "umask({mask:03o})")?,
            Step::WorkingDirectory(path, _) => write!(out, "chdir({})", path.to_string_lossy())?,
            Step::FindProgram => out.write_str("access(2): the program is there")?,
            Step::CloseDescriptors(first) => {
                write!(out, "close_range({first}, ~0, CLOSE_RANGE_CLOEXEC)")?;
            }
            Step::AwaitStart(_) => out.write_str("tell the parent; wait for start")?,
            Step::ResetSignals => out.write_str("sigaction(2): all as at first")?,
            Step::BlockSignals => out.write_str("sigprocmask(2): signals wait for the init")?,
            Step::Seccomp(_) => out.write_str("seccomp(SECCOMP_SET_MODE_FILTER)")?,
            Step::Execute(program) => {
                let args: Vec<_> =
                    program.argv.strings().iter().map(|word| word.to_string_lossy()).collect();
                write!(out, "execve({})", args.join(" ").escape_debug())?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn listed(paths: &[Inside]) -> String {
    let paths: Vec<_> = paths.iter().map(Inside::path).map(Path::to_string_lossy).collect();
    paths.join(" ")
}

//! The child between clone3 and execve: walks the plan, step by step.
//!
//! Everything here is async-signal-safe: system calls on what the plan holds, no allocation, no
//! lock, no panic. A step that fails is reported by its number; the parent, which has the same
//! plan, turns that into a sentence ([`crate::failure`]).

mod mounts;

use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{Mode, SFlag};

use crate::capability::CapabilitySet;
use crate::config::User;
use crate::mount::attribute;
use crate::plan::{Plan, Program, Step};
use crate::{init, sys};
use mounts::{Kind, open_directory};

// ANCHOR: report
/// What the child tells when a step fails. The layout is fixed: both sides are the same program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// The step's place in the plan.
    pub step: u32,
    /// What the kernel answered.
    pub errno: i32,
    /// What is known beyond the errno.
    pub detail: Detail,
    /// What the kernel wrote in the log of a file system's configuration, padded with NUL.
    pub log: [u8; Report::LOG],
}
// ANCHOR_END: report

/// What a failed step knows beyond the errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Nothing.
    None = 0,
    /// The program is there: what is missing is its interpreter.
    InterpreterMissing = 1,
    /// The working directory is outside of the root.
    OutsideRoot = 2,
    /// It is the source of a bind mount that failed, not the target.
    BindSource = 3,
    /// Something else has the name of a device.
    FalseDevice = 4,
}

impl Report {
    const LOG: usize = 160;
    /// Bytes on the channel.
    pub const SIZE: usize = 12 + Report::LOG;

    fn to_bytes(self) -> [u8; Report::SIZE] {
        let mut bytes = [0; Report::SIZE];
        let numbers = [self.step, self.errno as u32, self.detail as u32];
        for (chunk, number) in bytes.chunks_exact_mut(4).zip(numbers) {
            chunk.copy_from_slice(&number.to_ne_bytes());
        }
        for (to, from) in bytes.iter_mut().skip(12).zip(self.log) {
            *to = from;
        }
        bytes
    }

    /// The report in a message of the channel, if it is one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Report> {
        let number =
            |n: usize| Some(u32::from_ne_bytes(bytes.get(4 * n..4 * n + 4)?.try_into().ok()?));
        let detail = match number(2)? {
            1 => Detail::InterpreterMissing,
            2 => Detail::OutsideRoot,
            3 => Detail::BindSource,
            4 => Detail::FalseDevice,
            _ => Detail::None,
        };
        let log = bytes.get(12..)?.try_into().ok()?;
        Some(Report { step: number(0)?, errno: number(1)? as i32, detail, log })
    }
}

/// Why a step failed.
struct Failure {
    errno: Errno,
    detail: Detail,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure { errno, detail: Detail::None }
    }
}

fn with(detail: Detail) -> impl Fn(Errno) -> Failure {
    move |errno| Failure { detail, ..errno.into() }
}

type Outcome = Result<(), Failure>;

/// The byte that the parent sends when the id maps are written.
pub(crate) const GO: u8 = b'g';
/// The byte that comes with the master of the pseudoterminal.
pub(crate) const TERMINAL: u8 = b't';

// ANCHOR: walk
/// Does all that `plan` says; returns never, because the last step is execve.
pub(crate) fn walk(plan: &Plan, channel: BorrowedFd<'_>) -> Infallible {
    // Modes in the plan are meant as they are; the program's own umask is a step.
    nix::sys::stat::umask(Mode::empty());
    let log = Cell::new([0; Report::LOG]);
    let mut child = Child { channel, root: None, slave: None, log };
    for (number, step) in (0..).zip(&plan.steps) {
        if let Err(Failure { errno, detail }) = child.perform(step) {
            let log = child.log.get();
            let report = Report { step: number, errno: errno as i32, detail, log };
            // Nobody is left to tell where this fails, too.
            let _ = nix::unistd::write(channel, &report.to_bytes());
            sys::exit_now(125);
        }
    }
    sys::exit_now(125)
}
// ANCHOR_END: walk

struct Child<'a> {
    channel: BorrowedFd<'a>,
    /// The mount that becomes `/`; paths in the container are resolved from it.
    root: Option<OwnedFd>,
    /// The container's end of its pseudoterminal.
    slave: Option<OwnedFd>,
    /// What the kernel said of the file system that it refused.
    log: Cell<[u8; Report::LOG]>,
}

impl Child<'_> {
    fn perform(&mut self, step: &Step) -> Outcome {
        match step {
            Step::DieWithParent => self.die_with_parent(),
            Step::BecomeMappedRoot => self.become_mapped_root(),
            Step::Join(namespaces, fd) => join(namespaces.flags(), fd),
            Step::OffsetClocks(offsets) => offset_clocks(offsets),
            Step::HideProcess => Ok(sys::identity::prctl(libc::PR_SET_DUMPABLE, 0, 0)?),
            Step::IsolateMounts => {
                Ok(sys::mount::setattr(libc::AT_FDCWD, c"/", true, 0, 0, libc::MS_PRIVATE)?)
            }
            Step::AttachRoot(at, mount) => self.attach_root(at, mount.as_ref()),
            Step::KeepRoot => {
                self.root = Some(open_directory(c"/")?);
                Ok(())
            }
            Step::Mount(mount) => self.mount(mount),
            Step::Device(target, host, number) => self.device(target, host, *number),
            Step::Link(target, to) => self.link(target, to),
            Step::Mask(target) => self.mask(target),
            Step::WriteProtect(target) => self.write_protect(target),
            Step::MakeDirectory(target) => Ok(self.place(target, Kind::Directory).map(drop)?),
            Step::Terminal(rows, columns, user) => self.terminal(*rows, *columns, user),
            Step::PivotRoot => self.pivot_root(),
            Step::Chroot => {
                nix::unistd::fchdir(self.root()?)?;
                Ok(nix::unistd::chroot(c".")?)
            }
            Step::WriteProtectRoot => {
                let read_only = attribute::RDONLY;
                Ok(sys::mount::setattr(libc::AT_FDCWD, c"/", false, read_only, 0, 0)?)
            }
            Step::Hostname(name) => Ok(nix::unistd::sethostname(os(name))?),
            Step::Domainname(name) => Ok(sys::setdomainname(name)?),
            Step::LoopbackUp => Ok(sys::loopback_up()?),
            Step::Limit(limit) => Ok(sys::set_rlimit(limit.resource, limit.soft, limit.hard)?),
            Step::Umask(mask) => {
                nix::sys::stat::umask(Mode::from_bits_truncate(*mask));
                Ok(())
            }
            Step::Stdio(number, fd) => Ok(sys::replace_stdio(fd.as_fd(), *number)?),
            Step::Session => self.session(),
            Step::Fork => fork(),
            Step::BoundCapabilities(set) => bound_capabilities(*set),
            Step::Credentials(user, keep_groups) => credentials(user, *keep_groups),
            Step::Capabilities(set) => {
                // What the caller lacks cannot be given.
                let kept = sys::identity::capget_effective()? & set.bits();
                Ok(sys::identity::capset(kept, kept, 0)?)
            }
            Step::NoNewPrivileges => Ok(sys::identity::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)?),
            Step::CloseDescriptors => Ok(sys::cloexec_from(3)?),
            Step::WorkingDirectory(path) => working_directory(path),
            Step::ResetSignals => {
                sys::reset_signals();
                Ok(())
            }
            Step::Execute(program) => Err(execute(program)),
        }
    }

    fn root(&self) -> nix::Result<BorrowedFd<'_>> {
        self.root.as_ref().map(AsFd::as_fd).ok_or(Errno::EBADF)
    }

    fn die_with_parent(&self) -> Outcome {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        sys::identity::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0)?;
        // It may have ended before it was asked for. getppid(2) would not tell in a new pid
        // namespace, but its end of the channel is closed then.
        let mut channel = [PollFd::new(self.channel, PollFlags::empty())];
        poll(&mut channel, PollTimeout::ZERO)?;
        if channel[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)) {
            sys::exit_now(125);
        }
        Ok(())
    }

    // ANCHOR: mapped_root
    fn become_mapped_root(&mut self) -> Outcome {
        let mut byte = [0];
        let length = nix::sys::socket::recv(
            self.channel.as_raw_fd(),
            &mut byte,
            nix::sys::socket::MsgFlags::empty(),
        )?;
        if length == 0 {
            // The parent could not write the maps and says why itself.
            sys::exit_now(125);
        }
        sys::identity::setgid(0)?;
        Ok(sys::identity::setuid(0)?)
    }
    // ANCHOR_END: mapped_root

    // ANCHOR: terminal
    fn terminal(&mut self, rows: u16, columns: u16, user: &User) -> Outcome {
        let master = self.open(c"dev/pts/ptmx", OFlag::O_RDWR | OFlag::O_NOCTTY)?;
        sys::tty::unlock(master.as_raw_fd())?;
        let slave = sys::tty::open_peer(master.as_raw_fd())?;
        sys::tty::set_size(slave.as_raw_fd(), rows, columns)?;
        nix::unistd::fchown(&slave, Some(user.uid.into()), None)?;
        // /dev/console is this terminal, as programs that act as init expect.
        let place = self.console()?;
        let tree = sys::mount::clone_tree(slave.as_raw_fd(), c"", false)?;
        sys::mount::move_mount(tree.as_fd(), place.as_raw_fd())?;
        sys::send_fd(self.channel.as_raw_fd(), TERMINAL, master.as_fd())?;
        self.slave = Some(slave);
        Ok(())
    }
    // ANCHOR_END: terminal

    fn console(&self) -> nix::Result<OwnedFd> {
        let dev = self.open(c"dev", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let regular = SFlag::S_IFREG.bits() | 0o600;
        match sys::mknodat(dev.as_raw_fd(), c"console", regular, 0) {
            // A link there would put the terminal in the place of what it leads to: CVE-2025-52565.
            Ok(()) | Err(Errno::EEXIST) => {
                self.open(c"dev/console", OFlag::O_PATH | OFlag::O_NOFOLLOW)
            }
            Err(errno) => Err(errno),
        }
    }

    // ANCHOR: session
    fn session(&self) -> Outcome {
        nix::unistd::setsid()?;
        if let Some(slave) = &self.slave {
            sys::tty::make_controlling(slave.as_raw_fd())?;
            for number in 0..3 {
                sys::replace_stdio(slave.as_fd(), number)?;
            }
        }
        Ok(())
    }
    // ANCHOR_END: session
}

/// The bytes of a C string as the type that nix wants.
fn os(name: &CStr) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes())
}

fn join(flags: u64, fd: &OwnedFd) -> Outcome {
    // All CLONE_NEW* flags fit.
    Ok(sys::setns(fd.as_raw_fd(), flags as i32)?)
}

// ANCHOR: clocks
/// The clocks of a time namespace can be set until a process is in it. unshare makes one for the
/// children only, so there is time to write, and setns then moves this process itself.
fn offset_clocks(offsets: &CStr) -> Outcome {
    // The value is the flag's own bit.
    sys::unshare(crate::Namespace::Time.flag() as i32)?;
    let write = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let file = nix::fcntl::openat(AT_FDCWD, c"/proc/self/timens_offsets", write, Mode::empty())?;
    nix::unistd::write(&file, offsets.to_bytes())?;
    let read = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let made =
        nix::fcntl::openat(AT_FDCWD, c"/proc/self/ns/time_for_children", read, Mode::empty())?;
    join(crate::Namespace::Time.flag(), &made)
}
// ANCHOR_END: clocks

// ANCHOR: fork
fn fork() -> Outcome {
    sys::block_signals();
    // Where the caller ignores it, the kernel would collect the program and tell nobody.
    sys::reset_signal(libc::SIGCHLD);
    match sys::fork_again()? {
        Some(program) => init::run(program),
        None => Ok(()),
    }
}
// ANCHOR_END: fork

// ANCHOR: bound_capabilities
fn bound_capabilities(set: CapabilitySet) -> Outcome {
    sys::identity::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)?;
    for number in (0..64).filter(|number| !set.contains(*number)) {
        match sys::identity::prctl(libc::PR_CAPBSET_DROP, number.into(), 0) {
            // Beyond the last one that this kernel has.
            Err(Errno::EINVAL) => break,
            other => other?,
        }
    }
    Ok(())
}
// ANCHOR_END: bound_capabilities

// ANCHOR: credentials
fn credentials(user: &User, keep_groups: bool) -> Outcome {
    match sys::identity::setgroups(&user.groups) {
        Err(Errno::EPERM) if keep_groups => {}
        other => other?,
    }
    sys::identity::setgid(user.gid)?;
    Ok(sys::identity::setuid(user.uid)?)
}
// ANCHOR_END: credentials

// ANCHOR: working_directory
/// A working directory that was reached through a leaked descriptor (`/proc/self/fd/7`) lies
/// outside of the root, and from there `..` leads to the host: CVE-2024-21626. The kernel's getcwd
/// tells, by a path that does not begin with a slash.
fn working_directory(path: &CStr) -> Outcome {
    nix::unistd::chdir(path)?;
    let mut buffer = [0; libc::PATH_MAX as usize];
    let inside = sys::getcwd(&mut buffer)?.first() == Some(&b'/');
    if inside { Ok(()) } else { Err(with(Detail::OutsideRoot)(Errno::EPERM)) }
}
// ANCHOR_END: working_directory

// ANCHOR: execute
fn execute(program: &Program) -> Failure {
    let mut worst = Errno::ENOENT;
    for candidate in &program.candidates {
        match sys::execve(candidate, &program.argv, &program.envp) {
            // Not here: perhaps in the next directory of the PATH.
            Errno::ENOENT | Errno::ENOTDIR => {
                let mode = nix::unistd::AccessFlags::F_OK;
                if nix::unistd::access(&**candidate, mode).is_ok() {
                    return with(Detail::InterpreterMissing)(Errno::ENOENT);
                }
            }
            // Here, but not for us: a later one may be better.
            Errno::EACCES => worst = Errno::EACCES,
            errno => return errno.into(),
        }
    }
    worst.into()
}
// ANCHOR_END: execute

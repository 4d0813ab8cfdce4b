//! The holder: one process for each user who has an engine, outside of the namespaces, parent of the two
//! that keep them: the anchor, whose namespaces are joined, and the carrier of packets.
//!
//! It learns from a pipe when it is needed no more. Everybody inside has the pipe open for writing, by
//! inheritance, so the kernel counts them: when the last has ended, however, poll(2) reports a hang-up.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use super::carrier::Carrier;
use super::{NAMESPACES, Place, lack};
use crate::config::{Config, DEFAULT_PATH, Process};
use crate::error::{Context, Error, Result};
use crate::idmap::{self, IdMap};
use crate::namespace::Namespace;
use crate::spawn::Container;
use crate::{Plan, sys};

/// The name under which a program is a holder.
pub const NAME: &str = "corten-holder";

/// The argument with which it is the first process in the namespaces.
const ANCHOR: &str = "corten-anchor";

/// The name under which a program becomes the carrier of packets.
const CARRIER: &str = "corten-carrier";

/// What the holder says when all is there; the anchor's number follows.
const READY: &str = "ready ";

// ANCHOR: start
/// Starts a holder. The caller has the lock; it gets the pipe and the process to be joined.
pub(super) fn start(place: &Place) -> Result<(OwnedFd, OwnedFd)> {
    let path = place.alive();
    match nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(nix::Error::EEXIST) => {}
        Err(errno) => return Err(errno).on("make the pipe", &path),
    }
    // The holder's end is opened here and handed over, and ours is there before it looks. So when we
    // are killed on the way it sees that nobody is left.
    let mut options = fs::OpenOptions::new();
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    let reader = options.read(true).custom_flags(flags).open(&path).on("open", &path)?;
    survivors(&reader)?;
    let _ = fs::remove_file(place.holder());
    let Some(life) = place.sign_in()? else {
        return Err(Error::invalid(path.display().to_string(), "is opened and has no reader"));
    };
    let mut holder = Command::new("/proc/self/exe")
        .arg0(NAME)
        .arg(place.directory())
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .current_dir("/")
        .stdin(reader)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .on("start", NAME)?;
    let mut said = String::new();
    if let Some(mut answer) = holder.stdout.take() {
        answer.read_to_string(&mut said).during("hear from the holder")?;
    }
    let Some(pid) = said.strip_prefix(READY).and_then(|pid| pid.trim().parse().ok()) else {
        let _ = holder.wait();
        place.clear();
        return Err(match lack::of_this_machine().into_iter().find(|lack| lack.is_fatal()) {
            Some(lack) => Error::Rootless { why: lack.what, remedy: lack.remedy },
            None => Error::Rootless { why: said, remedy: "see corten doctor".to_owned() },
        });
    };
    Ok((life, sys::pidfd_open(pid).during("open the anchor's process")?))
}
// ANCHOR_END: start

/// Whether somebody still has the pipe open, whose holder was killed: reading from a pipe without
/// writers is its end, and from one with them has to wait.
fn survivors(mut reader: &File) -> Result<()> {
    match reader.read(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::Rootless {
            why: "containers still run in namespaces whose corten-holder was killed".to_owned(),
            remedy: "end them: pkill -9 -u \"$USER\" -f corten-shim".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Whether this process was started as a holder or an anchor: then it is one, and its end is the
/// process's.
pub fn as_holder() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let name = arguments.next()?;
    let first = arguments.next()?;
    if name == OsStr::new(NAME) {
        return Some(match hold(&Place::at(&first)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = write!(io::stdout(), "{error}");
                ExitCode::FAILURE
            }
        });
    }
    if name == OsStr::new(CARRIER) {
        let _ = become_carrier(&first, arguments);
        return Some(ExitCode::FAILURE);
    }
    if name == OsStr::new("/proc/self/exe") && first == OsStr::new(ANCHOR) {
        let error = match anchor(Path::new(&arguments.next()?)) {
            Err(error) => error,
            Ok(never) => match never {},
        };
        let _ = write!(io::stdout(), "{error}");
        return Some(ExitCode::FAILURE);
    }
    None
}

// ANCHOR: hold
fn hold(place: &Place) -> Result<()> {
    // Out of the terminal's session: its end is not ours.
    let _ = nix::unistd::setsid();
    let _ = fs::write("/proc/self/comm", NAME);
    let life = io::stdin().as_fd().try_clone_to_owned().during("take the pipe")?;
    let (ours, theirs) = nix::unistd::pipe().during("make a pipe")?;
    let anchor = plan(place, theirs)?.spawn()?;
    let mut said = String::new();
    File::from(ours).read_to_string(&mut said).during("hear from the anchor")?;
    if said != READY {
        return Err(Error::invalid(ANCHOR, said));
    }
    let carried = Carrier::here().and_then(|carrier| carry(carrier, anchor.pid()).ok()?);
    let path = place.holder();
    fs::write(&path, format!("{}\n", anchor.pid())).on("write", &path)?;
    // Who has asked may have been killed: that is seen next.
    let _ = write!(io::stdout(), "{READY}{}", anchor.pid()).and_then(|()| io::stdout().flush());
    close_output()?;
    wait(place, life.as_fd(), &anchor)?;
    drop(carried);
    Ok(())
}
// ANCHOR_END: hold

/// Packets are carried until this is dropped.
struct Carried(Child);

impl Drop for Carried {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts who carries packets, so that it ends with us however we end: this program asks for that, and
/// becomes it.
fn carry(carrier: Carrier, anchor: libc::pid_t) -> io::Result<Option<Carried>> {
    // A pid is never negative.
    let anchor = anchor as u32;
    let wanted = carrier.command(anchor);
    let mut command = Command::new("/proc/self/exe");
    command.arg0(CARRIER).arg(std::process::id().to_string());
    command.arg(wanted.get_program()).args(wanted.get_args());
    Ok(Carrier::start(&mut command, anchor)?.map(Carried))
}

fn become_carrier(parent: &OsStr, mut words: std::env::ArgsOs) -> io::Error {
    let asked = sys::identity::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0);
    // It may have ended before that.
    let orphan = parent.to_str() != Some(&nix::unistd::getppid().to_string());
    match (asked, words.next()) {
        (Ok(()), Some(program)) if !orphan => Command::new(program).args(words).exec(),
        _ => io::ErrorKind::Other.into(),
    }
}

// ANCHOR: wait
/// Waits until nobody is inside any more. Between that and our end somebody may come in again: so it is
/// looked at once more with the lock, which stays ours until this process ends.
fn wait(place: &Place, life: BorrowedFd<'_>, anchor: &Container) -> Result<()> {
    loop {
        let mut events =
            [PollFd::new(life, PollFlags::empty()), PollFd::new(anchor.pidfd(), PollFlags::POLLIN)];
        match poll(&mut events, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            other => other.during("wait for the end of the last container")?,
        };
        let killed = events[1].any() == Some(true);
        let turn = place.lock()?;
        if killed || is_hung_up(life)? {
            place.clear();
            // Who waits for it finds another file of its name then, or none.
            std::mem::forget(turn);
            return Ok(());
        }
    }
}
// ANCHOR_END: wait

fn is_hung_up(life: BorrowedFd<'_>) -> Result<bool> {
    let mut events = [PollFd::new(life, PollFlags::empty())];
    poll(&mut events, PollTimeout::ZERO).during("look at the pipe")?;
    Ok(events[0].any() == Some(true))
}

// ANCHOR: anchor_plan
/// The anchor: this program once more, as root of a new user namespace and of a network of its own.
/// Killed with its holder; nobody would end it otherwise.
fn plan(place: &Place, answer: OwnedFd) -> Result<Plan> {
    let (uids, gids) = maps()?;
    let directory = place.directory().to_string_lossy().into_owned();
    Plan::new(Config {
        namespaces: NAMESPACES.without(Namespace::Mount),
        uid_map: uids,
        gid_map: gids,
        process: Process {
            args: vec!["/proc/self/exe".to_owned(), ANCHOR.to_owned(), directory],
            stdio: [Some(null()?), Some(answer), None],
            ..Process::default()
        },
        die_with_parent: true,
        ..Config::default()
    })
}
// ANCHOR_END: anchor_plan

/// Root inside is the user, and the ids from 1 on are those that the administrator has granted.
fn maps() -> Result<(IdMap, IdMap)> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let name = lack::user_name(uid);
    let uids = idmap::granted(Path::new(lack::SUBUID), &name, uid)?;
    let gids = idmap::granted(Path::new(lack::SUBGID), &name, uid)?;
    let maps = (idmap::rootless(uid, &uids), idmap::rootless(gid, &gids));
    // With the own id alone an image's files could not be given to anybody.
    if [&maps.0, &maps.1].into_iter().any(|map| map.ranges().len() < 2) {
        let why = format!("and {} grant you no ids", lack::SUBGID);
        return Err(Error::invalid(lack::SUBUID, why));
    }
    Ok(maps)
}

// ANCHOR: anchor
/// The first process in the namespaces. A mount namespace that is made in a user namespace gets the
/// host's mounts later, too, and gives it none. It sees a file system of its own where engines keep what
/// must not survive the namespaces: sockets, numbers of processes, addresses on the network.
fn anchor(directory: &Path) -> Result<std::convert::Infallible> {
    let _ = fs::write("/proc/self/comm", ANCHOR);
    sys::unshare(libc::CLONE_NEWNS).during("unshare the mount namespace")?;
    let state = Place::at(directory).state();
    match fs::create_dir(&state) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).on("make the directory", &state);
        }
        _ => mount_tmpfs(&state)?,
    }
    show_resolvers()?;
    let ready = write!(io::stdout(), "{READY}").and_then(|()| io::stdout().flush());
    ready.during("answer")?;
    close_output()?;
    loop {
        nix::unistd::pause();
    }
}
// ANCHOR_END: anchor

fn mount_tmpfs(path: &Path) -> Result<()> {
    let kernel = || {
        let fs = sys::mount::fsopen(c"tmpfs")?;
        sys::mount::set_string(fs.as_fd(), c"mode", c"0700")?;
        sys::mount::create(fs.as_fd())?;
        let mount = sys::mount::fsmount(fs.as_fd(), libc::MOUNT_ATTR_NOSUID)?;
        let c_path = CString::new(path.as_os_str().as_bytes()).map_err(|_| nix::Error::EINVAL)?;
        let flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64;
        let target = sys::openat2(libc::AT_FDCWD, &c_path, flags, 0, 0)?;
        sys::mount::move_mount(mount.as_fd(), target.as_raw_fd())
    };
    kernel().on("mount tmpfs on", path)
}

/// systemd-resolved listens on the host's loopback interface, which is not in this network; it writes down
/// whom it asks itself (systemd-resolved.service(8)).
fn show_resolvers() -> Result<()> {
    const USUAL: &str = "/etc/resolv.conf";
    const BEHIND: &std::ffi::CStr = c"/run/systemd/resolve/resolv.conf";
    let text = fs::read_to_string(USUAL).unwrap_or_default();
    let mut servers = text.lines().filter_map(|line| line.strip_prefix("nameserver"));
    if !servers.any(|server| server.trim() == "127.0.0.53") {
        return Ok(());
    }
    let kernel = || {
        let Ok(mount) = sys::mount::clone_tree(libc::AT_FDCWD, BEHIND, false) else {
            return Ok(());
        };
        let flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
        let target = sys::openat2(libc::AT_FDCWD, c"/etc/resolv.conf", flags, 0, 0)?;
        sys::mount::move_mount(mount.as_fd(), target.as_raw_fd())
    };
    kernel().on("show the resolvers at", USUAL)
}

/// Who has started us waits for the end of our output.
fn close_output() -> Result<()> {
    nix::unistd::dup2_stdout(&null()?).during("close the output")
}

fn null() -> Result<OwnedFd> {
    Ok(File::open("/dev/null").during("open /dev/null")?.into())
}

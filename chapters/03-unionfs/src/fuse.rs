//! A union made by a program: fuse-overlayfs, and the mount that it serves.
//!
//! FUSE is a file system whose questions the kernel hands to a program, through a descriptor of
//! /dev/fuse. The mount is made here, detached, and the descriptor given to the program. It ends with
//! the last reference to the mount, whatever becomes of us.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corten_namespaces::Context;
use corten_namespaces::sys::mount;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::error::{Error, Result};
use crate::node;
use crate::overlay::Writable;
use crate::sys;

pub(crate) const PROGRAM: &str = "fuse-overlayfs";

/// The kernel takes no longer argument of a program, its NUL included (`MAX_ARG_STRLEN`).
const LONGEST_ARGUMENT: usize = 128 << 10;

/// A union mount to be.
#[derive(Debug)]
pub(crate) struct FuseOverlay<'a> {
    /// The layers, topmost first; at least one.
    pub(crate) lower: &'a [PathBuf],
    /// Where changes go; the tree is read-only without it.
    pub(crate) writable: Option<&'a Writable>,
}

impl FuseOverlay<'_> {
    // ANCHOR: mount
    /// Makes the detached mount and starts the program that serves it.
    ///
    /// # Errors
    /// [`Error::Fuse`], with what the program said; where there is no `/dev/fuse`.
    pub(crate) fn mount(&self) -> Result<OwnedFd> {
        let (from, options) = self.options()?;
        let context = mount::fsopen(c"fuse").on("fsopen", "fuse")?;
        // After fsopen(2), which loads the module that makes it.
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let device = nix::fcntl::open("/dev/fuse", flags, Mode::empty()).map_err(no_device)?;
        configure(context.as_fd(), device.as_fd()).during("configure the FUSE mount")?;
        mount::create(context.as_fd()).during("make the FUSE mount")?;
        let attributes = if self.writable.is_none() { libc::MOUNT_ATTR_RDONLY } else { 0 };
        let tree = mount::fsmount(context.as_fd(), attributes).on("fsmount", "fuse")?;
        // Until it serves, nobody may look at the tree: the kernel would wait for an answer.
        serve(&device, &from, &options)?;
        Ok(tree)
    }
    // ANCHOR_END: mount

    /// Where the program starts, and its options. It starts in the directory that holds all others and
    /// finds them by what is left of their paths: those are short, and as the engine makes them they
    /// have nothing in them that would have to be escaped.
    fn options(&self) -> Result<(PathBuf, OsString)> {
        let mut paths = Vec::with_capacity(self.lower.len() + 2);
        let writable = self.writable.map(|dirs| [&dirs.upper, &dirs.work]);
        for path in self.lower.iter().chain(writable.into_iter().flatten()) {
            paths.push(fs::canonicalize(path).map_err(node::errno).on("open", path)?);
        }
        let from = common(&paths).ok_or_else(|| invalid("layers", "at least one is needed"))?;
        // What is written must be in the upper directory at once, as with overlay: a diff reads it there
        // while the container goes on.
        let mut options = b"writeback=0,lowerdir=".to_vec();
        for (at, path) in paths.iter().enumerate() {
            let path = path.strip_prefix(&from).unwrap_or(path);
            match at.checked_sub(self.lower.len()) {
                None if path.as_os_str().as_bytes().contains(&b':') => {
                    let why = "has a colon, by which fuse-overlayfs tells layers apart";
                    return Err(invalid(&path.display().to_string(), why));
                }
                None if at == 0 => {}
                None => options.push(b':'),
                Some(0) => options.extend_from_slice(b",upperdir="),
                Some(_) => options.extend_from_slice(b",workdir="),
            }
            options.extend(escaped(path));
        }
        if options.len() >= LONGEST_ARGUMENT {
            let why = format!(
                "their names take {} bytes, and an argument of a program has at most {} (merge layers)",
                options.len(),
                LONGEST_ARGUMENT - 1
            );
            return Err(invalid(&format!("{} layers", self.lower.len()), &why));
        }
        Ok((from, OsString::from_vec(options)))
    }
}

/// The innermost directory that holds all of `paths`.
fn common(paths: &[PathBuf]) -> Option<PathBuf> {
    let mut all = paths.iter();
    let mut from = all.next()?.parent()?;
    for path in all {
        while path == from || !path.starts_with(from) {
            from = from.parent()?;
        }
    }
    Some(from.to_path_buf())
}

/// A comma ends an option, and a backslash takes the meaning of what follows it.
fn escaped(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b',' | b'\\') {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text
}

fn configure(context: BorrowedFd<'_>, device: BorrowedFd<'_>) -> nix::Result<()> {
    let number = |number: u32| CString::new(number.to_string()).map_err(|_| Errno::EINVAL);
    let fd = CString::new(device.as_raw_fd().to_string()).map_err(|_| Errno::EINVAL)?;
    let user = number(nix::unistd::geteuid().as_raw())?;
    let group = number(nix::unistd::getegid().as_raw())?;
    mount::set_string(context, c"source", c"fuse-overlayfs")?;
    mount::set_string(context, c"subtype", c"fuse-overlayfs")?;
    mount::set_string(context, c"fd", &fd)?;
    // A directory.
    mount::set_string(context, c"rootmode", c"40000")?;
    mount::set_string(context, c"user_id", &user)?;
    mount::set_string(context, c"group_id", &group)?;
    // Others than who has mounted it may use it, and the kernel checks their rights.
    mount::set_flag(context, c"allow_other")?;
    mount::set_flag(context, c"default_permissions")
}

// ANCHOR: serve
/// Starts the program with the descriptor of its mount. It makes a session of its own, and returns
/// from its start when it serves: so it is nobody's child, and holds no descriptor of ours.
fn serve(device: &OwnedFd, from: &Path, options: &OsStr) -> Result<()> {
    let mut command = Command::new(PROGRAM);
    command.arg("-o").arg(options).arg(format!("/dev/fd/{}", device.as_raw_fd()));
    command.current_dir(from).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // What it does depends on nothing but its arguments, and it keeps no secret of ours.
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    sys::inherits_only(&mut command, device.as_fd());
    let output = command.output().map_err(|error| match node::errno(error) {
        Errno::ENOENT => refused("it is not installed: apt-get install fuse-overlayfs".into()),
        errno => refused(corten_namespaces::error::said("start", errno)),
    })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(refused(format!("it {}: {}", ended(output.status), said(&output.stderr)))),
    }
}
// ANCHOR_END: serve

fn ended(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// What the program said, in one line.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    // Version 1.10 says so of an option that libfuse gives it.
    let lines = text.lines().filter(|line| !line.starts_with("unknown argument ignored: "));
    let lines: Vec<_> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "it said nothing".into() } else { lines.join("; ") }
}

fn refused(why: String) -> Error {
    Error::Fuse { step: format!("start {PROGRAM}"), why }
}

fn no_device(errno: Errno) -> Error {
    let why = match errno {
        Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => {
            "no /dev/fuse: modprobe fuse; in a container, pass the device in".into()
        }
        errno => corten_namespaces::error::said("open", errno),
    };
    Error::Fuse { step: "open /dev/fuse".into(), why }
}

fn invalid(what: &str, why: &str) -> Error {
    Error::Invalid { what: what.into(), why: why.into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn options(lower: &[PathBuf]) -> Result<(PathBuf, OsString)> {
        FuseOverlay { lower, writable: None }.options()
    }

    fn directories(names: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = names.iter().map(|name| dir.path().join(name)).collect();
        paths.iter().for_each(|path| fs::create_dir_all(path).unwrap());
        (dir, paths)
    }

    #[test]
    fn layers_are_named_from_the_directory_that_holds_all() {
        let (dir, paths) = directories(&["a:b/x/diff", "a:b/y/diff", "a:b/up,\\"]);
        let base = fs::canonicalize(dir.path()).unwrap().join("a:b");
        assert_eq!(
            options(&paths[..2]).unwrap(),
            (base.clone(), "writeback=0,lowerdir=x/diff:y/diff".into())
        );
        let writable = Writable { upper: paths[2].clone(), work: paths[2].clone() };
        let overlay = FuseOverlay { lower: &paths[..1], writable: Some(&writable) };
        let wanted = "writeback=0,lowerdir=x/diff,upperdir=up\\,\\\\,workdir=up\\,\\\\";
        assert_eq!(overlay.options().unwrap(), (base.clone(), wanted.into()));
        // One alone, and one that holds another.
        assert_eq!(
            options(&paths[..1]).unwrap(),
            (base.join("x"), "writeback=0,lowerdir=diff".into())
        );
        let nested = [base.join("x"), base.join("x/diff")];
        assert_eq!(options(&nested).unwrap(), (base, "writeback=0,lowerdir=x:x/diff".into()));
    }

    #[test]
    fn what_the_program_cannot_be_told_is_refused() {
        let (_dir, paths) = directories(&["a", "b:c"]);
        assert!(options(&paths).unwrap_err().to_string().contains("b:c: has a colon"));
        let long = ["x".repeat(200), "y".repeat(200)].join("/");
        let (_dir, paths) = directories(&[&long, "z"]);
        let many: Vec<_> = std::iter::repeat_n(paths, 400).flatten().collect();
        let error = options(&many).unwrap_err().to_string();
        assert!(error.starts_with("800 layers: their names take 16"), "{error}");
        assert!(options(&[]).is_err());
    }

    #[test]
    fn what_it_says_is_one_line() {
        let noise = "unknown argument ignored: lazytime\n";
        assert_eq!(said(format!("{noise}a\n\nb: c\n").as_bytes()), "a; b: c");
        assert_eq!(said(noise.as_bytes()), "it said nothing");
    }
}

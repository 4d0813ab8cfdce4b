//! `mount` and `explain`.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use corten_namespaces::sys::{self, mount};
use corten_namespaces::{Context, Error as KernelError};
use corten_unionfs::overlay::Copyup;
use corten_unionfs::{Error, Overlay, OverlayXattr, Result, Writable, driver};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sys::stat::Mode;

use super::say;

/// A stack of layers.
#[derive(Args)]
pub(super) struct Stack {
    /// The layers, topmost first, separated by colons; may be given several times
    #[arg(long, value_delimiter = ':', required = true)]
    lower: Vec<PathBuf>,
    #[command(flatten)]
    rest: Rest,
}

#[derive(Args)]
pub(super) struct Rest {
    /// Takes the changes; without it the tree is read-only
    #[arg(long, requires = "work")]
    upper: Option<PathBuf>,
    /// An empty directory on the same file system as the upper one
    #[arg(long, requires = "upper")]
    work: Option<PathBuf>,
    /// Read `user.overlay.*` instead of `trusted.overlay.*`
    #[arg(long)]
    userxattr: bool,
    /// Rename directories and change attributes without copying what they belong to
    #[arg(long, conflicts_with = "userxattr")]
    lazy: bool,
}

fn overlay(lower: Vec<PathBuf>, rest: Rest) -> Overlay {
    let writable = rest.upper.zip(rest.work);
    Overlay {
        lower,
        writable: writable.map(|(upper, work)| Writable { upper, work }),
        xattr: xattr(rest.userxattr),
        copyup: if rest.lazy { Copyup::of_kernel() } else { Copyup::default() },
    }
}

pub(super) fn xattr(user: bool) -> OverlayXattr {
    if user { OverlayXattr::User } else { OverlayXattr::Trusted }
}

#[derive(Args)]
pub(super) struct Mount {
    #[command(flatten)]
    stack: Stack,
    /// Where the command sees the tree
    dir: PathBuf,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Mount {
    pub(super) fn execute(self) -> Result<()> {
        sys::unshare(libc::CLONE_NEWNS).during("unshare the mount namespace")?;
        let none = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        nix::mount::mount(none, "/", none, private, none).on("make private", "/")?;
        let tree = overlay(self.stack.lower, self.stack.rest).mount()?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let target = nix::fcntl::open(&self.dir, flags, Mode::empty()).on("open", &self.dir)?;
        mount::move_mount(tree.as_fd(), target.as_raw_fd()).on("move the overlay to", &self.dir)?;
        let [program, arguments @ ..] = self.command.as_slice() else { return Ok(()) };
        let error = Command::new(program).args(arguments).exec();
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Err(Error::Kernel(match errno {
            Errno::ENOENT => KernelError::CommandNotFound {
                command: program.clone(),
                searched: std::env::var("PATH").unwrap_or_default(),
            },
            errno => KernelError::CannotExecute {
                command: program.clone(),
                errno,
                why: "is it a program, with the execute permission?",
            },
        }))
    }
}

#[derive(Args)]
pub(super) struct Explain {
    /// The layers, topmost first, separated by colons; may be given several times
    #[arg(long, value_delimiter = ':')]
    lower: Vec<PathBuf>,
    #[command(flatten)]
    rest: Rest,
    /// Try the drivers in this directory
    #[arg(long, default_value = ".", conflicts_with = "lower")]
    dir: PathBuf,
}

impl Explain {
    pub(super) fn execute(self) -> Result<()> {
        if self.lower.is_empty() {
            return drivers(&self.dir);
        }
        let overlay = overlay(self.lower, self.rest);
        if overlay.lower.len() == 1 && overlay.writable.is_none() {
            say(&format!(
                "open_tree({}, OPEN_TREE_CLONE)   one layer alone needs no overlay",
                overlay.lower[0].display()
            ))?;
            return say("mount_setattr(MOUNT_ATTR_RDONLY)");
        }
        say("fsopen(\"overlay\")                 a file system that is not configured yet")?;
        for setting in overlay.plan() {
            say(&format!("fsconfig({setting})"))?;
        }
        say(
            "fsconfig(FSCONFIG_CMD_CREATE)     the kernel checks the layers and makes the superblock",
        )?;
        say("fsmount()                         a detached mount: a descriptor, at no path")?;
        say("before Linux 6.7: mount(2) in a thread's own mount namespace, then open_tree(2)")
    }
}

fn drivers(dir: &std::path::Path) -> Result<()> {
    let probes = driver::probe(dir);
    let best = probes.iter().position(|probe| probe.verdict.is_ok());
    for (at, probe) in probes.iter().enumerate() {
        let mark = if best == Some(at) { "*" } else { " " };
        say(&format!("{mark} {probe}"))?;
    }
    match best {
        Some(_) => Ok(()),
        None => {
            Err(Error::Invalid { what: dir.display().to_string(), why: "no driver works".into() })
        }
    }
}

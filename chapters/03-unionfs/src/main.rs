//! `corten-unionfs`: unpack a layer, stack layers, see what the kernel is told.
#![deny(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Args, Parser, Subcommand};
use corten_namespaces::sys::{self, mount};
use corten_namespaces::{Context, Error as KernelError, Root};
use corten_unionfs::{Compression, Error, Options, Overlay, OverlayXattr, Result, Writable, apply};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sys::stat::Mode;

/// Unpack layers of images and stack them (chapter 3 of Corten).
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Unpack one layer into an empty directory and print its diff id.
    Apply {
        /// The layer: tar, plain or compressed with gzip or zstd.
        layer: PathBuf,
        /// The directory; made where it is missing.
        dir: PathBuf,
        /// The unpacked layers below, topmost first: their directories lend their attributes. Without
        /// any this is a bottom layer, whose whiteouts hide nothing.
        #[arg(long, value_delimiter = ':')]
        lower: Vec<PathBuf>,
        /// Mark opaque directories for a mount inside a user namespace.
        #[arg(long)]
        userxattr: bool,
    },
    /// Run a command in a mount namespace of its own in which DIR is the merged tree.
    Mount {
        #[command(flatten)]
        stack: Stack,
        /// Where the command sees the tree.
        dir: PathBuf,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Print the system calls that `mount` would make, and do nothing.
    Explain {
        #[command(flatten)]
        stack: Stack,
    },
}

#[derive(Args)]
struct Stack {
    /// The layers, topmost first, separated by colons; may be given several times.
    #[arg(long, value_delimiter = ':', required = true)]
    lower: Vec<PathBuf>,
    /// Takes the changes; without it the tree is read-only.
    #[arg(long, requires = "work")]
    upper: Option<PathBuf>,
    /// An empty directory on the same file system as the upper one.
    #[arg(long, requires = "upper")]
    work: Option<PathBuf>,
    /// Read `user.overlay.*` instead of `trusted.overlay.*`.
    #[arg(long)]
    userxattr: bool,
}

impl From<Stack> for Overlay {
    fn from(stack: Stack) -> Overlay {
        let writable = stack.upper.zip(stack.work);
        Overlay {
            lower: stack.lower,
            writable: writable.map(|(upper, work)| Writable { upper, work }),
            xattr: xattr(stack.userxattr),
            copyup: Default::default(),
        }
    }
}

fn xattr(user: bool) -> OverlayXattr {
    if user { OverlayXattr::User } else { OverlayXattr::Trusted }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Action::Apply { layer, dir, lower, userxattr } => unpack(layer, dir, lower, userxattr),
        Action::Mount { stack, dir, command } => run(stack.into(), dir, &command),
        Action::Explain { stack } => {
            explain(&stack.into());
            Ok(())
        }
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("corten-unionfs: {error}");
    match error {
        Error::Kernel(error) => error.exit_code().into(),
        _ => 125.into(),
    }
}

fn unpack(layer: PathBuf, dir: PathBuf, lower: Vec<PathBuf>, userxattr: bool) -> Result<()> {
    let file = File::open(&layer).on("open", &layer)?;
    std::fs::create_dir_all(&dir).on("mkdir", &dir)?;
    if std::fs::read_dir(&dir).on("read", &dir)?.next().is_some() {
        let why = "is not empty; a layer is unpacked into a directory of its own".into();
        return Err(Error::Invalid { what: dir.display().to_string(), why });
    }
    let bottom = lower.is_empty();
    let lower = lower.iter().map(Root::open).collect::<Result<_, KernelError>>()?;
    let options = Options { xattr: xattr(userxattr), bottom, lower, ..Options::default() };
    let applied = apply(file, Compression::Detect, &Root::open(&dir)?, &options)?;
    println!("{} {} entries, {} bytes", applied.diff_id, applied.entries, applied.bytes);
    if applied.opaque_root {
        println!("this layer hides all layers below it: leave them out of the mount");
    }
    Ok(())
}

fn run(overlay: Overlay, dir: PathBuf, command: &[String]) -> Result<()> {
    sys::unshare(libc::CLONE_NEWNS).during("unshare the mount namespace")?;
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(none, "/", none, private, none).on("make private", "/")?;
    let tree = overlay.mount()?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let target = nix::fcntl::open(&dir, flags, Mode::empty()).on("open", &dir)?;
    mount::move_mount(tree.as_fd(), target.as_raw_fd()).on("move the overlay to", &dir)?;
    let [program, arguments @ ..] = command else { return Ok(()) };
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

fn explain(overlay: &Overlay) {
    if overlay.lower.len() == 1 && overlay.writable.is_none() {
        println!(
            "open_tree({}, OPEN_TREE_CLONE)   one layer alone needs no overlay",
            overlay.lower[0].display()
        );
        println!("mount_setattr(MOUNT_ATTR_RDONLY)");
        return;
    }
    println!("fsopen(\"overlay\")                 a file system that is not configured yet");
    for setting in overlay.plan() {
        println!("fsconfig({setting})");
    }
    println!(
        "fsconfig(FSCONFIG_CMD_CREATE)     the kernel checks the layers and makes the superblock"
    );
    println!("fsmount()                         a detached mount: a descriptor, at no path");
    println!("before Linux 6.7: mount(2) in a thread's own mount namespace, then open_tree(2)");
}

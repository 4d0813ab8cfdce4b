//! Starting a shim.
//!
//! Whoever starts shims carries the program in itself: [`as_shim`] is the first thing that its
//! `main` calls, and does not return in a shim. So there is no second file to look for, or to be of
//! another version.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use corten_runtime::shield;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::client::Client;
use crate::error::{Context, Error, Result};
use crate::{init, shim};

/// The name under which a program is its own shim.
pub const NAME: &str = "corten-shim";

/// What a shim says that cannot say it to a client.
const ERRORS: &str = "shim.log";

/// This program, protected from containers: their first process comes from it, so
/// `/proc/PID/exe` leads to it for a moment (CVE-2019-5736). It is made once, and serves every
/// shim.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// This very program.
    ///
    /// # Errors
    /// Where neither a clone of its mount nor a copy can be made.
    pub fn own() -> Result<Program> {
        Ok(Program(shield::program(Path::new("/proc/self/exe"))?))
    }

    /// The program `corten-supervisor` in the directory of this one, or this one where there is
    /// none. It is smaller than an engine, and being linked statically it can also be the first
    /// process of any container (see [`crate::init`]).
    ///
    /// # Errors
    /// As [`Program::own`].
    pub fn beside() -> Result<Program> {
        Program::at(&program_path())
    }

    /// The program `path`, which calls [`as_shim`].
    ///
    /// # Errors
    /// As [`Program::own`].
    pub fn at(path: &Path) -> Result<Program> {
        Ok(Program(shield::program(path)?))
    }

    // ANCHOR: launch
    /// Starts the shim whose settings are in `directory`. The connection is to a shim that waits for
    /// [`Client::start`]; closed before, it ends the shim.
    ///
    /// # Errors
    /// Where no process can be made.
    pub fn launch(&self, directory: &Path, id: &str) -> Result<(Client, std::process::Child)> {
        let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, kind, None, flags).during("make a socket pair")?;
        let path = directory.join(ERRORS);
        let errors = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .map_err(|error| Error::path("open", &path, error))?;
        // Without anything to do between fork and exec the library uses CLONE_VFORK: the time does
        // not grow with the caller's memory.
        let child = Command::new(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
            .arg0(NAME)
            .arg(directory)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::from(errors))
            .spawn()
            .map_err(|error| Error::path("start the shim in", directory, error))?;
        Ok((Client::over(ours, id).with_errors(path), child))
    }
    // ANCHOR_END: launch
}

/// The file of the program `corten-supervisor` beside this one, or of this one.
pub fn program_path() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    let beside = own.with_file_name("corten-supervisor");
    if beside.exists() { beside } else { own }
}

// ANCHOR: as_shim
/// Whether this process was started as a shim: then it is one, and its end is the process's.
pub fn as_shim() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    match arguments.next() {
        Some(name) if name == OsStr::new(NAME) => {}
        Some(name) if name == OsStr::new(init::PATH) => return Some(init::main(arguments)),
        _ => return None,
    }
    let directory = arguments.next()?;
    match serve(Path::new(&directory)) {
        Ok(code) => Some(code),
        Err(error) => {
            eprintln!("{error}");
            Some(ExitCode::FAILURE)
        }
    }
}
// ANCHOR_END: as_shim

fn serve(directory: &Path) -> Result<ExitCode> {
    let control = std::io::stdin().as_fd().try_clone_to_owned().during("take the connection")?;
    let null = std::fs::File::open("/dev/null").during("open /dev/null")?;
    crate::sys::replace(null.as_fd(), 0).during("close the connection's first descriptor")?;
    Ok(shim::run(directory, control))
}

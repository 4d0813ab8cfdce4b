//! The container's program: searched as the container's user, in the container, before `start`.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use corten_namespaces::sys::{self, CStrings};
use nix::errno::Errno;
use nix::unistd::AccessFlags;

use crate::error::{Error, Result};

/// What execve(2) takes.
pub struct Program {
    /// The arguments.
    pub argv: CStrings,
    /// The environment.
    pub envp: CStrings,
    /// The program's name, as it was given.
    pub name: String,
    /// Where a name without a slash is searched.
    pub path: String,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Program").field(&self.argv.strings()).finish()
    }
}

impl Program {
    /// Converts arguments and environment.
    ///
    /// # Errors
    /// [`Error::Invalid`] with a NUL byte.
    pub fn new(args: &[String], env: &[String]) -> Result<Program> {
        let strings = |list: &[String], what: &str| -> Result<CStrings> {
            let c = |s: &String| {
                CString::new(s.as_str())
                    .map_err(|_| Error::invalid(format!("{what} {s:?}"), "holds a NUL byte"))
            };
            Ok(CStrings::new(list.iter().map(c).collect::<Result<_>>()?))
        };
        // As glibc has it, the last of several counts; getenv takes the first. Go's runtimes leave
        // the last, so a later entry replaces an earlier one.
        let path = env.iter().rev().find_map(|variable| variable.strip_prefix("PATH="));
        Ok(Program {
            argv: strings(args, "process.args:")?,
            envp: strings(env, "process.env:")?,
            name: args.first().cloned().unwrap_or_default(),
            path: path.map_or_else(
                || crate::process::default_path().to_string_lossy().into_owned(),
                str::to_owned,
            ),
        })
    }

    // ANCHOR: find
    /// Finds the program's file. The sentences are those that Docker and Podman look for, to give
    /// their users 127 and 126.
    ///
    /// # Errors
    /// [`Error::Container`].
    pub fn find(&self) -> Result<CString> {
        let name = &self.name;
        if name.contains('/') {
            return match usable(Path::new(name)) {
                Ok(()) => crate::process::c_path(Path::new(name)),
                Err(errno) => Err(refused(name, errno, true)),
            };
        }
        let mut worst = Errno::ENOENT;
        for directory in self.path.split(':') {
            let directory = if directory.is_empty() { "." } else { directory };
            let candidate = PathBuf::from(directory).join(name);
            match usable(&candidate) {
                Ok(()) => return crate::process::c_path(&candidate),
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => worst = errno,
            }
        }
        Err(refused(name, worst, false))
    }
    // ANCHOR_END: find

    /// Becomes the program; returns only where that fails.
    pub fn execute(&self, file: &CString) -> Error {
        let errno = sys::execve(file, &self.argv, &self.envp);
        refused(&self.name, errno, true)
    }
}

fn usable(path: &Path) -> nix::Result<()> {
    let stat = nix::sys::stat::stat(path)?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(Errno::EISDIR);
    }
    // As the effective user, with the capabilities that the program will have.
    nix::unistd::faccessat(
        nix::fcntl::AT_FDCWD,
        path,
        AccessFlags::X_OK,
        nix::fcntl::AtFlags::AT_EACCESS,
    )
}

fn refused(name: &str, errno: Errno, has_path: bool) -> Error {
    let (code, why) = match errno {
        Errno::ENOENT | Errno::ENOTDIR if !has_path => {
            (127, "executable file not found in $PATH".to_owned())
        }
        Errno::ENOENT | Errno::ENOTDIR => (127, format!("stat {name}: no such file or directory")),
        Errno::EISDIR => (126, "is a directory: permission denied".to_owned()),
        Errno::EACCES => (126, "permission denied".to_owned()),
        Errno::EPERM => (126, "operation not permitted".to_owned()),
        Errno::ENOEXEC => {
            (126, "exec format error: another architecture, or no #! line".to_owned())
        }
        other => (126, format!("{other}")),
    };
    Error::Container { message: format!("exec: {name:?}: {why}"), code }
}

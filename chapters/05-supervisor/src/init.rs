//! `--init`: the first process of a container, for a program that does not expect to be it.
//!
//! Pid 1 has duties (chapter 1, and pid_namespaces(7)): it collects orphans, and a signal without a
//! handler does not reach it. A program that knows nothing of this gets this init before it: it
//! passes signals on, collects, and ends as the program ends. It is the shim's own file, mounted
//! into the container read-only, so it must be linked statically: the container has libraries of its
//! own, or none.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;

use corten_namespaces::sys::{self, CStrings};
use corten_runtime::sys::process::{CloneOptions, clone};

/// Where it is mounted in the container, and its name: in /dev, which is the container's own, so that
/// no file has to be made in its root for that.
pub const PATH: &str = "/dev/init";

// ANCHOR: init
/// Runs the program named by `arguments`, after `--`, and ends as it ends.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let program = arguments.skip_while(|argument| argument == "--").map(OsStringExt::into_vec);
    let argv: Vec<CString> = program.filter_map(|argument| CString::new(argument).ok()).collect();
    // Before the program is there, so that none is lost.
    sys::block_signals();
    let made = clone(CloneOptions::default(), || execute(argv));
    let Ok((_pidfd, child)) = made else { return ExitCode::from(125) };
    loop {
        match sys::next_signal() {
            Ok(libc::SIGCHLD) => {
                // One SIGCHLD may stand for many ended children.
                while let Ok(Some((pid, status))) = sys::reap() {
                    if pid == child {
                        return ExitCode::from(exit_status(status));
                    }
                }
            }
            Ok(signal) => drop(sys::kill(child, signal)),
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return ExitCode::from(125),
        }
    }
}
// ANCHOR_END: init

fn execute(argv: Vec<CString>) -> std::convert::Infallible {
    sys::reset_signals();
    let Some(program) = argv.first().cloned() else { sys::exit_now(127) };
    let path = find(&program);
    let environment = std::env::vars_os().filter_map(|(name, value)| {
        let mut both = name.into_vec();
        both.push(b'=');
        both.extend(value.into_vec());
        CString::new(both).ok()
    });
    let environment = CStrings::new(environment.collect());
    let errno = sys::execve(&path, &CStrings::new(argv), &environment);
    eprintln!("exec {}: {errno}", program.to_string_lossy());
    sys::exit_now(if errno == nix::errno::Errno::ENOENT { 127 } else { 126 })
}

/// As execvp(3) looks for it.
fn find(program: &CString) -> CString {
    if program.as_bytes().contains(&b'/') {
        return program.clone();
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let name = OsStr::from_bytes(program.as_bytes());
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|path| nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok())
        .and_then(|path| CString::new(path.into_os_string().into_vec()).ok())
        .unwrap_or_else(|| program.clone())
}

fn exit_status(status: libc::c_int) -> u8 {
    let code = if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status)
    } else {
        libc::WEXITSTATUS(status)
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

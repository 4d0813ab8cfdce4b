//! `--init`: the first process of a container, for a program that does not expect to be it.
//!
//! Pid 1 has duties (chapter 1, and pid_namespaces(7)): it collects orphans, and a signal without a
//! handler does not reach it. A program that knows nothing of this gets this init before it: it
//! passes signals on, collects, and ends as the program ends. It is the shim's own file, mounted
//! into the container read-only, so it must be linked statically: the container has libraries of its
//! own, or none.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use corten_namespaces::sys;

/// Where it is mounted in the container, and its name: in /dev, which is the container's own, so that
/// no file has to be made in its root for that.
pub const PATH: &str = "/dev/init";

// ANCHOR: init
/// Runs the program named by `arguments`, after `--`, and ends as it ends.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.skip_while(|argument| argument == "--");
    let Some(program) = arguments.next() else { return ExitCode::from(127) };
    // Before the program is there, so that none is lost. The program itself gets them unblocked.
    sys::block_signals();
    let child = match crate::sys::spawn(Command::new(&program).args(arguments)) {
        Ok(child) => child.id().cast_signed(),
        Err(error) => {
            eprintln!("exec {}: {error}", program.display());
            let is_missing = error.kind() == std::io::ErrorKind::NotFound;
            return ExitCode::from(if is_missing { 127 } else { 126 });
        }
    };
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

fn exit_status(status: libc::c_int) -> u8 {
    let code = if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status)
    } else {
        libc::WEXITSTATUS(status)
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

//! Exercise 4.3: the part of a shim that waits.
//!
//! `cargo run -p corten-runtime --example supervise -- RUNTIME BUNDLE ID`
#![deny(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use corten_namespaces::sys;

// ANCHOR: supervise
/// Runs the container of `bundle` by two calls of `runtime`, waits for its end and deletes it;
/// gives its exit status as shells count it.
///
/// # Errors
/// Where a call fails, or the container's process is not ours to wait for.
pub fn supervise(runtime: &Path, bundle: &Path, id: &str) -> io::Result<i32> {
    // When `create` ends, its child becomes that of the nearest process above that asks for it.
    sys::identity::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0)?;
    let pid_file = bundle.join("pid");
    let call = |arguments: &[&OsStr]| {
        let status = Command::new(runtime).args(arguments).stdin(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("{arguments:?}"))) }
    };
    let [id, file] = [OsStr::new(id), pid_file.as_os_str()];
    call(&[
        "create".as_ref(),
        "--bundle".as_ref(),
        bundle.as_ref(),
        "--pid-file".as_ref(),
        file,
        id,
    ])?;
    let pid = std::fs::read_to_string(&pid_file)?.parse().map_err(io::Error::other)?;
    // Not started yet, so the number is still its own.
    let pidfd = sys::pidfd_open(pid)?;
    call(&["start".as_ref(), id])?;
    let status = match sys::wait(pidfd.as_fd())? {
        (libc::CLD_EXITED, status) => status,
        (_, signal) => 128 + signal,
    };
    call(&["delete".as_ref(), id])?;
    Ok(status)
}
// ANCHOR_END: supervise

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [runtime, bundle, id] = &words[..] else {
        eprintln!("usage: supervise RUNTIME BUNDLE ID");
        return ExitCode::FAILURE;
    };
    match supervise(runtime.as_ref(), bundle.as_ref(), id) {
        // A status has eight bits.
        Ok(status) => ExitCode::from(status as u8),
        Err(error) => {
            eprintln!("supervise: {error}");
            ExitCode::FAILURE
        }
    }
}

//! Exercise 4.4: a call of the runtime that does not return, and one that does.
//!
//! `cargo run -p corten-runtime --example hang -- RUNTIME BUNDLE ID`
#![deny(unsafe_code)]

use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

// ANCHOR: broken
/// Creates a container; where that fails, says why.
///
/// # Errors
/// What the runtime says.
pub fn broken(runtime: &Path, bundle: &Path, id: &str) -> io::Result<()> {
    let output = Command::new(runtime).args(["create", "--bundle"]).arg(bundle).arg(id).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}
// ANCHOR_END: broken

// ANCHOR: mended
/// Creates a container; where that fails, says why.
///
/// # Errors
/// What the runtime says.
pub fn mended(runtime: &Path, bundle: &Path, id: &str) -> io::Result<()> {
    let log = bundle.join("log.json");
    let mut command = Command::new(runtime);
    command.arg("--log").arg(&log).args(["--log-format", "json", "create", "--bundle"]);
    command.arg(bundle).arg(id);
    // These three become the container's.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if command.status()?.success() {
        return Ok(());
    }
    Err(io::Error::other(std::fs::read_to_string(log)?))
}
// ANCHOR_END: mended

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [runtime, bundle, id] = &words[..] else {
        eprintln!("usage: hang RUNTIME BUNDLE ID");
        return ExitCode::FAILURE;
    };
    match mended(runtime.as_ref(), bundle.as_ref(), id) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hang: {error}");
            ExitCode::FAILURE
        }
    }
}

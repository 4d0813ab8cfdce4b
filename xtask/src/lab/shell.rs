//! `./x lab shell`: the lab VM.

use std::process::Command;

use crate::error::Result;
use crate::setup::{self, Purpose};
use crate::test::build;
use crate::{process, say, workspace};

/// Programs that are of no use in the VM: they work on the checkout.
const OUTSIDE: [&str; 3] = ["corten-book", "corten-vm", "xtask"];

/// Runs it.
///
/// # Errors
/// Where the programs cannot be built or the VM not be started.
pub fn run(options: &[String]) -> Result<()> {
    setup::ensure(&[Purpose::Vm])?;
    say!("building Corten's programs");
    let built = build::run(workspace::cargo().args(["build", "--workspace", "--bins"]))?;
    let mut command = Command::new(workspace::target().join("debug/corten-vm"));
    command.arg("shell");
    for program in &built.programs {
        if !OUTSIDE.contains(&program.name.as_str()) {
            command.arg("--bin").arg(&program.path);
        }
    }
    process::run(command.args(options))
}

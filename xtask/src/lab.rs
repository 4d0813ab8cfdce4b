//! `./x lab`: the lab VM.

use std::process::Command;

use crate::error::Result;
use crate::setup::{self, Purpose};
use crate::test::build;
use crate::{process, say, workspace};

/// What is done with the lab VM.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum Lab {
    /// A root shell in the lab VM, with Corten's programs in its PATH
    Shell {
        /// Options of `corten-vm shell`, such as --kernel 6.12 or --cgroup v1
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

/// Programs that are of no use in the VM: they work on the checkout.
const OUTSIDE: [&str; 3] = ["corten-book", "corten-vm", "xtask"];

/// Runs it.
///
/// # Errors
/// Where the programs cannot be built or the VM not be started.
pub fn run(lab: &Lab) -> Result<()> {
    let Lab::Shell { options } = lab;
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

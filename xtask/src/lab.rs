//! `./x lab`: the lab VM.

use crate::error::Result;
use crate::setup::{self, Purpose};
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

/// Runs it.
///
/// # Errors
/// Where the programs cannot be built or the VM not be started.
pub fn run(lab: &Lab) -> Result<()> {
    let Lab::Shell { options } = lab;
    setup::ensure(&[Purpose::Vm])?;
    say!("building Corten's programs");
    process::run(workspace::cargo().args(["build", "--workspace", "--bins", "--quiet"]))?;
    let debug = workspace::target().join("debug");
    process::run(std::process::Command::new(debug.join("corten-vm")).arg("shell").args(options))
}

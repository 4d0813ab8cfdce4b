//! Where things are, and how cargo is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{OnPath, Result};

/// The root of the checkout.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A directory below target/ for what the tasks make, created where it is missing.
///
/// # Errors
/// Where it cannot be created.
pub fn scratch(name: &str) -> Result<PathBuf> {
    let dir = target().join("x").join(name);
    std::fs::create_dir_all(&dir).on("create", &dir)?;
    Ok(dir)
}

/// Cargo, in the root of the checkout.
///
/// The variables that `cargo run` has set for this program describe the package xtask; a cargo
/// started from here must not see them, or build scripts that watch them would run again.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_CRATE_", "CARGO_BIN_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command
}

//! apt and dpkg, as far as installing missing packages goes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, OnPath, Result};
use crate::process;
use crate::say;

/// Whether this machine has apt and dpkg.
pub fn present() -> bool {
    process::exists("apt-get") && process::exists("dpkg-query")
}

/// Those of `packages` that are not installed.
pub fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${db:Status-Status} ${Package}\n"]).args(packages);
    // It ends with 1 where a package is not known, and lists the others all the same.
    let listing = process::try_output(&mut query).map(|output| output.stdout).unwrap_or_default();
    let listing = String::from_utf8_lossy(&listing).into_owned();
    packages.iter().copied().filter(|package| !installed(&listing, package)).collect()
}

fn installed(listing: &str, package: &str) -> bool {
    listing.lines().any(|line| line.split_once(' ') == Some(("installed", package)))
}

/// How a command gets root's rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// This process is root.
    Root,
    /// `sudo -n` works.
    Sudo,
    /// Neither.
    None,
}

impl Privilege {
    /// Looks which it is.
    pub fn here() -> Privilege {
        if nix::unistd::geteuid().is_root() {
            Privilege::Root
        } else if process::succeeds(Command::new("sudo").args(["-n", "true"])) {
            Privilege::Sudo
        } else {
            Privilege::None
        }
    }

    /// `program` with root's rights and this process's environment, where they can be had.
    pub fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        if self == Privilege::Sudo {
            let mut command = Command::new("sudo");
            command.args(["-n", "-E", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        }
    }
}

/// Installs `packages` without asking anything and without starting their services.
///
/// # Errors
/// Without root's rights, or where apt-get fails twice: with the package lists as they are, and
/// after an update of them.
pub fn install(packages: &[&str]) -> Result<()> {
    let privilege = Privilege::here();
    if privilege == Privilege::None {
        return Err(Error::failed(format!(
            "installing needs root, and sudo asks for a password. Run this, then try again:\n    \
             sudo apt-get install -y --no-install-recommends {}",
            packages.join(" ")
        )));
    }
    let _quiet = NoServices::begin(privilege)?;
    if !lists_present() {
        apt_get(privilege, &["update"], Show::Errors)?;
    } else if apt_install(privilege, packages, Show::Nothing).is_ok() {
        return Ok(());
    } else {
        say!("the package lists are old: apt-get update");
        apt_get(privilege, &["update"], Show::Errors)?;
    }
    apt_install(privilege, packages, Show::Errors)
}

/// Downloads one package and unpacks it to `dir` instead of installing it: that needs no root and
/// replaces nothing on this machine.
///
/// # Errors
/// Where apt-get or dpkg-deb fails.
pub fn unpack(package: &str, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).on("create", dir)?;
    process::run(
        Command::new("apt-get")
            .args(["-q", "download", package])
            .current_dir(dir)
            .stdout(Stdio::null()),
    )?;
    let archives = fs::read_dir(dir).on("list", dir)?.flatten().map(|entry| entry.path());
    let archive = archives
        .into_iter()
        .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
        .ok_or_else(|| Error::failed(format!("apt-get download {package} left no archive")))?;
    process::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(dir))?;
    fs::remove_file(&archive).on("remove", &archive)
}

fn lists_present() -> bool {
    fs::read_dir("/var/lib/apt/lists")
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Nothing,
    Errors,
}

fn apt_install(privilege: Privilege, packages: &[&str], show: Show) -> Result<()> {
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt_get(privilege, &arguments, show)
}

fn apt_get(privilege: Privilege, arguments: &[&str], show: Show) -> Result<()> {
    // `env` behind sudo, because many a sudoers file drops the variables that apt needs.
    let mut command = privilege.command("env");
    command
        .args(["DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "apt-get", "-qq"])
        .args(["-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=120"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if show == Show::Nothing {
        command.stderr(Stdio::null());
    }
    process::run(&mut command)
}

/// While it lives, no package that is installed may start its service: invoke-rc.d(8) asks the
/// program `/usr/sbin/policy-rc.d`, and 101 means that the action is forbidden.
struct NoServices {
    privilege: Privilege,
    path: PathBuf,
}

impl NoServices {
    fn begin(privilege: Privilege) -> Result<Option<NoServices>> {
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        if path.exists() {
            // Somebody decides this already (container images do); theirs is left alone.
            return Ok(None);
        }
        let draft = crate::workspace::scratch("apt")?.join("policy-rc.d");
        fs::write(&draft, "#!/bin/sh\nexit 101\n").on("write", &draft)?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).on("chmod", &draft)?;
        process::run(privilege.command("cp").arg(&draft).arg(&path))?;
        Ok(Some(NoServices { privilege, path }))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Err(error) = process::run(self.privilege.command("rm").arg("-f").arg(&self.path)) {
            say!("{error}; remove {} by hand", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::installed;

    #[test]
    fn only_the_state_installed_counts() {
        let listing = "installed cpio\nconfig-files attr\nnot-installed nftables\n";
        assert!(installed(listing, "cpio"));
        assert!(!installed(listing, "attr"));
        assert!(!installed(listing, "nftables"));
        assert!(!installed(listing, "cpi"));
    }
}

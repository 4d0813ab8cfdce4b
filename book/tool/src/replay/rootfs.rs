//! The small system in `$ROOTFS` on which the host's sessions are run, made like the lab VM's
//! /rootfs: busybox, a link for each of its commands, and an /etc with two files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::error::{Context, Error, Result};

/// A directory that is there until it is dropped.
pub(super) struct RootFs(TempDir);

impl RootFs {
    /// Makes one in the directory for temporary files.
    pub(super) fn make() -> Result<RootFs> {
        let directory = tempfile::Builder::new()
            .prefix("corten-rootfs-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .on("create", std::env::temp_dir())?;
        let root = directory.path();
        for name in ["bin", "proc", "sys", "dev", "tmp", "root", "etc", "run", "mnt"] {
            let path = root.join(name);
            fs::create_dir(&path).on("create", &path)?;
        }
        for (name, text) in
            [("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\n")]
        {
            let path = root.join("etc").join(name);
            fs::write(&path, text).on("write", &path)?;
        }
        busybox(&root.join("bin"))?;
        Ok(RootFs(directory))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for RootFs {
    fn drop(&mut self) {
        // What a session has left mounted there is not ours to delete.
        let mounts = fs::read_to_string("/proc/self/mountinfo");
        if !mounts.is_ok_and(|mounts| !mounted_below(&mounts, self.path())) {
            eprintln!("{}: something is mounted there; it stays", self.path().display());
            self.0.disable_cleanup(true);
        }
    }
}

/// Whether one of the mounts of `mountinfo`, proc_pid_mountinfo(5), is at `path` or below.
fn mounted_below(mountinfo: &str, path: &Path) -> bool {
    let point = |line: &str| line.split(' ').nth(4).map(PathBuf::from);
    mountinfo.lines().filter_map(point).any(|point| point.starts_with(path))
}

/// Copies this machine's busybox to `bin` and makes its links.
fn busybox(bin: &Path) -> Result<()> {
    let program = super::session::installed("busybox")?;
    let copy = bin.join("busybox");
    fs::copy(&program, &copy).on("copy", &program)?;
    let listing = Command::new(&program).arg("--list").output().on("run", &program)?;
    for name in String::from_utf8_lossy(&listing.stdout).lines() {
        // `[[` and all others are plain names.
        if name != "busybox" && !name.contains('/') {
            let link = bin.join(name);
            symlink("busybox", &link).on("link", &link)?;
        }
    }
    if bin.join("sh").exists() {
        Ok(())
    } else {
        let program = program.display();
        Err(Error::Usage(format!("{program} has no sh: apt-get install -y busybox-static")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_small_system_until_it_is_dropped() {
        let rootfs = RootFs::make().unwrap();
        let root = rootfs.path().to_owned();
        let mut etc: Vec<_> = fs::read_dir(root.join("etc"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        etc.sort();
        assert_eq!(etc, ["group", "passwd"]);
        assert_eq!(fs::read_link(root.join("bin/sh")).unwrap(), Path::new("busybox"));
        drop(rootfs);
        assert!(!root.exists());
    }

    #[test]
    fn a_mount_below_is_seen() {
        let mounts = "1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /tmp/r/proc rw - proc proc rw\n";
        assert!(mounted_below(mounts, Path::new("/tmp/r")));
        assert!(!mounted_below(mounts, Path::new("/tmp/r/p")));
    }
}

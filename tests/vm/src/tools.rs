//! Programs of this machine that a guest has beside busybox, where they are installed.
//!
//! Busybox has a command for most purposes, with fewer options than the programs by which people
//! learn about containers. Those go before it in the guest, as far as this machine has them.

use std::path::Path;

use crate::builder::VmBuilder;
use crate::error::Result;

/// util-linux, coreutils and others, by which namespaces and mounts are tried by hand.
const BY_HAND: [&str; 17] = [
    "/usr/bin/bash",
    "/usr/bin/env",
    "/usr/bin/findmnt",
    "/usr/bin/lsns",
    "/usr/bin/mount",
    "/usr/bin/nsenter",
    "/usr/bin/ps",
    "/usr/bin/script",
    "/usr/bin/setpriv",
    "/usr/bin/strace",
    "/usr/bin/tar",
    "/usr/bin/umount",
    "/usr/bin/unshare",
    "/usr/sbin/ip",
    "/usr/sbin/nft",
    "/usr/sbin/pivot_root",
    "/usr/sbin/tc",
];

/// What tests compare with, or need for their fixtures.
const COUNTERPARTS: [&str; 17] = [
    "/usr/bin/docker-registry",
    "/usr/bin/fuse-overlayfs",
    "/usr/bin/getcap",
    "/usr/bin/getfattr",
    "/usr/bin/gzip",
    "/usr/bin/newgidmap",
    "/usr/bin/newuidmap",
    "/usr/bin/openssl",
    "/usr/bin/setfattr",
    "/usr/bin/skopeo",
    "/usr/bin/umoci",
    "/usr/bin/xz",
    "/usr/lib/systemd/systemd",
    "/usr/sbin/apparmor_parser",
    "/usr/sbin/criu",
    "/usr/sbin/mkfs.btrfs",
    "/usr/sbin/runc",
];

/// Files without which one of them does not start: skopeo asks the first which images to trust.
const FILES: [&str; 1] = ["/etc/containers/policy.json"];

impl VmBuilder {
    /// Puts the usual programs of this machine into the guest, those that are installed.
    ///
    /// # Errors
    /// Where one of them cannot be read.
    pub fn usual_tools(mut self) -> Result<Self> {
        for tool in BY_HAND.iter().chain(&COUNTERPARTS).filter(|path| Path::new(path).exists()) {
            self = self.tool(tool)?;
        }
        for file in FILES.iter().filter(|path| Path::new(path).exists()) {
            self = self.file(file, file)?;
        }
        Ok(self)
    }
}

//! Which drivers work in a directory, found out by trying them there.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use corten_namespaces::{Context, Root, rootless};
use nix::sys::statfs::{self, FsType};

use super::{BtrfsDriver, CopyDriver, Driver, FuseDriver, OverlayDriver};
use crate::error::{Error, Result};
use crate::fuse;
use crate::node;
use crate::overlay::{Copyup, OverlayXattr};
use crate::sys;

/// What was found out about one driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Its name.
    pub driver: &'static str,
    /// How it works there, or why it does not.
    pub verdict: Result<String, String>,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Ok(how) => write!(f, "{}: works ({how})", self.driver),
            Err(why) => write!(f, "{}: no: {why}", self.driver),
        }
    }
}

// ANCHOR: choose
/// The best driver that works in the directory `dir`, and what was found out about it and those that
/// are better.
///
/// Overlay comes first wherever it works: only it shares the page cache between containers, so a
/// library that a hundred of them use is in memory once.
///
/// # Errors
/// Where not even copying works: the directory cannot be written to.
pub fn choose(dir: &Path) -> Result<(Box<dyn Driver>, Vec<Probe>)> {
    let mut probes = Vec::new();
    for probe in attempts(dir) {
        let driver = probe.verdict.is_ok().then(|| named(probe.driver)).flatten();
        probes.push(probe);
        if let Some(driver) = driver {
            return Ok((driver, probes));
        }
    }
    let why: Vec<_> = probes.iter().map(ToString::to_string).collect();
    Err(Error::Invalid { what: dir.display().to_string(), why: why.join("; ") })
}
// ANCHOR_END: choose

/// The driver of that name, as it fits this kernel and this user.
pub fn named(name: &str) -> Option<Box<dyn Driver>> {
    match name {
        "overlay" => Some(Box::new(overlay())),
        WHOLE_OVERLAY => Some(whole_overlay()),
        "btrfs" => Some(Box::new(BtrfsDriver)),
        fuse::PROGRAM => Some(Box::new(FuseDriver)),
        "copy" => Some(Box::new(CopyDriver)),
        _ => None,
    }
}

/// Tries one driver in a scratch directory, and tells how it works there.
type Attempt = fn(&Path) -> Result<String>;

/// Tries one driver after the other, the best first.
fn attempts(dir: &Path) -> impl Iterator<Item = Probe> {
    let attempts: [(&'static str, Attempt); 4] = [
        ("overlay", try_overlay),
        ("btrfs", try_btrfs),
        (fuse::PROGRAM, try_fuse),
        ("copy", try_copy),
    ];
    attempts.into_iter().map(|(driver, attempt)| Probe { driver, verdict: tried(dir, attempt) })
}

/// Tries all drivers in the directory `dir`, the best first.
pub fn probe(dir: &Path) -> Vec<Probe> {
    attempts(dir).collect()
}

/// Tries one in a scratch directory that is removed afterwards.
fn tried(dir: &Path, attempt: Attempt) -> Result<String, String> {
    let scratch = scratch(dir).map_err(|error| error.to_string())?;
    let verdict = attempt(&scratch).map_err(|error| error.to_string());
    // Whichever driver made what is in there, btrfs's way removes it.
    let _ = BtrfsDriver.discard(&scratch);
    verdict
}

fn scratch(dir: &Path) -> Result<PathBuf> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!(".tmp-probe-{}-{count}", std::process::id()));
    fs::create_dir(&path).map_err(node::errno).on("mkdir", &path)?;
    Ok(path)
}

/// The name of [`whole_overlay`].
pub(crate) const WHOLE_OVERLAY: &str = "overlay-whole";

/// Overlay whose upper directory refers to no layer, so that it can become one.
pub(crate) fn whole_overlay() -> Box<dyn Driver> {
    Box::new(OverlayDriver { copyup: Copyup::default(), ..overlay() })
}

/// Overlay as this kernel and this user namespace allow it.
fn overlay() -> OverlayDriver {
    match rootless::inside() {
        // The kernel allows neither redirects nor files without content there.
        true => OverlayDriver { xattr: OverlayXattr::User, copyup: Copyup::default() },
        false => OverlayDriver { xattr: OverlayXattr::Trusted, copyup: Copyup::of_kernel() },
    }
}

/// Mounts two layers with a file each, deletes one file, and looks whether the deletion is marked as
/// layers mark it.
fn try_overlay(dir: &Path) -> Result<String> {
    let driver = overlay();
    let upper = Root::open(delete_with(&driver, dir)?)?;
    let mark = node::look(upper.as_fd(), "file".as_ref()).on("stat", "the whiteout")?;
    if !mark.as_ref().is_some_and(node::is_whiteout) {
        let why: String = "a deletion leaves no whiteout in the upper directory".into();
        return Err(Error::Invalid { what: "overlay".into(), why });
    }
    let xattr = match driver.xattr {
        OverlayXattr::Trusted => "trusted xattrs",
        OverlayXattr::User => "user xattrs, in a user namespace",
    };
    Ok(format!("on {}, {xattr}, {}", file_system(dir), driver.copyup))
}

/// The same, where the mark may be either of two.
fn try_fuse(dir: &Path) -> Result<String> {
    delete_with(&FuseDriver, dir)?;
    Ok(format!("FUSE on {}", file_system(dir)))
}

/// Mounts two layers with a file, and deletes it; gives the upper directory.
fn delete_with(driver: &dyn Driver, dir: &Path) -> Result<PathBuf> {
    let layers = ["top", "bottom"].map(|name| dir.join(name));
    let writable = dir.join("container");
    for path in layers.iter().chain([&writable]) {
        fs::create_dir(path).map_err(node::errno).on("mkdir", path)?;
    }
    let file = layers[1].join("file");
    fs::write(&file, "x").map_err(node::errno).on("write", &file)?;
    let tree = driver.mount(&layers, Some(&writable))?;
    let merged = PathBuf::from(format!("/proc/thread-self/fd/{}/file", tree.as_raw_fd()));
    let removed: io::Result<()> = fs::remove_file(&merged);
    removed.map_err(node::errno).on("delete a file of a layer in", "the merged tree")?;
    Ok(writable.join("upper"))
}

fn try_btrfs(dir: &Path) -> Result<String> {
    if fs_type(dir) != Some(sys::BTRFS_MAGIC) {
        let why = format!("this directory is on {}", file_system(dir));
        return Err(Error::Invalid { what: "no btrfs".into(), why });
    }
    BtrfsDriver.begin(&dir.join("bottom"), None)?;
    BtrfsDriver.begin(&dir.join("top"), Some(&dir.join("bottom")))?;
    BtrfsDriver.discard(&dir.join("top"))?;
    BtrfsDriver.discard(&dir.join("bottom"))?;
    Ok("subvolumes and snapshots".into())
}

fn try_copy(dir: &Path) -> Result<String> {
    CopyDriver.begin(&dir.join("bottom"), None)?;
    let file = dir.join("bottom/diff/file");
    fs::write(&file, "x").map_err(node::errno).on("write", &file)?;
    let copied = crate::copy::copy_tree(
        &Root::open(dir.join("bottom/diff"))?,
        &Root::open({
            CopyDriver.begin(&dir.join("top"), None)?;
            dir.join("top/diff")
        })?,
    )?;
    Ok(match copied.shared {
        0 => format!("every file is copied: {} shares no blocks", file_system(dir)),
        _ => format!("files share their blocks on {}", file_system(dir)),
    })
}

fn fs_type(dir: &Path) -> Option<FsType> {
    statfs::statfs(dir).ok().map(|stat| stat.filesystem_type())
}

/// The file system of `dir` by name, where it is one that people keep containers on.
fn file_system(dir: &Path) -> String {
    match fs_type(dir) {
        Some(statfs::EXT4_SUPER_MAGIC) => "ext4".into(),
        Some(statfs::XFS_SUPER_MAGIC) => "xfs".into(),
        Some(statfs::BTRFS_SUPER_MAGIC) => "btrfs".into(),
        Some(statfs::TMPFS_MAGIC) => "tmpfs".into(),
        Some(statfs::OVERLAYFS_SUPER_MAGIC) => "overlay".into(),
        Some(FsType(number)) => format!("a file system of type {number:#x}"),
        None => "an unknown file system".into(),
    }
}

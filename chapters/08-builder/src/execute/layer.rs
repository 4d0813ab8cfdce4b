//! From a directory with changes to a layer in both stores.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use corten_namespaces::Root;
use corten_registry::{Compression, MediaType};
use corten_unionfs::graft::{self, Seen};
use corten_unionfs::{ChainId, Compression as Packing};
use flate2::write::GzEncoder;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{self, FileStat, Mode, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::UnlinkatFlags;

use super::Session;
use super::state::Layer;
use crate::cache::Made;
use crate::error::{At, Result};
use crate::run::Cancel;

impl Session<'_> {
    // ANCHOR: commit
    /// Makes a layer of what was changed in `writable` over `parent`; `None` where nothing was. What is
    /// written is not unpacked again, but moved to its place, and synced there once; unless it is that of a
    /// container that `stays`.
    pub(super) fn commit(
        &self,
        parent: Option<&ChainId>,
        stays: bool,
        writable: &Path,
    ) -> Result<Option<Layer>> {
        if let Some(date) = self.options.source_date_epoch {
            clamp(&changed(writable).0, date)?;
        }
        let (images, layers) = (self.builder.images, self.builder.layers);
        let staging = images.stage(&self.lease)?;
        let gzip = GzEncoder::new(staging, flate2::Compression::fast());
        let packed = layers.pack(parent, writable, Heeding { to: gzip, cancel: &self.cancel });
        self.check()?;
        let (Heeding { to: gzip, .. }, packed) = packed?;
        if packed.written.entries == 0 {
            return Ok(None);
        }
        let diff_id = packed.written.diff_id;
        let chain_id = ChainId::of(parent, &diff_id);
        self.hold(&[chain_id])?;
        let kind = MediaType::OciLayer(Compression::Gzip);
        let staged = gzip.finish().at("write", "the layer")?.end(kind)?;
        let adopted = !stays && layers.adopt(parent, writable, &packed)?.is_some();
        let blob = staged.publish()?;
        if !adopted {
            layers.ensure(parent, &diff_id, Packing::Gzip, images.open_blob(&blob.digest)?)?;
        }
        Ok(Some(Layer { blob, diff_id, chain_id }))
    }
    // ANCHOR_END: commit

    // ANCHOR: cached_layer
    /// The layer that the cache names, where both stores still have it.
    pub(super) fn cached_layer(&self, made: &Made) -> Result<Option<Layer>> {
        let blob = made.descriptor()?;
        // Held first, so that what is found stays.
        self.lease.hold([&blob.digest])?;
        self.hold(&[made.chain_id])?;
        let there = self.builder.images.has_blob(&blob)?
            && self.builder.layers.get(&made.chain_id)?.is_some();
        let (diff_id, chain_id) = (made.diff_id, made.chain_id);
        Ok(there.then_some(Layer { blob, diff_id, chain_id }))
    }
    // ANCHOR_END: cached_layer
}

/// Writes until somebody ends the build.
struct Heeding<'a, W> {
    to: W,
    cancel: &'a Cancel,
}

impl<W: Write> Write for Heeding<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.cancel.is_cancelled() {
            true => Err(std::io::Error::other("the build was interrupted")),
            false => self.to.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// Where changes are: overlay's upper directory; or, with other drivers, the whole tree.
fn changed(writable: &Path) -> (PathBuf, bool) {
    let upper = writable.join("upper");
    match upper.exists() {
        true => (upper, false),
        false => (writable.join("tree/diff"), true),
    }
}

/// Gives everything below `upper`, and itself, no later time than `date`.
fn clamp(upper: &Path, date: i64) -> Result<()> {
    let root = Root::open(upper)?;
    let time = TimeSpec::new(date, 0);
    let later =
        |stat: &FileStat| stat.st_mtime > date || (stat.st_mtime == date && stat.st_mtime_nsec > 0);
    let mut paths = Vec::new();
    graft::look(&root, Path::new(""), &|_, _| Seen::Yes, &mut |node| {
        if later(node.stat()) {
            paths.push(node.path().to_path_buf());
        }
        Ok(())
    })?;
    for path in paths {
        let (parent, name) = root.parent(&path)?;
        let flags = UtimensatFlags::NoFollowSymlink;
        stat::utimensat(&parent, name.as_os_str(), &time, &time, flags)
            .at("set the time of", path)?;
    }
    let own = root.open_at("/", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
    if later(&stat::fstat(&own).at("stat", upper)?) {
        stat::futimens(&own, &time, &time).at("set the time of", upper)?;
    }
    Ok(())
}

/// What a runtime mounts in every container; what it makes for that is no change of the image's.
const MOUNTED: [&str; 6] = ["dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// Takes out of `upper` what was made only to mount something on it: what is empty, and is not in
/// `lowers`. `targets` are further places.
pub(super) fn remove_stubs(
    session: &Session<'_>,
    parent: Option<&ChainId>,
    writable: &Path,
    targets: &[String],
) -> Result<()> {
    let (upper, whole) = changed(writable);
    let upper = Root::open(upper)?;
    let targets = targets.iter().map(String::as_str).chain(MOUNTED);
    let mut there: Vec<String> = Vec::new();
    for target in targets {
        let target = crate::ignore::clean(target);
        if !target.is_empty() && look(&upper, &target)?.is_some() {
            there.push(target);
        }
    }
    if there.is_empty() {
        return Ok(());
    }
    // The deepest first.
    there.sort_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
    let lowers = session.builder.layers.lowers(parent)?;
    let tree = session.builder.layers.build_driver().mount(&lowers, None)?;
    let lower = Root::from_fd(tree, "the layers");
    for target in there {
        for path in Path::new(&target).ancestors() {
            let Some(text) = path.to_str().filter(|text| !text.is_empty()) else { break };
            match (look(&upper, text)?, look(&lower, text)?) {
                (Some(stub), None) if !is_empty(&upper, text, &stub)? => break,
                (Some(stub), None) => remove(&upper, text, &stub)?,
                (Some(_), Some(_)) if whole => break,
                (Some(stub), Some(before)) => {
                    restore(&upper, text, (&stub, &before))?;
                    break;
                }
                (None, _) => {}
            }
        }
        if let (Some(before), true) = (look(&lower, ".")?, is_top(&target)) {
            set_time(&upper, &before)?;
        }
    }
    Ok(())
}

fn is_top(path: &str) -> bool {
    !path.contains('/')
}

/// The root of `upper` has another time only because of what was made in it for a mount.
fn set_time(upper: &Root, before: &FileStat) -> Result<()> {
    let fd = upper.open_at("/", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
    let time = TimeSpec::new(before.st_mtime, before.st_mtime_nsec);
    stat::futimens(&fd, &time, &time).at("set the time of", upper.label())
}

/// A directory of the layers that is in `upper`: where nothing is in it any more it was there for the
/// mount only, and goes.
fn restore(upper: &Root, path: &str, (stub, before): (&FileStat, &FileStat)) -> Result<()> {
    let same =
        (stub.st_mode, stub.st_uid, stub.st_gid) == (before.st_mode, before.st_uid, before.st_gid);
    let directory = stub.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR;
    if same && directory && is_empty(upper, path, stub)? && !is_opaque(upper, path)? {
        remove(upper, path, stub)?;
    }
    Ok(())
}

fn is_opaque(upper: &Root, path: &str) -> Result<bool> {
    use std::os::fd::AsRawFd;
    let fd = upper.open_at(path, OFlag::O_PATH, Mode::empty())?;
    let path = format!("/proc/thread-self/fd/{}", fd.as_raw_fd());
    let value = xattr::get_deref(&path, "trusted.overlay.opaque").at("read xattrs of", &path)?;
    Ok(value.is_some())
}

fn look(root: &Root, path: &str) -> Result<Option<FileStat>> {
    if path == "." {
        return stat::fstat(root.as_fd()).map(Some).at("stat", path);
    }
    let (parent, name) = match root.parent(path) {
        Ok(found) => found,
        Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENOTDIR)) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    match stat::fstatat(parent.as_fd(), name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno).at("stat", path),
    }
}

fn is_empty(root: &Root, path: &str, stat: &FileStat) -> Result<bool> {
    match stat.st_mode & nix::libc::S_IFMT {
        nix::libc::S_IFREG => Ok(stat.st_size == 0),
        nix::libc::S_IFDIR => {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
            let fd = root.open_at(path, flags, Mode::empty())?;
            let mut entries = nix::dir::Dir::from_fd(fd).at("read", path)?;
            let own = |name: &[u8]| name == b"." || name == b"..";
            let mut names = entries.iter().flatten().map(|entry| entry.file_name().to_owned());
            Ok(names.all(|name| own(std::ffi::OsStr::from_bytes(name.to_bytes()).as_bytes())))
        }
        _ => Ok(false),
    }
}

fn remove(root: &Root, path: &str, stat: &FileStat) -> Result<()> {
    let (parent, name) = root.parent(path)?;
    let directory = stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR;
    let how = if directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
    nix::unistd::unlinkat(&parent, name.as_os_str(), how).at("remove", path)
}

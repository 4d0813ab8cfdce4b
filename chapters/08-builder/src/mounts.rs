//! The directories behind `RUN --mount=type=cache`: each is kept from build to build, and locked by the
//! step that has it.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use crate::cache::{Entry, Pruned, born};
use crate::dockerfile::Sharing;
use crate::error::{At, Result};
use crate::run::Cancel;
use crate::tree::hex;

/// A cache that a step has.
#[derive(Debug)]
pub struct Held {
    /// The directory to mount.
    pub directory: PathBuf,
    /// Whether it was made just now.
    pub is_new: bool,
    _lock: Flock<File>,
}

/// How long to wait before a lock is asked for again: a signal must be able to end the build meanwhile,
/// and flock(2) has no form with a descriptor to wait for beside it.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(50);

/// Takes the cache `id` below `root`; a new one gets this mode and owner.
///
/// # Errors
/// Where it cannot be made; [`crate::Error::Cancelled`] while it waits.
pub fn take(
    root: &Path,
    id: &str,
    sharing: Sharing,
    (mode, owner): (u32, (u32, u32)),
    cancel: &Cancel,
) -> Result<Held> {
    let name = hex(&Sha256::digest(id.as_bytes()));
    for number in 0.. {
        let place = root.join(match number {
            0 => name.clone(),
            number => format!("{name}-{number}"),
        });
        let how = match sharing {
            Sharing::Shared => FlockArg::LockSharedNonblock,
            Sharing::Private | Sharing::Locked => FlockArg::LockExclusiveNonblock,
        };
        let Some(lock) = lock(&place, how, sharing, cancel)? else { continue };
        let directory = place.join("data");
        let is_new = !directory.exists();
        if is_new {
            // Others that share it may be making it, too; what they leave goes with the cache.
            let own = std::process::id();
            let new = place.join(format!("data.new-{own}-{:?}", std::thread::current().id()));
            let _ = fs::remove_dir_all(&new);
            fs::create_dir(&new).at("make", &new)?;
            std::os::unix::fs::chown(&new, Some(owner.0), Some(owner.1)).at("chown", &new)?;
            fs::set_permissions(&new, fs::Permissions::from_mode(mode)).at("chmod", &new)?;
            // Another step that shares it may have been faster.
            match fs::rename(&new, &directory) {
                Err(_) if directory.exists() => drop(fs::remove_dir(&new)),
                other => other.at("rename to", &directory)?,
            }
        }
        return Ok(Held { directory, is_new, _lock: lock });
    }
    Err(crate::Error::invalid(format!("cache {id}"), "there are too many of it"))
}

// ANCHOR: lock
/// The lock of the cache in `place`; `None` where somebody has it and another cache will do.
fn lock(
    place: &Path,
    how: FlockArg,
    sharing: Sharing,
    cancel: &Cancel,
) -> Result<Option<Flock<File>>> {
    let path = place.join("lock");
    loop {
        // Opened again each time: whoever had it may have been about to remove the cache.
        fs::create_dir_all(place).at("make", place)?;
        let file = match File::options().create(true).append(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.at("open", &path)?,
        };
        match Flock::lock(file, how) {
            Ok(lock) if is_at(&lock, &path)? => return Ok(Some(lock)),
            Ok(_) => continue,
            Err((_, Errno::EWOULDBLOCK)) if sharing == Sharing::Private => return Ok(None),
            Err((_, Errno::EWOULDBLOCK)) => {}
            Err((_, errno)) => return Err(errno).at("lock", &path),
        }
        cancel.check()?;
        std::thread::sleep(AGAIN);
    }
}
// ANCHOR_END: lock

/// Whether the file has that name still.
fn is_at(file: &File, path: &Path) -> Result<bool> {
    let own = file.metadata().at("stat", path)?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).at("stat", path),
    }
}

/// Removes the caches that nobody has.
pub(crate) fn prune(root: &Path, pruned: &mut Pruned) -> Result<()> {
    for entry in fs::read_dir(root).at("read", root)?.flatten() {
        let place = entry.path();
        let Ok(file) = File::open(place.join("lock")) else { continue };
        let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
        pruned.freed += size(&place);
        let parent = File::open(root).at("open", root)?;
        corten_unionfs::remove::remove_tree(parent.as_fd(), &entry.file_name())
            .at("remove", &place)?;
        pruned.removed.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(())
}

/// The caches, for lists of them.
pub(crate) fn entries(root: &Path) -> Vec<Entry> {
    let places = fs::read_dir(root).into_iter().flatten().flatten();
    let entry = |place: fs::DirEntry| {
        // Whoever takes a cache writes nothing of it; its directory changes with what is in it.
        let used = place.metadata().and_then(|metadata| metadata.modified()).ok()?;
        Some(Entry {
            key: place.file_name().to_string_lossy().into_owned(),
            kind: "exec.cachemount",
            description: "a cache of RUN --mount=type=cache".to_owned(),
            size: size(&place.path()),
            layer: None,
            created: born(&place.path()).unwrap_or(used),
            used,
        })
    };
    places.filter_map(entry).collect()
}

/// The bytes of a tree on the disk.
fn size(path: &Path) -> u64 {
    let own = fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512);
    let Ok(entries) = fs::read_dir(path) else { return own };
    let below = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size(&entry.path()),
        _ => entry.metadata().map_or(0, |metadata| metadata.blocks() * 512),
    });
    own + below.sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_cache_is_another_one_while_somebody_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let cancel = Cancel::new().unwrap();
        let take = |sharing| {
            let own = fs::metadata(dir.path()).unwrap();
            take(dir.path(), "x", sharing, (0o755, (own.uid(), own.gid())), &cancel)
        };
        let first = take(Sharing::Private).unwrap();
        assert!(first.is_new);
        let second = take(Sharing::Private).unwrap();
        assert_ne!(first.directory, second.directory);
        cancel.cancel();
        assert!(take(Sharing::Locked).unwrap_err().is_cancelled());
        drop(first);
        assert!(!take(Sharing::Locked).unwrap().is_new);
    }

    #[test]
    fn the_lock_of_a_cache_that_was_removed_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = File::create(&path).unwrap();
        assert!(is_at(&file, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
        let _other = File::create(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
    }
}

//! The image's content, copied into a new volume.
//!
//! An empty volume gets what the image has in its place, with owners and modes. It gets all of that
//! or nothing, whatever crashes in between: the copy is made beside the volume's content, and is
//! moved there when it is whole and on the disk. A move that was cut off is finished by the next
//! container that starts.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use corten_namespaces::Root;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, RenameFlags};
use nix::sys::stat::Mode;

use super::{MountPoint, Volumes};
use crate::engine::error::{At, Result};
use crate::engine::options::MountType;
use corten_supervisor::durable;

const NEW: &str = "_data.new";
const READY: &str = "_data.ready";

/// A moment at which a test pulls the plug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Copied,
    Ready,
    Moved,
    Dressed,
}

impl Volumes {
    /// Fills the volumes of `points` that are empty from the container's root.
    ///
    /// # Errors
    /// What the kernel answers; a volume is as it was, or is filled by the next call.
    pub fn fill(&self, points: &[MountPoint], root: &Root) -> Result<()> {
        for point in points {
            let plain = point.kind == MountType::Volume && point.device.is_none();
            if plain && !point.no_copy && point.subpath.is_empty() {
                self.fill_one(&point.name, &point.destination, root, &mut |_| Ok(()))?;
            }
        }
        Ok(())
    }

    pub(super) fn fill_one(
        &self,
        name: &str,
        path: &str,
        root: &Root,
        moment: &mut dyn FnMut(Moment) -> Result<()>,
    ) -> Result<()> {
        let directory = self.directory(name);
        let record = directory.join("volume.json");
        // Two containers with one new volume take turns.
        let _turn = Flock::lock(File::open(&record).at("open", &record)?, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .at("lock", &record)?;
        if directory.join(READY).exists() {
            return self.move_in(&directory, moment);
        }
        if !is_empty(&directory.join("_data"))? {
            return Ok(());
        }
        // The image decides what is here: a link leads nowhere but into its root.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK;
        let source = match root.open_at(path, flags, Mode::empty()) {
            Ok(source) => Root::from_fd(source, path),
            Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENOTDIR)) => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        remove(&directory, NEW)?;
        let new = directory.join(NEW);
        std::fs::DirBuilder::new().mode(0o700).create(&new).at("make", &new)?;
        corten_unionfs::copy::copy_tree(&source, &Root::open(&new)?)?;
        moment(Moment::Copied)?;
        // Not file by file: the disk may order all of it as it likes.
        let open = File::open(&new).at("open", &new)?;
        nix::unistd::syncfs(&open).at("sync", &new)?;
        let ready = directory.join(READY);
        std::fs::rename(&new, &ready).at("rename to", &ready)?;
        durable::sync_directory(&directory)?;
        moment(Moment::Ready)?;
        self.move_in(&directory, moment)
    }

    /// Moves a copy that is whole to where it belongs. What a container has made meanwhile under
    /// the same name stays.
    fn move_in(
        &self,
        directory: &Path,
        moment: &mut dyn FnMut(Moment) -> Result<()>,
    ) -> Result<()> {
        let (ready, data) = (directory.join(READY), directory.join("_data"));
        for entry in std::fs::read_dir(&ready).at("read", &ready)? {
            let name = entry.at("read", &ready)?.file_name();
            let (from, to) = (File::open(&ready), File::open(&data));
            let (from, to) = (from.at("open", &ready)?, to.at("open", &data)?);
            let flags = RenameFlags::RENAME_NOREPLACE;
            match nix::fcntl::renameat2(&from, name.as_os_str(), &to, name.as_os_str(), flags) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno).at("rename to", &data.join(name)),
            }
            moment(Moment::Moved)?;
        }
        let like = ready.symlink_metadata().at("stat", &ready)?;
        std::os::unix::fs::chown(&data, Some(like.uid()), Some(like.gid()))
            .at("change the owner of", &data)?;
        let mode = std::fs::Permissions::from_mode(like.mode() & 0o7777);
        std::fs::set_permissions(&data, mode).at("change the mode of", &data)?;
        durable::sync_directory(&data)?;
        moment(Moment::Dressed)?;
        remove(directory, READY)?;
        Ok(durable::sync_directory(directory)?)
    }
}

fn remove(directory: &Path, name: &str) -> Result<()> {
    let open = File::open(directory).at("open", directory)?;
    match corten_unionfs::remove::remove_tree(open.as_fd(), name.as_ref()) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno).at("remove", &directory.join(name)),
    }
}

fn is_empty(directory: &Path) -> Result<bool> {
    Ok(std::fs::read_dir(directory).at("read", directory)?.next().is_none())
}

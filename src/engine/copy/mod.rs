//! Files into and out of containers, as tar streams: `docker cp`.
//!
//! Every path is resolved in a [`Files`], by chapter 1's openat2: a link, or a directory that is
//! exchanged for one while we copy (CVE-2018-15664), leads nowhere but into the container. Nothing
//! is executed and no library is loaded in there (CVE-2019-14271): descriptors are all that is used
//! of it. What is opened is a regular file when it is open, not only when it was looked at.
//!
//! | module | what |
//! |---|---|
//! | [`rule`] | where a copy goes, by Docker's table |
//! | `local` | the host's end, also of a copy from or to a daemon elsewhere |
//! | `pipe` | both ends at once |

pub(crate) mod local;
mod pipe;
pub mod rule;

use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use corten_namespaces::Root;
use corten_unionfs::extract::{Extract, Extracted, extract};
use nix::errno::Errno;

use super::error::{At, Error, Result};
use super::files::{Files, PathStat, Spot, base, evaluate};
use local::Local;
pub(crate) use pipe::{HangUp, piped};
use rule::{Source, Target, place};

/// What is held back before it is written: fewer system calls on a pipe.
const BUFFER: usize = 64 << 10;

/// A part of a container that is about to be copied out.
#[derive(Debug)]
pub struct Part {
    /// What it is.
    pub stat: PathStat,
    source: Source,
    spot: Spot,
}

impl Part {
    /// Writes it as a tar stream in which it has the name of the path by which it was found.
    ///
    /// # Errors
    /// What the kernel or `to` answers. The stream has no end then.
    pub fn write(self, to: impl Write) -> Result<()> {
        let name = PathBuf::from(&self.source.name);
        self.write_as(&name, to)
    }

    /// The same under another name.
    ///
    /// # Errors
    /// As [`Part::write`].
    pub fn write_as(self, name: &Path, to: impl Write) -> Result<()> {
        let tree = Root::from_fd(self.spot.directory, &self.spot.path);
        let mut to = BufWriter::with_capacity(BUFFER, to);
        corten_unionfs::diff::pack(&tree, &self.spot.name, name, &mut to).map_err(of_archive)?;
        to.flush().at("write", Path::new("the archive"))
    }
}

impl Files {
    /// The part of the container at `path`; a link is taken as a link, unless the path ends in `/`.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`].
    pub fn part(&self, path: &Path) -> Result<Part> {
        self.refuse_unseen(path)?;
        let spot = self.find(path)?;
        let source = Source { name: base(&spot.path), is_directory: spot.is_directory() };
        self.note("archive-path");
        Ok(Part { stat: self.describe(&spot), source, spot })
    }

    // ANCHOR: extract
    /// Unpacks `archive`, plain, gzip or zstd, into the directory `path`, links followed.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`], what dockerd refuses in its words, what is wrong with the archive.
    pub fn extract(
        &self,
        path: &Path,
        archive: impl Read + Send,
        how: &Extract,
    ) -> Result<Extracted> {
        self.refuse_unseen(path)?;
        let found = self.root().resolve(super::files::cleaned(path));
        let found = found.map_err(|error| self.not_found(path, error.into()))?;
        let stat = nix::sys::stat::fstat(&found).at("stat", path)?;
        if stat.st_mode & nix::libc::S_IFMT != nix::libc::S_IFDIR {
            return Err(Error::refused("extraction point is not a directory"));
        }
        let at = evaluate(self.root(), &super::files::cleaned(path));
        self.refuse_read_only(&at)?;
        let done = extract(archive, self.root(), &at, how).map_err(of_archive)?;
        self.note("extract-to-dir");
        Ok(done)
    }
    // ANCHOR_END: extract

    /// The kernel would refuse it as well, but not before the first entry and in other words.
    fn refuse_read_only(&self, at: &Path) -> Result<()> {
        let points = self.record.mount_points.iter();
        let point = points
            .filter(|point| at.starts_with(&point.destination))
            .max_by_key(|point| point.destination.len());
        match point {
            Some(point) if !point.writable => {
                Err(Error::refused("mounted volume is marked read-only"))
            }
            None if self.record.host_config.readonly_rootfs => {
                Err(Error::refused("container rootfs is marked read-only"))
            }
            _ => Ok(()),
        }
    }

    /// A volume with options is a file system of its own, which is mounted while the container runs:
    /// the directory below it is not what the user means.
    fn refuse_unseen(&self, path: &Path) -> Result<()> {
        let at = evaluate(self.root(), &super::files::cleaned(path));
        let unseen = |point: &&super::volumes::MountPoint| {
            point.device.is_some() && at.starts_with(&point.destination)
        };
        let found = self.record.mount_points.iter().find(unseen);
        match found.filter(|_| !self.is_running()) {
            Some(point) => Err(Error::refused(format!(
                "{}: the volume {} has options, so it is mounted only while the container runs: \
                 start it first",
                path.display(),
                point.name
            ))),
            None => Ok(()),
        }
    }

    /// Copies what is at the host's path `from` to `to` in the container, as `docker cp` does. With
    /// `keep_owners`, files belong to whom they belonged to; otherwise to root.
    ///
    /// # Errors
    /// In the words of Docker's client and dockerd.
    pub fn copy_in(&self, from: &Path, to: &Path, follow: bool, keep_owners: bool) -> Result<()> {
        let local = Local::find(from, follow)?;
        let (to, target) = self.target(to)?;
        let placed = place(&local.source, &to, target)?;
        let owner = (!keep_owners).then_some((0, 0));
        let how = Extract { owner, ..Extract::default() };
        piped(
            |archive| local.pack(&placed.name, archive),
            |archive| self.extract(&placed.directory, archive, &how).map(drop),
        )
    }

    /// Unpacks an archive into the directory `to`, as `docker cp -` does.
    ///
    /// # Errors
    /// As [`Files::extract`].
    pub fn copy_in_archive(&self, archive: impl Read + Send, to: &Path) -> Result<()> {
        let (target, kind) = self.target(to)?;
        if kind != Target::Directory {
            let (name, path) = (self.name(), to.display());
            let text = format!("destination \"{name}:{path}\" must be a directory");
            return Err(Error::refused(text));
        }
        self.extract(&target, archive, &Extract::default()).map(drop)
    }

    /// Where a path leads that shall be written to, and what is there.
    fn target(&self, path: &Path) -> Result<(PathBuf, Target)> {
        let mut place = path.to_path_buf();
        let mut stat = self.stat(&place);
        if let Ok(found) = &stat
            && found.is_link()
        {
            place = PathBuf::from(&found.link_target);
            stat = self.stat(&place);
        }
        match stat {
            Ok(found) if found.is_directory() => Ok((place, Target::Directory)),
            Ok(found) if found.is_special() => Err(Error::refused(format!(
                "destination \"{}:{}\" must be a directory or a regular file",
                self.name(),
                path.display()
            ))),
            Ok(_) => Ok((place, Target::File)),
            Err(Error::NoSuchPath { .. }) => Ok((super::files::cleaned(&place), Target::Missing)),
            // A file is above it: unpacking there says so.
            Err(Error::Kernel(error)) if error.errno() == Some(Errno::ENOTDIR) => {
                Ok((super::files::cleaned(&place), Target::Missing))
            }
            Err(error) => Err(error),
        }
    }

    /// Copies what is at `from` in the container to the host's path `to`. Files belong to whoever
    /// runs this, with `keep_owners` to whom they belonged to. Then they also keep what gives rights
    /// to others: set-user-id bits and capabilities; a program that a container made must not get
    /// those on the host by the way. Gives how many device nodes were left out for the same reason.
    ///
    /// # Errors
    /// In the words of Docker's client and dockerd.
    pub fn copy_out(&self, from: &Path, to: &Path, follow: bool, keep_owners: bool) -> Result<u64> {
        let (to, target) = local::target(to)?;
        let mut part = self.part(from)?;
        if follow && part.stat.is_link() {
            let name = part.source.name;
            part = self.part(Path::new(&part.stat.link_target))?;
            part.source.name = name;
        }
        let placed = place(&part.source, &to, target)?;
        let owner = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let owner = (!keep_owners).then_some(owner);
        let how = Extract { owner, harmless: !keep_owners, ..Extract::default() };
        let root = Root::open(&placed.directory)?;
        piped(
            |archive| part.write_as(&placed.name, archive),
            |archive| {
                extract(archive, &root, Path::new("/"), &how)
                    .map_err(of_archive)
                    .map(|done| done.devices)
            },
        )
    }

    /// Follows a link at the end of `path`, for `docker cp -L CONTAINER:PATH -`.
    ///
    /// # Errors
    /// As [`Files::part`].
    pub fn part_followed(&self, path: &Path) -> Result<Part> {
        let part = self.part(path)?;
        match part.stat.is_link() {
            true => self.part(Path::new(&part.stat.link_target)),
            false => Ok(part),
        }
    }
}

/// Chapter 3 speaks of layers.
pub(crate) fn of_archive(error: corten_unionfs::Error) -> Error {
    use corten_unionfs::Error as Layer;
    match error {
        Layer::Write { source } => match Err::<(), _>(source).at("write", Path::new("the archive"))
        {
            Err(error) => error,
            Ok(()) => Error::refused("write the archive"),
        },
        Layer::Refused { entry, why } => {
            Error::refused(format!("archive refused: entry {entry}: {why}"))
        }
        Layer::Malformed { offset, why } => {
            Error::refused(format!("archive refused: at byte {offset}: {why}"))
        }
        other => other.into(),
    }
}

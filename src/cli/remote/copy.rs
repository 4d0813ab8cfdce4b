//! Copies between this host and a container of a daemon elsewhere. The host's end and the rules are those
//! of a container here.

use std::path::{Path, PathBuf};

use corten_daemon::backend::{Containers, Unpack};
use corten_namespaces::Root;
use corten_unionfs::extract::{Extract, extract};
use serde_json::Value;

use crate::cli::{Error, Result};
use crate::engine::copy::local::{self, Local};
use crate::engine::copy::rule::{Source, Target, place};
use crate::engine::copy::{of_archive, piped};
use crate::engine::error::At as _;
use crate::engine::files::{PathStat, base, cleaned};

/// A container of a daemon elsewhere.
#[derive(Clone, Copy)]
pub(in crate::cli) struct Elsewhere<'a> {
    /// The daemon.
    pub(in crate::cli) engine: &'a (dyn Containers + Sync),
    /// The container.
    pub(in crate::cli) name: &'a str,
}

fn text(path: &Path) -> Result<&str> {
    let why = "is no UTF-8, which names in requests must be";
    path.to_str().ok_or_else(|| Error::invalid(path.display().to_string(), why))
}

fn read(stat: Value) -> Result<PathStat> {
    let wrong = |why: serde_json::Error| Error::invalid("the daemon's answer", why.to_string());
    serde_json::from_value(stat).map_err(wrong)
}

impl Elsewhere<'_> {
    fn stat(&self, path: &Path) -> Result<PathStat> {
        read(self.engine.stat_path(self.name, text(path)?)?)
    }

    /// Where a path leads that shall be written to, and what is there.
    fn target(&self, path: &Path) -> Result<(PathBuf, Target)> {
        let mut place = path.to_path_buf();
        let mut stat = self.engine.stat_path(self.name, text(&place)?);
        if let Ok(found) = &stat
            && let found = read(found.clone())?
            && found.is_link()
        {
            place = PathBuf::from(&found.link_target);
            stat = self.engine.stat_path(self.name, text(&place)?);
        }
        let found = match stat {
            Ok(found) => read(found)?,
            // Whether the container itself is missing is told when something is sent to it.
            Err(failure) if failure.status == 404 => return Ok((cleaned(&place), Target::Missing)),
            Err(failure) => return Err(failure.into()),
        };
        match () {
            () if found.is_directory() => Ok((place, Target::Directory)),
            () if found.is_special() => Err(Error::refused(format!(
                "destination \"{}:{}\" must be a directory or a regular file",
                self.name,
                path.display()
            ))),
            () => Ok((place, Target::File)),
        }
    }

    /// Copies what is at the host's path `from` to `to` in the container, as
    /// [`Files::copy_in`](crate::engine::files::Files::copy_in) does.
    ///
    /// # Errors
    /// In the words of Docker's client and of the daemon.
    pub(in crate::cli) fn copy_in(
        &self,
        from: &Path,
        to: &Path,
        follow: bool,
        keep_owners: bool,
    ) -> Result<()> {
        let local = Local::find(from, follow)?;
        let (to, target) = self.target(to)?;
        let placed = place(&local.source, &to, target)?;
        let wanted = Unpack {
            path: text(&placed.directory)?.to_owned(),
            no_overwrite: true,
            copy_owners: keep_owners,
        };
        let owner = (!keep_owners).then_some((0, 0));
        piped(
            |archive| Ok(local.pack_for(&placed.name, owner, archive)?),
            |mut archive| Ok(self.engine.write_path(self.name, &wanted, &mut archive)?),
        )
    }

    /// Unpacks an archive into the directory `to`, as `docker cp -` does.
    ///
    /// # Errors
    /// As [`Elsewhere::copy_in`].
    pub(in crate::cli) fn copy_in_archive(
        &self,
        archive: &mut (dyn std::io::Read + Send),
        to: &Path,
    ) -> Result<()> {
        let (target, kind) = self.target(to)?;
        if kind == Target::File {
            let (name, path) = (self.name, to.display());
            let text = format!("destination \"{name}:{path}\" must be a directory");
            return Err(Error::refused(text));
        }
        let path = text(&target)?.to_owned();
        let wanted = Unpack { path, no_overwrite: true, copy_owners: false };
        Ok(self.engine.write_path(self.name, &wanted, archive)?)
    }

    /// Writes what is at `from` as an archive.
    ///
    /// # Errors
    /// What the daemon or `to` answers.
    pub(in crate::cli) fn write(
        &self,
        from: &Path,
        follow: bool,
        to: &mut dyn std::io::Write,
    ) -> Result<()> {
        let from = if follow { self.followed(from)? } else { from.to_path_buf() };
        let (_, archive) = self.engine.read_path(self.name, text(&from)?)?;
        Ok(archive(to)?)
    }

    /// Where a link at the end of `path` leads.
    fn followed(&self, path: &Path) -> Result<PathBuf> {
        let stat = self.stat(path)?;
        Ok(if stat.is_link() { PathBuf::from(stat.link_target) } else { path.to_path_buf() })
    }

    /// Copies what is at `from` in the container to the host's path `to`, as
    /// [`Files::copy_out`](crate::engine::files::Files::copy_out) does. Gives how many device nodes were
    /// left out.
    ///
    /// # Errors
    /// As [`Elsewhere::copy_in`].
    pub(in crate::cli) fn copy_out(
        &self,
        from: &Path,
        to: &Path,
        follow: bool,
        keep_owners: bool,
    ) -> Result<u64> {
        let (to, target) = local::target(to)?;
        let path = if follow { self.followed(from)? } else { from.to_path_buf() };
        let (stat, archive) = self.engine.read_path(self.name, text(&path)?)?;
        let source = Source { name: base(from), is_directory: read(stat)?.is_directory() };
        let placed = place(&source, &to, target)?;
        let owner = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let owner = (!keep_owners).then_some(owner);
        let how = Extract { owner, harmless: !keep_owners, ..Extract::default() };
        let called = base(&path);
        let is_renamed = placed.name.as_os_str() != called;
        // What has another name in the archive is unpacked beside its place, and then put there.
        let beside = is_renamed.then(|| Beside::new(&placed.directory)).transpose()?;
        let into = beside.as_ref().map_or(placed.directory.as_path(), |beside| &beside.0);
        let root = Root::open(into)?;
        let devices = piped::<_, Error>(
            |mut to| Ok(archive(&mut to)?),
            |archive| {
                let done = extract(archive, &root, Path::new("/"), &how).map_err(of_archive)?;
                Ok(done.devices)
            },
        )?;
        if let Some(beside) = &beside {
            let made = if called == "." { beside.0.clone() } else { beside.0.join(called) };
            let goal = placed.directory.join(&placed.name);
            std::fs::rename(&made, &goal).at("rename to", &goal)?;
        }
        Ok(devices)
    }
}

/// A directory that is gone in the end, with what is left in it.
struct Beside(PathBuf);

impl Beside {
    fn new(directory: &Path) -> Result<Beside> {
        let path = directory.join(format!(".corten-cp-{}", std::process::id()));
        std::fs::create_dir(&path).at("make", &path)?;
        Ok(Beside(path))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have become what was copied.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

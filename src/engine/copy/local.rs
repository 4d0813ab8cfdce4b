//! The host's end of a copy.
//!
//! The paths are the user's, and are followed as the shell would. What is written is not: below the
//! directory that the user names, nothing that came out of a container leads anywhere else.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use corten_namespaces::Root;
use corten_unionfs::diff::{Packing, pack_as};
use corten_unionfs::graft::Seen;
use nix::errno::Errno;

use super::rule::{Source, Target};
use crate::engine::error::{At, Error, Result};
use crate::engine::files::{Spot, base, says_directory};
use crate::engine::path::lexical;

/// What of the host is copied.
#[derive(Debug)]
pub(crate) struct Local {
    spot: Spot,
    pub(crate) source: Source,
}

impl Local {
    /// What is at `path`; with `follow`, what a link there leads to, under the link's name.
    pub(crate) fn find(path: &Path, follow: bool) -> Result<Local> {
        let path = absolute(path)?;
        let name = match base(&path) {
            dot if dot == "." => dot,
            _ => base(&lexical(&path)),
        };
        let found = if follow && !says_directory(&path) {
            path.canonicalize().at("resolve", &path)?
        } else {
            path.clone()
        };
        // Links above the last component are the user's own, and lead where they lead.
        let spot = Spot::find(&Root::open("/")?, &found).map_err(|error| match &error {
            Error::Kernel(kernel) if kernel.errno() == Some(Errno::ENOENT) => {
                Error::refused(format!("lstat {}: no such file or directory", path.display()))
            }
            _ => error,
        })?;
        let is_directory = spot.is_directory();
        Ok(Local { spot, source: Source { name, is_directory } })
    }

    /// The same as `owner`'s.
    pub(crate) fn pack_for(
        self,
        name: &Path,
        owner: Option<(u32, u32)>,
        to: impl Write,
    ) -> Result<()> {
        let tree = Root::from_fd(self.spot.directory, &self.spot.path);
        let how = Packing { name, owner, seen: &|_, _| Seen::Yes };
        Ok(pack_as(&tree, &self.spot.name, &how, to)?)
    }

    /// Writes it as an archive in which it is called `name`.
    pub(crate) fn pack(self, name: &Path, to: impl Write) -> Result<()> {
        let tree = Root::from_fd(self.spot.directory, &self.spot.path);
        Ok(corten_unionfs::diff::pack(&tree, &self.spot.name, name, to)?)
    }
}

/// A path of the host where something shall be put, links followed, and what is there.
pub(crate) fn target(path: &Path) -> Result<(PathBuf, Target)> {
    let path = absolute(path)?;
    let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let found = match path.canonicalize() {
        Ok(found) => found,
        Err(error) if missing(&error) && path.symlink_metadata().is_ok_and(|m| m.is_symlink()) => {
            // A link that dangles: what it names is made.
            let parent = path.parent().unwrap_or(Path::new("/"));
            lexical(&parent.join(std::fs::read_link(&path).at("read the link", &path)?))
        }
        Err(error) if missing(&error) => path.clone(),
        Err(error) => return Err(error).at("resolve", &path),
    };
    let refused = |text: String| Err(Error::refused(text));
    match found.symlink_metadata() {
        Ok(meta) if meta.is_dir() => Ok((found, Target::Directory)),
        Ok(meta) if meta.file_type().is_block_device() || meta.file_type().is_char_device() => {
            refused(format!(
                "invalid output path: \"{}\" must be a directory or a regular file: got a device",
                path.display()
            ))
        }
        Ok(_) => Ok((found, Target::File)),
        Err(error) if missing(&error) => {
            let parent = found.parent().unwrap_or(Path::new("/"));
            match parent.metadata() {
                Ok(meta) if meta.is_dir() => {
                    let parent = parent.canonicalize().at("resolve", parent)?;
                    let mut name: OsString = found.file_name().unwrap_or_default().to_owned();
                    if says_directory(&path) {
                        name.push("/");
                    }
                    Ok((parent.join(name), Target::Missing))
                }
                Ok(_) => refused("not a directory".to_owned()),
                Err(_) => refused(format!(
                    "invalid output path: directory \"{}\" does not exist",
                    parent.display()
                )),
            }
        }
        Err(error) => Err(error).at("stat", &found),
    }
}

/// The path from the root; a `/` or `/.` at its end stays.
fn absolute(path: &Path) -> Result<PathBuf> {
    if path.as_os_str().is_empty() {
        return Err(Error::refused("path cannot be empty"));
    }
    let here = std::env::current_dir().at("find out", Path::new("the current directory"))?;
    Ok(crate::engine::files::cleaned(&here.join(path)))
}

//! The unpacked layers of one machine: `layers/<chain id>/diff/` and, beside it, `layer.json`.
//!
//! A layer is complete and durable, or absent. It is unpacked in a directory `.tmp-…` that its
//! maker holds locked; one syncfs(2) brings all of it to the disk, without an fsync per file; then
//! a rename gives it its name. A `.tmp-…` that nobody holds is what a crash left, and is removed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use corten_namespaces::{Context, Root};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::apply::{Applied, Limits, Options, OverlayXattr, apply};
use crate::compression::Compression;
use crate::digest::{ChainId, DiffId};
use crate::error::{Error, Result};
use crate::node;
use crate::remove::remove_tree;

const TEMPORARY: &str = ".tmp-";
const DIFF: &str = "diff";
const RECORD: &str = "layer.json";

/// What `layer.json` says about an unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// The layer with all below it; the name of its directory.
    pub chain_id: ChainId,
    /// Its plain stream.
    pub diff_id: DiffId,
    /// The chain that it stands on; none for the bottom layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<ChainId>,
    /// Entries of its archive.
    pub entries: u64,
    /// Bytes of its plain stream.
    pub size: u64,
    /// It hides all layers below it.
    #[serde(default)]
    pub opaque_root: bool,
}

/// The directory `layers/` of Corten's state.
#[derive(Debug)]
pub struct LayerStore {
    path: PathBuf,
    /// What every layer is unpacked with.
    pub limits: Limits,
    /// How opaque directories are marked in this store.
    pub xattr: OverlayXattr,
}

impl LayerStore {
    /// Opens the store at `path` (`/var/lib/corten/layers`), makes it where it is missing, and
    /// removes what a crashed process left half-made.
    ///
    /// # Errors
    /// Where the directory cannot be made or read.
    pub fn open(path: impl Into<PathBuf>) -> Result<LayerStore> {
        let path = path.into();
        std::fs::create_dir_all(&path).on("mkdir", &path)?;
        // Layers hold set-user-id programs with known holes: only root may reach them.
        nix::sys::stat::fchmodat(
            nix::fcntl::AT_FDCWD,
            &path,
            Mode::S_IRWXU,
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )
        .on("chmod", &path)?;
        let limits = Limits::default();
        let store = LayerStore { path, limits, xattr: OverlayXattr::default() };
        store.remove_leftovers()?;
        Ok(store)
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory with the content of a layer, for [`Driver::mount`](crate::Driver::mount).
    pub fn diff(&self, chain_id: &ChainId) -> PathBuf {
        self.path.join(chain_id.hex()).join(DIFF)
    }

    /// The layer `chain_id`, or `None` where it is not (completely) here.
    ///
    /// # Errors
    /// [`Error::Store`] where its `layer.json` is not what this program wrote.
    pub fn get(&self, chain_id: &ChainId) -> Result<Option<Layer>> {
        let path = self.path.join(chain_id.hex()).join(RECORD);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).on("read", &path).map_err(Error::from),
        };
        let wrong = |why: String| Error::Store { path: path.clone(), why };
        let layer: Layer = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        if ChainId::of(layer.parent.as_ref(), &layer.diff_id) != *chain_id {
            return Err(wrong("it describes another layer".into()));
        }
        Ok(Some(layer))
    }

    /// The directories of `chain_id` and all below it, topmost first: what an overlay is made of.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`] where one of them is missing.
    pub fn lower_dirs(&self, chain_id: &ChainId) -> Result<Vec<PathBuf>> {
        let mut dirs = Vec::new();
        let mut next = Some(*chain_id);
        while let Some(chain_id) = next {
            let layer = self.get(&chain_id)?.ok_or_else(|| self.missing(&chain_id))?;
            dirs.push(self.diff(&chain_id));
            next = layer.parent.filter(|_| !layer.opaque_root);
        }
        Ok(dirs)
    }

    /// Makes sure that the layer `diff_id` on top of `parent` is here. Where it already is, `stream`
    /// is not read. Otherwise it is unpacked, compared with `diff_id`, written to disk for good and
    /// given its name, in this order: after a crash or an error the layer is complete or absent.
    /// Two processes may do this at the same time.
    ///
    /// # Errors
    /// As [`apply()`], [`Error::WrongDiffId`], [`Error::NoSuchLayer`] where the
    /// parent is missing.
    pub fn ensure(
        &self,
        parent: Option<&ChainId>,
        diff_id: &DiffId,
        compression: Compression,
        stream: impl Read + Send,
    ) -> Result<Layer> {
        let chain_id = ChainId::of(parent, diff_id);
        if let Some(layer) = self.get(&chain_id)? {
            return Ok(layer);
        }
        let lower = match parent {
            None => Vec::new(),
            Some(parent) => self.lower_dirs(parent)?,
        };
        let lower = lower.iter().map(|dir| Root::open(dir).map_err(Error::from));
        let options = Options {
            limits: self.limits,
            xattr: self.xattr,
            bottom: parent.is_none(),
            lower: lower.collect::<Result<_>>()?,
        };
        let temporary = Temporary::new(&self.path)?;
        let dir = Root::open(temporary.path.join(DIFF))?;
        let applied = apply(stream, compression, &dir, &options)?;
        if applied.diff_id != *diff_id {
            return Err(Error::WrongDiffId { expected: *diff_id, actual: applied.diff_id });
        }
        let Applied { entries, bytes: size, opaque_root, .. } = applied;
        let (diff_id, parent) = (*diff_id, parent.copied());
        let layer = Layer { chain_id, diff_id, parent, entries, size, opaque_root };
        temporary.publish(&layer, &self.path.join(chain_id.hex()))?;
        Ok(layer)
    }

    /// Removes a layer. Its name goes first, so a crash leaves nothing that looks complete. That no
    /// container uses it is for the caller to know.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`], or what unlinking answers.
    pub fn remove(&self, chain_id: &ChainId) -> Result<()> {
        let grave = Temporary::new(&self.path)?;
        let name = self.path.join(chain_id.hex());
        match nix::fcntl::renameat(
            nix::fcntl::AT_FDCWD,
            &name,
            nix::fcntl::AT_FDCWD,
            &grave.path.join("removed"),
        ) {
            Ok(()) => sync_dir(&self.path),
            Err(Errno::ENOENT) => Err(self.missing(chain_id)),
            Err(errno) => Err(errno).on("remove", &name).map_err(Error::from),
        }
    }

    /// All complete layers, ordered by chain id.
    ///
    /// # Errors
    /// As [`LayerStore::get`].
    pub fn list(&self) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        for entry in std::fs::read_dir(&self.path).on("read", &self.path)? {
            let name = entry.on("read", &self.path)?.file_name();
            let Some(Ok(chain_id)) = name.to_str().map(|n| format!("sha256:{n}").parse()) else {
                continue;
            };
            layers.extend(self.get(&chain_id)?);
        }
        layers.sort_by_key(|layer| layer.chain_id);
        Ok(layers)
    }

    fn missing(&self, chain_id: &ChainId) -> Error {
        Error::NoSuchLayer { chain_id: chain_id.to_string(), store: self.path.clone() }
    }

    /// Removes the temporary directories whose makers are gone: nobody holds their lock.
    fn remove_leftovers(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.path).on("read", &self.path)? {
            let entry = entry.on("read", &self.path)?;
            if !entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                continue;
            }
            let path = entry.path();
            // Its maker may be removing it right now.
            let Ok(dir) = open_dir(&path) else { continue };
            if let Ok(lock) = Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
                drop(Temporary { path, _lock: lock });
            }
        }
        Ok(())
    }
}

/// A directory of the store without a name of its own yet; removed when dropped.
struct Temporary {
    path: PathBuf,
    _lock: Flock<OwnedFd>,
}

impl Temporary {
    /// Makes `.tmp-…/diff` and locks it.
    fn new(store: &Path) -> Result<Temporary> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = store.join(format!("{TEMPORARY}{}-{count}", std::process::id()));
            match nix::unistd::mkdir(&path, Mode::S_IRWXU) {
                Ok(()) => {}
                // Left by a process that had our number, or being removed.
                Err(Errno::EEXIST) => continue,
                Err(errno) => return Err(errno).on("mkdir", &path).map_err(Error::from),
            }
            // Between mkdir and lock, another process may take it for a leftover and remove it.
            let Ok(dir) = open_dir(&path) else { continue };
            let Ok(lock) = Flock::lock(dir, FlockArg::LockExclusiveNonblock) else { continue };
            let diff = path.join(DIFF);
            match nix::unistd::mkdir(&diff, Mode::S_IRWXU) {
                Ok(()) => {}
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(errno).on("mkdir", &diff).map_err(Error::from),
            }
            let root = open_dir(&diff)?;
            // Whatever the umask: a layer without an entry for its root has this one.
            let mode = Mode::from_bits_truncate(0o755);
            nix::sys::stat::fchmod(&root, mode).on("chmod", &diff)?;
            return Ok(Temporary { path, _lock: lock });
        }
    }

    /// Writes the record, brings everything to the disk and gives it the name `to`. Where another
    /// process was faster, its layer stays and this one is removed: they are the same.
    fn publish(self, layer: &Layer, to: &Path) -> Result<()> {
        let record = self.path.join(RECORD);
        let mut text = serde_json::to_vec_pretty(layer)
            .map_err(|e| Error::Store { path: record.clone(), why: e.to_string() })?;
        text.push(b'\n');
        let mut file = File::create_new(&record).on("create", &record)?;
        file.write_all(&text).on("write", &record)?;
        nix::unistd::syncfs(&file).on("syncfs", &self.path)?;
        match std::fs::rename(&self.path, to).map_err(node::errno) {
            Ok(()) => {}
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => return Ok(()),
            Err(errno) => return Err(errno).on("rename", to).map_err(Error::from),
        }
        to.parent().map_or(Ok(()), sync_dir)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing of that name. What cannot be removed now is found by the
        // next `open`.
        if let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name())
            && let Ok(parent) = open_dir(parent)
        {
            let _ = remove_tree(parent.as_fd(), OsStr::new(name));
        }
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).on("open", path).map_err(Error::from)
}

fn sync_dir(path: &Path) -> Result<()> {
    nix::unistd::fsync(open_dir(path)?).on("fsync", path).map_err(Error::from)
}

//! The unpacked layers of one machine: `layers/<chain id>/diff/` and, beside it, `layer.json`.
//!
//! A layer is complete and durable, or absent. It is unpacked in a directory `.tmp-…` that its
//! maker holds locked; one syncfs(2) brings all of it to the disk, without an fsync per file; then
//! a rename gives it its name. A `.tmp-…` that nobody holds is what a crash left, and is removed.
//!
//! Nothing counts how often a layer is used. Who uses it says so with a name that dies with the use:
//! the records of images and containers, and the leases of running processes. A number could be
//! wrong after a crash, a list that is derived cannot.

mod adopt;
mod lease;
mod temporary;
mod unpack;
mod usage;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use corten_namespaces::Context;
use nix::errno::Errno;
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

pub use adopt::Packed;
pub use lease::Lease;
pub use unpack::Wanted;
pub use usage::{ImageUsage, Usage};

use crate::apply::Limits;
use crate::compression::Compression;
use crate::digest::{ChainId, DiffId};
use crate::driver::{self, Driver, Layout};
use crate::error::{Error, Result};
use crate::node;
use temporary::Temporary;

const DIFF: &str = "diff";
const RECORD: &str = "layer.json";
const DRIVER: &str = "driver.json";

// ANCHOR: layer
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
// ANCHOR_END: layer

/// What `driver.json` says.
#[derive(Serialize, Deserialize)]
struct DriverRecord {
    driver: String,
}

/// The directory `layers/` of Corten's state.
#[derive(Debug)]
pub struct LayerStore {
    path: PathBuf,
    driver: Box<dyn Driver>,
    /// What every layer is unpacked with.
    pub limits: Limits,
}

impl LayerStore {
    /// Opens the store at `path` (`/var/lib/corten/layers`), makes it where it is missing, and
    /// removes what a crashed process left half-made. A new store gets the best driver that works
    /// there.
    ///
    /// # Errors
    /// Where the directory cannot be made or read, or no driver works in it.
    pub fn open(path: impl Into<PathBuf>) -> Result<LayerStore> {
        let path = prepare(path.into())?;
        let driver = match recorded(&path)? {
            Some(driver) => driver,
            None => {
                let (driver, _) = driver::choose(&path)?;
                record(&path, driver.name())?;
                driver
            }
        };
        LayerStore::with(path, driver)
    }

    /// As [`LayerStore::open`], with `driver`.
    ///
    /// # Errors
    /// [`Error::Store`] where the layers that are there were made by another driver.
    pub fn open_with(path: impl Into<PathBuf>, driver: Box<dyn Driver>) -> Result<LayerStore> {
        let path = prepare(path.into())?;
        match recorded(&path)? {
            Some(other) if other.name() != driver.name() => {
                let why = format!("its layers are {}'s, not {}'s", other.name(), driver.name());
                return Err(Error::Store { path: path.join(DRIVER), why });
            }
            Some(_) => {}
            None => record(&path, driver.name())?,
        }
        LayerStore::with(path, driver)
    }

    fn with(path: PathBuf, driver: Box<dyn Driver>) -> Result<LayerStore> {
        let store = LayerStore { path, driver, limits: Limits::default() };
        temporary::remove_leftovers(&store.path, &*store.driver)?;
        Ok(store)
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The driver that made the layers and mounts them.
    pub fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    /// The directory with the content of a layer, for [`Driver::mount`].
    pub fn diff(&self, chain_id: &ChainId) -> PathBuf {
        self.directory(chain_id).join(DIFF)
    }

    fn directory(&self, chain_id: &ChainId) -> PathBuf {
        self.path.join(chain_id.hex())
    }

    /// The layer `chain_id`, or `None` where it is not (completely) here.
    ///
    /// # Errors
    /// [`Error::Store`] where its `layer.json` is not what this program wrote.
    pub fn get(&self, chain_id: &ChainId) -> Result<Option<Layer>> {
        let path = self.directory(chain_id).join(RECORD);
        let text = match fs::read(&path) {
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

    /// What [`Driver::mount`] needs to show `chain_id` with all below it, topmost first: the
    /// directories of a stack, or the one that has it all.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`] where one of them is missing.
    pub fn lower_dirs(&self, chain_id: &ChainId) -> Result<Vec<PathBuf>> {
        let mut dirs = Vec::new();
        let mut next = Some(*chain_id);
        while let Some(chain_id) = next {
            let layer = self.get(&chain_id)?.ok_or_else(|| self.missing(&chain_id))?;
            dirs.push(self.diff(&chain_id));
            let whole = layer.opaque_root || self.driver.layout() == Layout::Whole;
            next = layer.parent.filter(|_| !whole);
        }
        Ok(dirs)
    }

    /// Makes sure that the layer `diff_id` on top of `parent` is here. Where it already is, `stream`
    /// is not read. Otherwise it is unpacked, compared with `diff_id`, written to disk for good and
    /// given its name, in this order: after a crash or an error the layer is complete or absent.
    /// Two processes may do this at the same time.
    ///
    /// # Errors
    /// As [`apply()`](crate::apply()), [`Error::WrongDiffId`], [`Error::NoSuchLayer`] where the
    /// parent is missing.
    pub fn ensure(
        &self,
        parent: Option<&ChainId>,
        diff_id: &DiffId,
        compression: Compression,
        stream: impl Read + Send,
    ) -> Result<Layer> {
        let wanted = Wanted { diff_id: *diff_id, compression };
        let stream = std::sync::Mutex::new(Some(stream));
        let open = |_| {
            let mut stream = stream.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // There is one layer, so it is opened once.
            stream.take().ok_or_else(|| std::io::Error::other("read twice").into())
        };
        let mut layers = self.ensure_all(parent, &[wanted], 1, open)?;
        layers.pop().ok_or_else(|| self.missing(&ChainId::of(parent, diff_id)))
    }

    /// Removes a layer. Its name goes first, so a crash leaves nothing that looks complete. That no
    /// container uses it is for the caller to know; [`LayerStore::collect`] finds out.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`], or what unlinking answers.
    pub fn remove(&self, chain_id: &ChainId) -> Result<()> {
        self.bury(chain_id).map(drop)
    }

    /// Takes the layer's name away. What it held is removed when the grave is dropped.
    fn bury(&self, chain_id: &ChainId) -> Result<Temporary<'_>> {
        let grave = Temporary::grave(&self.path, &*self.driver)?;
        let name = self.directory(chain_id);
        match fs::rename(&name, grave.path.join("removed")).map_err(node::errno) {
            Ok(()) => {
                temporary::sync_dir(&self.path)?;
                Ok(grave)
            }
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
        for entry in fs::read_dir(&self.path).on("read", &self.path)? {
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
}

/// Makes the directory where it is missing.
fn prepare(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path).on("mkdir", &path)?;
    // Layers hold set-user-id programs with known holes: only root may reach them.
    let mode = Mode::from_bits_truncate(nix::sys::stat::stat(&path).on("stat", &path)?.st_mode);
    if mode == Mode::S_IRWXU {
        return Ok(path);
    }
    nix::sys::stat::fchmodat(
        nix::fcntl::AT_FDCWD,
        &path,
        Mode::S_IRWXU,
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )
    .on("chmod", &path)?;
    Ok(path)
}

/// The driver that made the layers of the store. A store of the time before there were several has
/// no record, and layers of overlay.
fn recorded(path: &Path) -> Result<Option<Box<dyn Driver>>> {
    let file = path.join(DRIVER);
    let wrong = |why: String| Error::Store { path: file.clone(), why };
    let name = match fs::read(&file) {
        Ok(text) => {
            let record: DriverRecord =
                serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
            record.driver
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).on("read", &file).map_err(Error::from);
        }
        Err(_) => {
            let mut names = fs::read_dir(path).on("read", path)?.flatten();
            if !names.any(|entry| entry.file_name().len() == 64) {
                return Ok(None);
            }
            "overlay".into()
        }
    };
    let unknown = || wrong(format!("there is no driver {name:?}"));
    driver::named(&name).ok_or_else(unknown).map(Some)
}

fn record(path: &Path, driver: &str) -> Result<()> {
    let text = serde_json::json!({ "driver": driver });
    temporary::write_durably(&path.join(DRIVER), format!("{text}\n").as_bytes())
}

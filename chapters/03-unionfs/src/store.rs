//! The unpacked layers of one machine.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::apply::{Limits, OverlayXattr};
use crate::compression::Compression;
use crate::digest::{ChainId, DiffId};
use crate::error::{Error, Result};

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
        Ok(LayerStore {
            path: path.into(),
            limits: Limits::default(),
            xattr: OverlayXattr::default(),
        })
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory with the content of a layer, for [`Driver::mount`](crate::Driver::mount).
    pub fn diff(&self, chain_id: &ChainId) -> PathBuf {
        self.path.join(chain_id.hex()).join("diff")
    }

    /// The layer `chain_id`, or `None` where it is not (completely) here.
    ///
    /// # Errors
    /// [`Error::Store`] where its `layer.json` is not what this program wrote.
    pub fn get(&self, chain_id: &ChainId) -> Result<Option<Layer>> {
        let _ = chain_id;
        Ok(None)
    }

    /// The directories of `chain_id` and all below it, topmost first: what an overlay is made of.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`] where one of them is missing.
    pub fn lower_dirs(&self, chain_id: &ChainId) -> Result<Vec<PathBuf>> {
        let _ = chain_id;
        Ok(Vec::new())
    }

    /// Makes sure that the layer `diff_id` on top of `parent` is here. Where it already is, `stream`
    /// is not read. Otherwise it is unpacked, compared with `diff_id`, written to disk for good and
    /// given its name, in this order: after a crash or an error the layer is complete or absent.
    /// Two processes may do this at the same time.
    ///
    /// # Errors
    /// As [`apply`](crate::apply::apply), [`Error::WrongDiffId`], [`Error::NoSuchLayer`] where the
    /// parent is missing.
    pub fn ensure(
        &self,
        parent: Option<&ChainId>,
        diff_id: &DiffId,
        compression: Compression,
        stream: impl Read + Send,
    ) -> Result<Layer> {
        let _ = (parent, diff_id, compression, stream);
        Err(Error::Invalid { what: "ensure".into(), why: "being written".into() })
    }

    /// Removes a layer. Its name goes first, so a crash leaves nothing that looks complete. That no
    /// container uses it is for the caller to know.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`], or what unlinking answers.
    pub fn remove(&self, chain_id: &ChainId) -> Result<()> {
        let _ = chain_id;
        Ok(())
    }

    /// All complete layers, ordered by chain id.
    ///
    /// # Errors
    /// As [`LayerStore::get`].
    pub fn list(&self) -> Result<Vec<Layer>> {
        Ok(Vec::new())
    }
}

//! What images and containers take on the disk.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::SystemTime;

use corten_registry::{Digest, Reference};
use corten_unionfs::store::ImageUsage;
use serde_json::{Value, json};

use super::error::{At, Result};
use super::image::chain;
use super::state::State;
use super::volumes::{Filters, usage};
use super::{Engine, clock, shape};

/// One image.
#[derive(Debug, Clone)]
pub struct ImageLine {
    /// Its names.
    pub names: Vec<Reference>,
    /// Its id.
    pub id: Digest,
    /// When it was made, as its configuration says.
    pub created: Option<String>,
    /// Its unpacked layers.
    pub usage: ImageUsage,
    /// How many containers use it.
    pub containers: usize,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct DiskUsage {
    /// The images.
    pub images: Vec<ImageLine>,
    /// Bytes of all unpacked layers, each once, those of no image among them.
    pub layers: u64,
    /// Bytes of unpacked layers that would go with the images that no container uses, and with none.
    pub reclaimable: u64,
    /// Blobs as they came from registries: how many, and their bytes.
    pub blobs: (usize, u64),
    /// Containers: how many there are, how many run, bytes of all, and of those that do not run.
    pub containers: (usize, usize, u64, u64),
}

impl Engine {
    /// Measures everything: this reads every directory of every layer.
    ///
    /// # Errors
    /// Where the state is damaged, or a directory cannot be read.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let mut users: HashMap<String, usize> = HashMap::new();
        let mut used = HashSet::new();
        let mut containers = (0, 0, 0, 0);
        for (record, state) in self.containers.list()? {
            *users.entry(record.image_id.clone()).or_default() += 1;
            used.extend(record.layers.iter().copied());
            let written = bytes_below(&self.root.join("containers").join(&record.id))?.1;
            let runs = matches!(state, State::Running { .. });
            containers.0 += 1;
            containers.1 += usize::from(runs);
            containers.2 += written;
            containers.3 += if runs { 0 } else { written };
        }
        let mut images: BTreeMap<String, (ImageLine, Vec<_>)> = BTreeMap::new();
        for listed in self.images()? {
            let id = listed.image.id.clone();
            let layers = chain(&listed.image)?;
            let entry = images.entry(id.to_string()).or_insert_with(|| {
                let line = ImageLine {
                    names: Vec::new(),
                    created: listed.image.config.spec().created().clone(),
                    usage: ImageUsage::default(),
                    containers: users.get(&id.to_string()).copied().unwrap_or(0),
                    id,
                };
                (line, layers)
            });
            entry.0.names.extend(listed.name);
        }
        let (mut images, chains): (Vec<_>, Vec<_>) = images.into_values().unzip();
        let usage = self.layers.usage(&chains)?;
        for (line, usage) in images.iter_mut().zip(&usage.images) {
            line.usage = *usage;
        }
        let mut kept = 0;
        for layer in &used {
            kept += self.layers.get(layer)?.map_or(Ok(0), |_| self.layers.size_on_disk(layer))?;
        }
        Ok(DiskUsage {
            images,
            layers: usage.total,
            reclaimable: usage.total.saturating_sub(kept),
            blobs: bytes_below(&self.images.root().join("blobs"))?,
            containers,
        })
    }
}

impl Engine {
    /// All volumes under Docker's names, with what they take and how many use them.
    ///
    /// # Errors
    /// Where the state is damaged.
    pub fn volume_usage(&self) -> Result<Vec<Value>> {
        let users = usage::users(&self.root)?;
        let volumes = self.volumes();
        let rows = volumes.list(&Filters::default())?.into_iter().map(|volume| {
            let mut row = shape::volume(volumes, &volume);
            let count = users.get(&volume.name).map_or(0, Vec::len);
            let size = usage::bytes(&volumes.data(&volume.name));
            row["UsageData"] = json!({"RefCount": count, "Size": size});
            row
        });
        Ok(rows.collect())
    }

    /// What the build cache has under Docker's names. What an image has, too, is shared.
    ///
    /// # Errors
    /// Where the state is damaged.
    pub fn build_usage(&self) -> Result<Vec<Value>> {
        let mut layers = HashSet::new();
        for listed in self.images()? {
            layers.extend(chain(&listed.image)?);
        }
        let rows = self.cached()?.into_iter().map(|entry| {
            json!({
                "ID": entry.key,
                "Type": entry.kind,
                "Description": entry.description,
                // A step is read and let go; nobody holds what it has made.
                "InUse": false,
                "Shared": entry.layer.is_some_and(|layer| layers.contains(&layer)),
                "Size": entry.size,
                "CreatedAt": moment(entry.created),
                "LastUsedAt": moment(entry.used),
            })
        });
        Ok(rows.collect())
    }
}

/// As clients read it.
fn moment(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    clock::at(since.as_nanos().try_into().unwrap_or_default())
}

/// The files below a directory of ours, and their bytes on the disk; nothing where it is not there.
fn bytes_below(dir: &Path) -> Result<(usize, u64)> {
    use std::os::unix::fs::MetadataExt;
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0)),
        other => other.at("read the directory", dir)?,
    };
    let (mut files, mut bytes) = (0, 0);
    for entry in entries {
        let path = entry.at("read the directory", dir)?.path();
        let metadata = match path.symlink_metadata() {
            // Whoever runs may remove it meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.at("stat", &path)?,
        };
        if metadata.is_dir() {
            let below = bytes_below(&path)?;
            files += below.0;
            bytes += below.1;
        } else {
            files += 1;
            bytes += metadata.blocks() * 512;
        }
    }
    Ok((files, bytes))
}

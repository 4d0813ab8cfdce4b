//! Who uses a volume, and what it takes.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::MountPoint;
use crate::engine::error::{At, Result};
use corten_supervisor::durable;

/// What matters here of a container's `config.json`.
#[derive(Deserialize)]
struct Container {
    #[serde(alias = "Id", alias = "ID", default)]
    id: String,
    #[serde(rename = "MountPoints", default)]
    points: Vec<MountPoint>,
}

/// The volumes that containers name, running or not, and the ids of these.
///
/// # Errors
/// Where a container's `config.json` is damaged: then nobody knows what it uses.
pub fn users(state: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let containers = state.join("containers");
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let entries = match std::fs::read_dir(&containers) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(users),
        Err(error) => return Err(error).at("read", &containers),
    };
    for entry in entries {
        let directory = entry.at("read", &containers)?.path();
        let read = durable::read_json::<Container>(&directory.join("config.json"))?;
        let Some(container) = read else { continue };
        for point in container.points.into_iter().filter(|point| !point.name.is_empty()) {
            let ids = users.entry(point.name).or_default();
            if !ids.contains(&container.id) {
                ids.push(container.id.clone());
            }
        }
    }
    Ok(users)
}

/// The bytes on disk of a tree that nobody is changing; hard links count once. What cannot be read
/// does not count.
pub fn bytes(tree: &Path) -> u64 {
    let mut directories: Vec<PathBuf> = vec![tree.to_path_buf()];
    let (mut seen, mut bytes) = (HashSet::new(), 0);
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                directories.push(entry.path());
            } else if found.nlink() == 1 || seen.insert((found.dev(), found.ino())) {
                bytes += found.blocks() * 512;
            }
        }
    }
    bytes
}

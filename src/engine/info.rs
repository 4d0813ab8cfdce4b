//! What `corten info` tells.

use std::path::PathBuf;

use corten_unionfs::{Probe, Usage, driver};

use super::Engine;
use super::error::Result;
use super::image::chain;

/// What there is, and with which driver.
#[derive(Debug, Clone)]
pub struct Info {
    /// The state directory.
    pub root: PathBuf,
    /// Images, each counted once whatever names it has.
    pub images: usize,
    /// Containers, running or not.
    pub containers: usize,
    /// Unpacked layers.
    pub layers: usize,
    /// What the images take, in the order of [`Engine::images`].
    pub usage: Usage,
    /// The driver that made the layers.
    pub driver: &'static str,
    /// All drivers, and how each works in the state directory, or why it does not.
    pub probes: Vec<Probe>,
}

impl Engine {
    /// What there is.
    ///
    /// # Errors
    /// Where the state is damaged.
    pub fn info(&self) -> Result<Info> {
        let mut seen = std::collections::BTreeMap::new();
        for listed in self.images()? {
            seen.insert(listed.image.id.to_string(), chain(&listed.image)?);
        }
        let chains: Vec<_> = seen.into_values().collect();
        Ok(Info {
            root: self.root.clone(),
            images: chains.len(),
            containers: self.containers.list()?.len(),
            layers: self.layers.list()?.len(),
            usage: self.layers.usage(&chains)?,
            driver: self.layers.driver().name(),
            probes: driver::probe(self.layers.path()),
        })
    }
}

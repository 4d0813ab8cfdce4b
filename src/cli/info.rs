//! `corten info`.

use clap::Args;

use super::print;
use crate::engine::{Engine, Result};

#[derive(Debug, Args)]
pub(super) struct Info {}

impl Info {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let info = engine.info()?;
        let mut text = format!(
            "root: {}\nimages: {}\ncontainers: {}\nlayers: {}, {} bytes\nstorage driver: {}\n",
            info.root.display(),
            info.images,
            info.containers,
            info.layers,
            info.usage.total,
            info.driver,
        );
        for probe in &info.probes {
            text.push_str(&format!("  {probe}\n"));
        }
        print(&text)
    }
}

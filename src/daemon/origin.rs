//! Where images that were made of containers come from. An OCI image does not say it; dockerd keeps it
//! beside its images, and so do we: `origins/HEX.json`.

use std::path::PathBuf;

use corten_supervisor::durable::{self, Worth};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Api;

/// The origin of one image, under the names of `inspect`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Origin {
    /// The image that the container was made of.
    pub parent: String,
    /// The container.
    pub container: String,
    /// Its configuration.
    pub container_config: Value,
}

impl Api {
    fn origin_file(&self, image: &str) -> PathBuf {
        let hex = image.rsplit(':').next().unwrap_or(image);
        self.engine().root().join("origins").join(format!("{hex}.json"))
    }

    /// What is known of an image's origin.
    pub(super) fn origin(&self, image: &str) -> Option<Origin> {
        durable::read_json(&self.origin_file(image)).unwrap_or_default()
    }

    /// Writes down where an image comes from. The image counts more than that.
    pub(super) fn keep_origin(&self, image: &str, origin: &Origin) {
        let path = self.origin_file(image);
        let made = std::fs::create_dir_all(path.parent().unwrap_or(&path));
        if made.is_err() || durable::write_json(&path, origin, Worth::Durable).is_err() {
            tracing::warn!(image, "where an image comes from cannot be written down");
        }
    }

    /// The image is gone.
    pub(super) fn forget_origin(&self, image: &str) {
        let _ = std::fs::remove_file(self.origin_file(image));
    }
}

//! How an image came to be: its history beside its layers.

use super::Image;
use crate::digest::Digest;

/// One step of an image's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When, in RFC 3339.
    pub created: Option<String>,
    /// By which command.
    pub created_by: String,
    /// What the builder had to say.
    pub comment: String,
    /// The layer that it made and the layer's compressed size; `None` where it only changed the
    /// configuration.
    pub layer: Option<(Digest, u64)>,
}

impl Image {
    /// The steps, the latest first. Layers that the history does not tell of stand at its end, for
    /// the history is only what the builder said.
    pub fn history(&self) -> Vec<Step> {
        let mut layers = self.layers.iter();
        let mut layer = || layers.next().map(|l| (l.descriptor.digest.clone(), l.descriptor.size));
        let mut steps = Vec::new();
        for told in self.config.spec().history().iter().flatten() {
            let empty = told.empty_layer().unwrap_or(false);
            steps.push(Step {
                created: told.created().clone(),
                created_by: told.created_by().clone().unwrap_or_default(),
                comment: told.comment().clone().unwrap_or_default(),
                layer: if empty { None } else { layer() },
            });
        }
        while let Some(untold) = layer() {
            let (created, created_by, comment) = (None, String::new(), String::new());
            steps.push(Step { created, created_by, comment, layer: Some(untold) });
        }
        steps.reverse();
        steps
    }
}

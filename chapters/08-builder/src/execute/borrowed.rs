//! `--cache-from`: the steps of an image, found by its history, instead of those of the cache.
//!
//! An image does not tell what its steps depended on, only what they were. So it counts as long as all
//! steps so far were the same: then its next layer is what this step would make.

use super::state::{Layer, State};
use super::{Session, stage};
use crate::error::Result;

impl Session<'_> {
    /// The images that may be used; one that is not to be had is no error, as with Docker.
    pub(super) fn borrow(&self) -> Vec<State> {
        let names = self.options.cache_from.iter();
        let images = names.filter_map(|name| self.builder.images.image(name).ok());
        let images = images.filter_map(|image| {
            // Its layers must be unpacked.
            let known = self.builder.bases.base(&image.id.to_string(), None, false, &mut |_| {});
            known.ok().and_then(|image| State::of_image(image).ok())
        });
        images.collect()
    }
}

impl stage::Stage<'_> {
    /// When the step was done that the history of an image calls `created_by`, and its layer; where all
    /// steps before are those of `self`.
    pub(super) fn borrowed(&self, created_by: &str) -> Result<Option<(String, Option<Layer>)>> {
        for image in &self.session.borrowed {
            let done = self.state.history.len();
            let same = |(a, b): (&crate::config::History, &crate::config::History)| {
                a.created_by == b.created_by && a.empty_layer == b.empty_layer
            };
            let chain = image.chain();
            let Some(next) = image.history.get(done) else { continue };
            if next.created_by != created_by
                || !chain.starts_with(&self.state.chain())
                || !self.state.history.iter().zip(&image.history).all(same)
            {
                continue;
            }
            let layer = match next.empty_layer {
                true => None,
                false => match image.layers.get(self.state.layers.len()) {
                    Some(layer) => Some(layer.clone()),
                    None => continue,
                },
            };
            if let Some(layer) = &layer {
                self.session.lease.hold([&layer.blob.digest])?;
                self.session.hold(&[layer.chain_id])?;
            }
            return Ok(Some((next.created.clone(), layer)));
        }
        Ok(None)
    }
}

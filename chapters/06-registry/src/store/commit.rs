//! An image that stands on another one, with one layer more: what `corten commit` does.

use std::io::Read;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::import::to_bytes as sorted;
use super::{Image, Lease, Store};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::media::MediaType;

/// What [`Store::commit`] shall make.
#[derive(Debug, Clone)]
pub struct CommitOptions {
    /// `config` of the image's configuration.
    pub config: Value,
    /// Who made it; nobody where empty.
    pub author: String,
    /// The history's comment.
    pub comment: String,
    /// When, in RFC 3339.
    pub created: String,
    /// By which command.
    pub created_by: String,
}

/// What of the base's configuration holds for what stands on it, too.
const KEPT: [&str; 5] = ["architecture", "os", "os.version", "os.features", "variant"];

impl Store {
    /// Makes an image of `base` and the tar archive `layer`, plain, gzip or zstd. An archive without an
    /// entry makes no layer, as with Docker. The image has no name yet; it is there whole, or not
    /// at all.
    ///
    /// # Errors
    /// As for [`Store::import`].
    pub fn commit(
        &self,
        base: &Image,
        layer: &mut dyn Read,
        options: &CommitOptions,
    ) -> Result<Image> {
        let lease = self.lease()?;
        let result = self.commit_held(&lease, base, layer, options);
        drop(lease);
        if result.is_err() {
            // The error that is on its way says more than a failure to clean up would.
            let _ = self.collect_unreached();
        }
        result
    }

    fn commit_held(
        &self,
        lease: &Lease,
        base: &Image,
        layer: &mut dyn Read,
        options: &CommitOptions,
    ) -> Result<Image> {
        let manifest = base.manifest.to_oci()?;
        lease.hold(manifest.layers.iter().map(|layer| &layer.digest))?;
        let (layer, diff_id) = self.take_layer(lease, layer)?;
        let is_empty = diff_id.hex() == empty_archive();
        let mut layers = manifest.layers;
        let mut diff_ids: Vec<&Digest> = base.layers.iter().map(|layer| &layer.diff_id).collect();
        if !is_empty {
            layers.push(layer);
            diff_ids.push(&diff_id);
        }
        let config = configuration(base, &diff_ids, is_empty, options)?;
        let config =
            self.put_bytes(lease, MediaType::OciConfig, &sorted("configuration", &config)?)?;
        let manifest = Manifest::build(config, layers)?;
        let manifest = self.put_bytes(lease, MediaType::OciManifest, manifest.raw())?;
        self.record(None, &manifest, None)?;
        self.load(&manifest)
    }
}

fn configuration(
    base: &Image,
    diff_ids: &[&Digest],
    is_empty: bool,
    options: &CommitOptions,
) -> Result<Value> {
    let what = "the base's configuration";
    let base: Map<String, Value> =
        serde_json::from_slice(base.config.raw()).map_err(|e| Error::malformed(what, e))?;
    let mut made = Map::new();
    for key in KEPT {
        made.extend(base.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    let mut history = match base.get("history") {
        Some(Value::Array(steps)) => steps.clone(),
        _ => Vec::new(),
    };
    let mut step = json!({"created": options.created, "created_by": options.created_by});
    for (key, value) in [("author", &options.author), ("comment", &options.comment)] {
        if !value.is_empty() {
            step[key] = json!(value);
        }
    }
    if is_empty {
        step["empty_layer"] = json!(true);
    }
    history.push(step);
    if !options.author.is_empty() {
        made.insert("author".to_owned(), json!(options.author));
    }
    let diff_ids: Vec<_> = diff_ids.iter().map(ToString::to_string).collect();
    made.insert("created".to_owned(), json!(options.created));
    made.insert("config".to_owned(), options.config.clone());
    made.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": diff_ids}));
    made.insert("history".to_owned(), Value::Array(history));
    Ok(Value::Object(made))
}

/// The hash of an archive that is nothing but its end: two blocks of zeroes.
fn empty_archive() -> String {
    Sha256::digest([0; 1024]).iter().map(|byte| format!("{byte:02x}")).collect()
}

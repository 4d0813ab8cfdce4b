//! What a stage is after so many of its steps: layers, configuration, history.

use corten_registry::{Descriptor, Image, Platform};
use corten_unionfs::{ChainId, DiffId};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::config::{Config, History};
use crate::error::{Error, Result};
use crate::tree::hex;

/// A layer of a stage.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its blob.
    pub blob: Descriptor,
    /// The digest of the plain stream.
    pub diff_id: DiffId,
    /// With all below it.
    pub chain_id: ChainId,
}

/// An image on its way.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// The configuration.
    pub config: Config,
    /// How it came to be.
    pub history: Vec<History>,
    /// When the last step was done.
    pub created: String,
    /// `MAINTAINER`.
    pub author: String,
    /// What a configuration says beside: architecture, os.
    pub platform: Map<String, Value>,
    /// The image, where nothing was done to it yet.
    pub image: Option<Image>,
    /// The id of the image that it began with.
    pub base: String,
}

/// What of the base's configuration holds for what stands on it, too.
const KEPT: [&str; 5] = ["architecture", "os", "os.version", "os.features", "variant"];

impl State {
    /// Nothing, for a platform.
    pub fn scratch(platform: &Platform) -> State {
        let mut own = Map::new();
        own.insert("architecture".into(), json!(platform.architecture));
        own.insert("os".into(), json!(platform.os));
        if let Some(variant) = &platform.variant {
            own.insert("variant".into(), json!(variant));
        }
        State { platform: own, config: Config::default().with_path(), ..State::default() }
    }

    /// An image.
    ///
    /// # Errors
    /// A configuration that is none.
    pub fn of_image(image: Image) -> Result<State> {
        let what = format!("the configuration of {}", image.id);
        let bad = |why: serde_json::Error| Error::invalid(what.as_str(), why.to_string());
        let mut whole: Map<String, Value> =
            serde_json::from_slice(image.config.raw()).map_err(bad)?;
        let config: Option<Config> = match whole.remove("config") {
            Some(config) => serde_json::from_value(config).map_err(bad)?,
            None => None,
        };
        let history: Option<Vec<History>> = match whole.remove("history") {
            Some(history) => serde_json::from_value(history).map_err(bad)?,
            None => None,
        };
        let text = |key: &str| whole.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let blobs = image.manifest.to_oci()?.layers;
        let mut layers: Vec<Layer> = Vec::new();
        for (layer, blob) in image.layers.iter().zip(blobs) {
            let diff_id: DiffId = layer.diff_id.to_string().parse()?;
            let chain_id = ChainId::of(layers.last().map(|below| &below.chain_id), &diff_id);
            layers.push(Layer { blob, diff_id, chain_id });
        }
        Ok(State {
            layers,
            config: config.unwrap_or_default().with_path(),
            history: history.unwrap_or_default(),
            created: text("created"),
            author: text("author"),
            platform: whole.into_iter().filter(|(key, _)| KEPT.contains(&key.as_str())).collect(),
            base: image.id.to_string(),
            image: Some(image),
        })
    }

    /// The topmost layer with all below it.
    pub fn top(&self) -> Option<&ChainId> {
        self.layers.last().map(|layer| &layer.chain_id)
    }

    /// All layers, lowest first.
    pub fn chain(&self) -> Vec<ChainId> {
        self.layers.iter().map(|layer| layer.chain_id).collect()
    }

    /// What a next step sees of it: tree and configuration, but no times.
    pub fn digest(&self) -> String {
        let top = self.top().map(ToString::to_string);
        let text = json!([top, self.config, self.author, self.platform]).to_string();
        hex(&Sha256::digest(text.as_bytes()))
    }

    /// Takes note of a step that is done, with the layer that it has made.
    pub fn add(&mut self, created: &str, created_by: &str, layer: Option<Layer>) {
        self.history.push(History {
            created: created.to_owned(),
            created_by: created_by.to_owned(),
            author: self.author.clone(),
            comment: String::new(),
            empty_layer: layer.is_none(),
        });
        created.clone_into(&mut self.created);
        self.layers.extend(layer);
        self.image = None;
    }

    /// The image's configuration, as JSON whose keys are sorted.
    pub fn document(&self) -> Vec<u8> {
        if let Some(image) = &self.image {
            return image.config.raw().to_vec();
        }
        let diff_ids: Vec<String> =
            self.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let mut document = self.platform.clone();
        document.insert("created".into(), json!(self.created));
        if !self.author.is_empty() {
            document.insert("author".into(), json!(self.author));
        }
        document.insert("config".into(), json!(self.config));
        document.insert("rootfs".into(), json!({"type": "layers", "diff_ids": diff_ids}));
        document.insert("history".into(), json!(self.history));
        Value::Object(document).to_string().into_bytes()
    }

    /// The id that the image has or would have; nothing while there is nothing.
    pub fn id(&self) -> String {
        match &self.image {
            Some(image) => image.id.to_string(),
            None if self.history.is_empty() => String::new(),
            None => format!("sha256:{}", hex(&Sha256::digest(self.document()))),
        }
    }
}

//! Volumes.

use std::collections::BTreeMap;

use corten_daemon::Outcome;
use corten_daemon::backend::{Filters as Wanted, Volumes};
use corten_daemon::version::Version;
use serde::Deserialize;
use serde_json::Value;

use super::Api;
use super::create::read;
use super::watch::pairs;
use crate::engine::options::null::tolerant;
use crate::engine::shape;
use crate::engine::volumes::filter::For;
use crate::engine::volumes::{Filters, Volume, Wish};

/// The version from which on `prune` leaves volumes with a name alone.
const ANONYMOUS_ONLY: Version = Version(1, 42);

/// The body of `POST /volumes/create`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Body {
    #[serde(deserialize_with = "tolerant")]
    name: String,
    #[serde(deserialize_with = "tolerant")]
    driver: String,
    #[serde(deserialize_with = "tolerant")]
    driver_opts: BTreeMap<String, String>,
    #[serde(deserialize_with = "tolerant")]
    labels: BTreeMap<String, String>,
}

impl Api {
    /// A volume as clients know it.
    pub(super) fn volume(&self, volume: &Volume) -> Value {
        shape::volume(self.engine().volumes(), volume)
    }
}

impl Volumes for Api {
    fn list_volumes(&self, filters: &Wanted) -> Outcome<Vec<Value>> {
        let filters = Filters::parse(&pairs(filters), For::List)?;
        let list = self.engine().volumes().list(&filters)?;
        Ok(list.iter().map(|volume| self.volume(volume)).collect())
    }

    fn inspect_volume(&self, name: &str) -> Outcome<Value> {
        Ok(self.volume(&self.engine().volumes().get(name)?))
    }

    fn create_volume(&self, body: &Value) -> Outcome<Value> {
        let Body { name, driver, driver_opts: options, labels } = match body {
            Value::Null => Body::default(),
            body => read(body.clone())?,
        };
        let wish = Wish { name, driver, options, labels };
        Ok(self.volume(&self.engine().volumes().create(&wish)?))
    }

    fn remove_volume(&self, name: &str, force: bool) -> Outcome<()> {
        Ok(self.engine().volumes().remove(name, force)?)
    }

    fn prune_volumes(&self, filters: &Wanted, version: Version) -> Outcome<(Vec<String>, u64)> {
        let mut pairs = pairs(filters);
        if version < ANONYMOUS_ONLY {
            pairs.push("all=true".to_owned());
        }
        Ok(self.engine().volumes().prune(&Filters::parse(&pairs, For::Prune)?)?)
    }
}

//! Containers that stay when their step is done, to be looked at.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::describe;
use super::stage::Stage;
use crate::error::Result;
use crate::progress::Event;
use crate::run::{Stay, Staying, Step};

/// What the classic builder has a container for though nothing runs in it.
pub(super) enum Nominal<'a> {
    /// A change of the configuration.
    Configuration(&'a str),
    /// A directory that is made.
    Directory(&'a str),
}

impl Stage<'_> {
    /// The classic builder makes a container for each change of the configuration, and says so. Here one is
    /// made only where it is to stay; else there is only the saying, with an id that nobody has.
    pub(super) fn nominal_container(&self, nominal: &Nominal<'_>) -> Result<()> {
        let number = self.number;
        if let Some(container) = self.make_container(nominal)? {
            self.tell(Event::Running { number, container });
        } else if self.session.options.classic {
            let container = self.invented_id();
            self.tell(Event::Running { number, container: container.clone() });
            self.tell(Event::Removed { number, container });
        }
        Ok(())
    }

    fn make_container(&self, nominal: &Nominal<'_>) -> Result<Option<String>> {
        let session = self.session;
        let known = self.before.as_ref().is_some_and(|before| !before.id().is_empty());
        if session.options.staying != Staying::All || !known {
            return Ok(None);
        }
        let words = describe::nop_words(&self.state.config, nominal);
        let config = self.container_config(&words, Vec::new());
        let image = || self.stay_image();
        session.builder.runner.make(&Step {
            layers: &self.before.as_ref().map(super::state::State::chain).unwrap_or_default(),
            image: &self.state.base,
            config: config.clone(),
            writable: "".as_ref(),
            mounts: Vec::new(),
            network: &session.options.network,
            insecure: false,
            volumes: session.options.classic,
            resources: &session.options.resources,
            stay: Some(Stay { always: true, config, image: &image }),
            cancel: &session.cancel,
        })
    }

    fn invented_id(&self) -> String {
        let bytes: [u8; 6] = std::array::from_fn(|index| {
            let seed = self.number as u128 + self.state.history.len() as u128 * 977;
            let now = OffsetDateTime::now_utc().unix_timestamp_nanos() as u128;
            ((now ^ (seed * 0x9e37_79b9_7f4a_7c15)) >> (index * 8)) as u8
        });
        crate::tree::hex(&bytes)
    }

    /// Docker's `Config` of a step's container; `environment` comes after that of the image.
    pub(super) fn container_config(&self, words: &[String], environment: Vec<String>) -> Value {
        let mut config = json!(self.state.config);
        let environment = [self.state.config.env.clone(), environment].concat();
        for (name, value) in [
            ("Env", json!(environment)),
            ("Cmd", json!(words)),
            ("Entrypoint", Value::Null),
            ("Healthcheck", json!({"Test": ["NONE"]})),
            ("OnBuild", Value::Null),
        ] {
            config[name] = value;
        }
        config
    }

    /// An image of what the step stands on: without it, nobody could start or commit the step's container.
    pub(super) fn stay_image(&self) -> Result<String> {
        let before = self.before.as_ref().unwrap_or(&self.state);
        if let Some(image) = &before.image {
            return Ok(image.id.to_string());
        }
        let session = self.session;
        let blobs = before.layers.iter().map(|layer| layer.blob.clone()).collect();
        let images = session.builder.images;
        let image = images.put_image(&session.lease, &before.document(), blobs, &[])?;
        Ok(image.id.to_string())
    }
}

//! An image of what a container has become.

use corten_registry::{CommitOptions, Image, Reference};
use corten_supervisor::client::Client;
use corten_supervisor::protocol::Operation;
use corten_supervisor::record::Phase;
use corten_unionfs::diff::LayerWriter;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::changes::Own;
use super::copy::piped;
use super::error::{At, Error, Result};
use super::options::Config;
use super::state::{ImageLock, Owned, Record};
use super::{Engine, clock};

/// What [`Engine::commit`] shall make.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The image's name.
    pub name: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// The history's comment.
    pub message: String,
    /// Dockerfile instructions that change the configuration.
    pub changes: Vec<String>,
    /// Whether the container stands still while it is read.
    pub pause: bool,
    /// Instead of the container's own configuration.
    pub config: Option<Config>,
}

impl Default for Commit {
    fn default() -> Commit {
        let (author, message) = (String::new(), String::new());
        Commit { name: None, author, message, changes: Vec::new(), pause: true, config: None }
    }
}

/// While this lives the container does not change: it stands still, or nobody can start it.
enum Still {
    Paused(Client),
    Owned(Option<Box<Owned>>),
    /// It may change.
    No,
}

impl Drop for Still {
    fn drop(&mut self) {
        // Where it has ended meanwhile there is nothing to go on.
        match self {
            Still::Paused(client) => drop(client.perform(Operation::Resume)),
            Still::Owned(owned) => drop(owned.take().map(|owned| owned.release())),
            Still::No => {}
        }
    }
}

impl Engine {
    // ANCHOR: commit
    /// Makes an image of a container: its configuration, and one layer with what it has changed over
    /// those of its image. The image is there whole, or not at all.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; a change that is none; an image that was removed by force.
    pub fn commit(&self, name_or_id: &str, commit: &Commit) -> Result<Image> {
        let (record, _) = self.containers.find(name_or_id)?;
        let _images = ImageLock::shared(&self.root)?;
        let base = self.images.image(&record.image_id)?;
        let own = commit.config.as_ref().unwrap_or(&record.config);
        let options = CommitOptions {
            config: configuration(own, &commit.changes)?,
            author: commit.author.clone(),
            comment: commit.message.clone(),
            created: clock::now(),
            created_by: record.config.cmd.list().join(" "),
        };
        let still = self.hold_still(&record, commit.pause)?;
        let image = piped(
            |to| {
                let mut layer = LayerWriter::new(GzEncoder::new(to, Compression::fast()));
                self.diff(&record, &mut Own::new(&mut layer))?;
                drop(still);
                let (gzip, _) = layer.finish()?;
                gzip.finish().map(drop).at("write", std::path::Path::new("the layer"))
            },
            |mut layer| Ok(self.images.commit(&base, &mut layer, &options)?),
        )?;
        let id = image.id.to_string();
        if let Err(error) = self.unpack(&image, &mut |_| {}) {
            self.images.remove(&id, true)?;
            return Err(error);
        }
        let name = commit.name.as_ref().map(Reference::familiar).unwrap_or_default();
        let more =
            [("comment", commit.message.clone()), ("imageID", id.clone()), ("imageRef", name)];
        self.containers.note(&record, "commit", &more);
        if let Some(name) = &commit.name {
            self.tag(&id, name)?;
        }
        Ok(image)
    }
    // ANCHOR_END: commit

    fn hold_still(&self, record: &Record, pause: bool) -> Result<Still> {
        loop {
            if let Ok(mut client) = self.containers.shims.connect(&record.id) {
                let runs = client.status().is_ok_and(|status| status.phase == Phase::Running);
                // What has no group cannot be held.
                if !pause || !runs || !self.containers.shims.is_grouped(&record.id) {
                    return Ok(Still::No);
                }
                return match client.perform(Operation::Pause) {
                    Ok(()) => Ok(Still::Paused(client)),
                    // It has ended, just now.
                    Err(_) if !self.containers.shims.is_alive(&record.id) => continue,
                    Err(error) => Err(error.into()),
                };
            }
            let gone = || Error::NoSuchContainer { name: record.shown_name().to_owned() };
            let owned = self.containers.wait_and_own(record)?.ok_or_else(gone)?;
            if self.containers.shims.is_alive(&record.id) {
                owned.hand_over();
            } else if matches!(owned.state()?, super::state::State::Running { .. }) {
                self.containers.settle(owned)?;
            } else {
                return Ok(Still::Owned(Some(Box::new(owned))));
            }
        }
    }
}

/// `config` of the image: the container's, but for what is of one container, with the changes.
fn configuration(own: &Config, changes: &[String]) -> Result<Value> {
    let bad =
        |why: serde_json::Error| Error::invalid("the container's configuration", why.to_string());
    let Value::Object(mut own) = serde_json::to_value(own).map_err(bad)? else {
        return Err(Error::invalid("the container's configuration", "is no object"));
    };
    own.retain(|_, value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    });
    // It has no place for what is of one container.
    let config = serde_json::from_value(Value::Object(own));
    let mut config: corten_builder::config::Config = config.map_err(bad)?;
    corten_builder::change::apply(&mut config, changes)?;
    serde_json::to_value(&config).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_gets_what_is_not_of_one_container() {
        let own = Config {
            hostname: "box".into(),
            tty: true,
            env: vec!["A=1".into()],
            cmd: ["sleep", "9"].into(),
            shell: vec!["/bin/ash".into()],
            ..Config::default()
        };
        let made = configuration(&own, &["ENV B=2".into(), "EXPOSE 80".into()]).unwrap();
        let expected = serde_json::json!({"Env": ["A=1", "B=2"], "Cmd": ["sleep", "9"],
            "ExposedPorts": {"80/tcp": {}}, "Shell": ["/bin/ash"]});
        assert_eq!(made, expected);
    }

    #[test]
    fn a_new_entry_point_drops_the_arguments_of_the_old_one() {
        let own = Config { cmd: ["a"].into(), ..Config::default() };
        let made = |changes: &[&str]| {
            let changes: Vec<String> = changes.iter().map(|&c| c.to_owned()).collect();
            configuration(&own, &changes).unwrap()["Cmd"].clone()
        };
        assert_eq!(made(&[r#"ENTRYPOINT ["x"]"#]), Value::Null);
        assert_eq!(made(&[r#"CMD ["b"]"#, r#"ENTRYPOINT ["x"]"#]), serde_json::json!(["b"]));
        assert_eq!(made(&[]), serde_json::json!(["a"]));
    }
}

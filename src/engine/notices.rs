//! What people are told of a pull or a push, in the words that they know from dockerd.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use corten_registry::notice::{Kind, Notice};
use corten_registry::{Digest, Event as Layer, PulledImage, Reference};

use super::pull::Event;

/// How often somebody is told of bytes.
const OFTEN: Duration = Duration::from_millis(100);

/// Which way layers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A pull.
    Down,
    /// A push.
    Up,
}

/// Makes notices of events.
#[derive(Debug)]
pub struct Notices {
    way: Way,
    /// Whose tag or digest this is about, and the repository's path.
    name: Option<(String, String)>,
    /// The image was here, under another name: nobody is told of its layers.
    known: bool,
    /// The layers that are not here, until the first of them comes.
    missing: Vec<Digest>,
    /// Those that come, or are unpacked.
    coming: HashSet<Digest>,
    sizes: HashMap<Digest, u64>,
    told: HashMap<Digest, Instant>,
}

impl Notices {
    /// For one image.
    pub fn new(way: Way) -> Notices {
        Notices {
            way,
            name: None,
            known: false,
            missing: Vec::new(),
            coming: HashSet::new(),
            sizes: HashMap::new(),
            told: HashMap::new(),
        }
    }

    /// Tells `show` what there is to say of an event.
    pub fn tell(&mut self, event: &Event<'_>, show: &mut dyn FnMut(Notice)) {
        match (self.way, *event) {
            (_, Event::Warning(text)) => show(Notice::text(text)),
            (Way::Down, Event::Pull(event)) => self.down(event, show),
            (Way::Up, Event::Pull(event)) => self.up(event, show),
            (_, Event::Unpacking { digest, done, size }) => {
                self.coming.insert(digest.clone());
                self.moves(digest, "Extracting", (done, size), show);
            }
            (_, Event::Unpacked { digest }) if self.coming.contains(digest) => {
                show(state(digest, "Pull complete"));
            }
            (_, Event::Unpacked { .. } | Event::Created(_)) => {}
        }
    }

    fn down(&mut self, event: Layer<'_>, show: &mut dyn FnMut(Notice)) {
        match event {
            Layer::Resolving(name) => {
                // Of a digest dockerd shows the whole name.
                let whole =
                    name.digest().map(|digest| name.with_digest(digest.clone()).to_string());
                let id = whole.unwrap_or_else(|| name.selector());
                self.name = Some((id, name.path().to_owned()));
            }
            Layer::Resolved(_) => {
                if let Some((id, path)) = self.name.take() {
                    let status = format!("Pulling from {path}");
                    show(Notice { id, status, kind: Kind::Text });
                }
            }
            Layer::Known(_) => self.known = true,
            Layer::Layers(layers) => {
                for layer in layers {
                    let digest = &layer.descriptor.digest;
                    if !self.missing.contains(digest) {
                        self.missing.push(digest.clone());
                    }
                }
            }
            Layer::LayerExists { digest, .. } => {
                self.missing.retain(|other| other != digest);
                if !self.known {
                    show(state(digest, "Already exists"));
                }
            }
            Layer::LayerStart { digest, size } => {
                self.missing.drain(..).for_each(|layer| show(state(&layer, "Pulling fs layer")));
                self.sizes.insert(digest.clone(), size);
                self.coming.insert(digest.clone());
            }
            Layer::LayerBytes { digest, done } => {
                let size = self.sizes.get(digest).copied().unwrap_or(0);
                self.moves(digest, "Downloading", (done, size), show);
            }
            Layer::LayerDone { digest } => {
                show(state(digest, "Verifying Checksum"));
                show(state(digest, "Download complete"));
            }
            _ => {}
        }
    }

    fn up(&mut self, event: Layer<'_>, show: &mut dyn FnMut(Notice)) {
        match event {
            Layer::Sending(blobs) => {
                for blob in blobs.iter().filter(|blob| !blob.media_type.is_config()) {
                    self.sizes.insert(blob.digest.clone(), blob.size);
                    show(state(&blob.digest, "Preparing"));
                }
            }
            // What else goes up is the configuration, of which nobody is told.
            Layer::LayerExists { digest, .. }
            | Layer::LayerMounted { digest, .. }
            | Layer::LayerDone { digest }
            | Layer::LayerBytes { digest, .. }
                if !self.sizes.contains_key(digest) => {}
            Layer::LayerExists { digest, .. } => show(state(digest, "Layer already exists")),
            Layer::LayerMounted { digest, from } => {
                show(state(digest, &format!("Mounted from {from}")));
            }
            Layer::LayerDone { digest } => show(state(digest, "Pushed")),
            Layer::LayerBytes { digest, done } => {
                let size = self.sizes.get(digest).copied().unwrap_or(0);
                self.moves(digest, "Pushing", (done, size), show);
            }
            _ => {}
        }
    }

    fn moves(
        &mut self,
        digest: &Digest,
        status: &str,
        (done, size): (u64, u64),
        show: &mut dyn FnMut(Notice),
    ) {
        let often = self.told.get(digest).is_some_and(|when| when.elapsed() < OFTEN);
        if often && done < size {
            return;
        }
        self.told.insert(digest.clone(), Instant::now());
        let (id, status) = (digest.short().to_owned(), status.to_owned());
        show(Notice { id, status, kind: Kind::Moving(done, size) });
    }
}

/// What has become of a layer.
fn state(digest: &Digest, status: &str) -> Notice {
    Notice { id: digest.short().to_owned(), status: status.to_owned(), kind: Kind::Layer }
}

/// The digest that a pull has found.
pub fn digest(pulled: &PulledImage) -> Notice {
    Notice::text(format!("Digest: {}", pulled.digest))
}

/// What a pull has come to.
pub fn status(is_newer: bool, name: &str) -> Notice {
    Notice::text(match is_newer {
        true => format!("Status: Downloaded newer image for {name}"),
        false => format!("Status: Image is up to date for {name}"),
    })
}

/// The last notices of a pull.
pub fn ended(name: &Reference, pulled: &PulledImage) -> [Notice; 2] {
    [digest(pulled), status(!pulled.up_to_date, &name.familiar())]
}

#[cfg(test)]
mod tests {
    use corten_registry::{Descriptor, Layer as Of, MediaType};

    use super::*;

    fn layer(text: &str) -> Of {
        let diff_id = Digest::sha256(text.as_bytes());
        let kind = MediaType::parse("application/vnd.oci.image.layer.v1.tar");
        Of { descriptor: Descriptor::new(kind, diff_id.clone(), 10), diff_id }
    }

    /// What is told of each event, without the beginning of a layer's line.
    fn told(way: Way, events: &[Event<'_>]) -> Vec<String> {
        let mut notices = Notices::new(way);
        let mut all = Vec::new();
        for event in events {
            notices.tell(event, &mut |notice| {
                all.push(match notice.kind {
                    Kind::Text => notice.plain().unwrap_or_default(),
                    Kind::Layer => notice.status,
                    Kind::Moving(done, size) => format!("{} {done}/{size}", notice.status),
                });
            });
        }
        all
    }

    #[test]
    fn a_pull_tells_of_what_comes_and_of_what_is_there() {
        let (old, new) = (layer("old"), layer("new"));
        let (there, digest) = (&old.descriptor.digest, &new.descriptor.digest);
        let name = Reference::parse("registry:5000/a/b:v1").unwrap();
        let layers = [old.clone(), new.clone()];
        let all = told(
            Way::Down,
            &[
                Event::Pull(Layer::Resolving(&name)),
                Event::Pull(Layer::Resolved(digest)),
                Event::Pull(Layer::Layers(&layers)),
                Event::Pull(Layer::LayerExists { digest: there, size: 10 }),
                Event::Pull(Layer::LayerStart { digest, size: 10 }),
                Event::Pull(Layer::LayerBytes { digest, done: 1 }),
                Event::Pull(Layer::LayerBytes { digest, done: 2 }),
                Event::Pull(Layer::LayerDone { digest }),
                Event::Unpacking { digest, done: 10, size: 10 },
                Event::Unpacked { digest: there },
                Event::Unpacked { digest },
            ],
        );
        assert_eq!(
            all,
            [
                "v1: Pulling from a/b",
                "Already exists",
                "Pulling fs layer",
                "Downloading 1/10",
                "Verifying Checksum",
                "Download complete",
                "Extracting 10/10",
                "Pull complete",
            ]
        );
    }

    #[test]
    fn of_an_image_that_is_here_nobody_is_told_layers() {
        let old = layer("old");
        let digest = &old.descriptor.digest;
        let name = Reference::parse("registry:5000/a").unwrap().with_digest(digest.clone());
        let layers = [old.clone()];
        let all = told(
            Way::Down,
            &[
                Event::Pull(Layer::Resolving(&name)),
                Event::Pull(Layer::Resolved(digest)),
                Event::Pull(Layer::Known(digest)),
                Event::Pull(Layer::Layers(&layers)),
                Event::Pull(Layer::LayerExists { digest, size: 10 }),
                Event::Unpacked { digest },
            ],
        );
        assert_eq!(all, [format!("{name}: Pulling from a")]);
        // A name that is not resolved was never pulled from.
        assert_eq!(told(Way::Down, &[Event::Pull(Layer::Resolving(&name))]), [""; 0]);
    }

    #[test]
    fn a_push_tells_of_layers_and_not_of_the_configuration() {
        let layer = layer("new").descriptor;
        let kind = MediaType::parse("application/vnd.oci.image.config.v1+json");
        let config = Descriptor::new(kind, Digest::sha256(b"config"), 3);
        let blobs = [layer.clone(), config.clone()];
        let (digest, other) = (&layer.digest, &config.digest);
        let all = told(
            Way::Up,
            &[
                Event::Pull(Layer::Sending(&blobs)),
                Event::Pull(Layer::LayerStart { digest: other, size: 3 }),
                Event::Pull(Layer::LayerBytes { digest: other, done: 3 }),
                Event::Pull(Layer::LayerDone { digest: other }),
                Event::Pull(Layer::LayerStart { digest, size: 10 }),
                Event::Pull(Layer::LayerBytes { digest, done: 10 }),
                Event::Pull(Layer::LayerDone { digest }),
                Event::Pull(Layer::LayerMounted { digest, from: "b" }),
                Event::Pull(Layer::LayerExists { digest, size: 10 }),
            ],
        );
        let expected =
            ["Preparing", "Pushing 10/10", "Pushed", "Mounted from b", "Layer already exists"];
        assert_eq!(all, expected);
    }
}

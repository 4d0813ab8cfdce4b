//! From a registry to layers on disk: chapter 6 downloads, chapter 3 unpacks, at the same time.

use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};

use corten_namespaces::error::Context;
use corten_registry::{
    Client, ClientOptions, Credentials, Digest, Event as Pulling, Image, Layer, Platform, Policy,
    PulledImage, Reference, pull_trusted,
};
use corten_unionfs::{Compression, Wanted};

use super::Engine;
use super::arrival::{Arrivals, Arriving};
use super::error::{Error, Result};
use super::state::ImageLock;

/// What happens while an image is fetched and unpacked.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Chapter 6 has something to tell.
    Pull(corten_registry::Event<'a>),
    /// So many compressed bytes of a layer are unpacked.
    Unpacking {
        /// The layer's blob.
        digest: &'a Digest,
        /// Bytes so far.
        done: u64,
        /// Its compressed size.
        size: u64,
    },
    /// A layer is there, unpacked.
    Unpacked {
        /// The layer's blob.
        digest: &'a Digest,
    },
    /// Something that was asked for is not to be had; the rest is.
    Warning(&'a str),
    /// A container is made: its id.
    Created(&'a str),
}

/// Where to fetch from, and what.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// The platform; this machine's otherwise.
    pub platform: Option<Platform>,
    /// Speak to this registry without TLS, or without checking its certificate.
    pub insecure: bool,
    /// Who asks the registry.
    pub asker: Asker,
}

/// Who asks a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Asker {
    /// Whoever started this process, with their credentials.
    #[default]
    User,
    /// A client of the daemon, with its own or none: what is in files here is not its.
    Client(Option<Credentials>),
}

/// A client by this machine's configuration.
pub(crate) fn client_for(reference: &Reference, insecure: bool, asker: &Asker) -> Result<Client> {
    let mut options = ClientOptions::system()?;
    if let Asker::Client(credentials) = asker {
        let domain = reference.domain().to_owned();
        options.docker_config = None;
        options.credentials = credentials.clone().map(|credentials| (domain, credentials));
    }
    if insecure {
        options.insecure.push(reference.domain().to_owned());
    }
    Ok(Client::new(options))
}

/// Asks the registry at `address` whether it lets somebody in. Gives its name.
///
/// # Errors
/// [`corten_registry::Error::Refused`] where it does not; where it cannot be reached.
pub fn log_in(address: &str, asker: &Asker, insecure: bool) -> Result<String> {
    let host = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    let reference = Reference::parse(&format!("{host}/login"))?;
    let client = client_for(&reference, insecure, asker)?;
    match client.catalog(reference.domain()) {
        // A registry that has let us in need not have a catalogue.
        Err(corten_registry::Error::Refused(refusal)) if ![401, 403].contains(&refusal.status) => {}
        answered => drop(answered?),
    }
    Ok(reference.domain().to_owned())
}

/// The names of all tags of a repository in its registry.
///
/// # Errors
/// What the registry says.
pub(crate) fn tags(of: &Reference, insecure: bool, asker: &Asker) -> Result<Vec<Reference>> {
    let tags = client_for(of, insecure, asker)?.tags(of)?;
    Ok(tags.iter().map(|tag| of.with_tag(tag)).collect::<corten_registry::Result<_>>()?)
}

impl Engine {
    /// Brings an image from its registry and unpacks its layers. A layer that is refused takes its
    /// image with it; what the name stood for before, it stands for again. Where the pull fails, blobs
    /// and layers that were complete stay for the next pull, or for the next removal to take.
    ///
    /// # Errors
    /// What the registry, the store or a layer says.
    pub fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<PulledImage> {
        let _images = ImageLock::shared(&self.root)?;
        self.pull_locked(reference, options, progress)
    }

    pub(super) fn pull_locked(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<PulledImage> {
        let before = self.images.image(&reference.to_string()).ok();
        let (pulled, unpacked) = self.pull_and_unpack(reference, options, progress);
        let pulled = pulled?;
        if let Err(error) = unpacked {
            let known = before.as_ref().is_some_and(|old| old.id == pulled.image.id);
            if is_refusal(&error) && !known {
                self.images.remove(&reference.to_string(), false)?;
                if let Some(old) = before {
                    self.images.tag(&old.id.to_string(), reference)?;
                }
            }
            return Err(error);
        }
        self.note_image("pull", &reference.familiar(), &reference.familiar_name());
        Ok(pulled)
    }

    /// Gives what came of either, as the first may have succeeded without the second.
    fn pull_and_unpack(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> (Result<PulledImage>, Result<()>) {
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let arrivals = Arrivals::default();
        std::thread::scope(|scope| {
            let mut unpacking: Option<Result<Unpacking<'_>>> = None;
            let mut forward = |event: Pulling<'_>| {
                arrivals.note(&event);
                if let Pulling::Layers(layers) = event {
                    let source = |digest: &Digest| -> std::io::Result<Arriving<'_>> {
                        Ok(Arriving::new(&arrivals, &self.images, digest.clone()))
                    };
                    unpacking = Some(self.begin(scope, layers.to_vec(), source));
                }
                if let Some(Ok(unpacking)) = &unpacking {
                    // A layer that is still on its way is shown as that.
                    unpacking.tell(progress, |digest| arrivals.is_complete(digest));
                }
                progress(Event::Pull(event));
            };
            let mut pull = || -> Result<PulledImage> {
                let client = client_for(reference, options.insecure, &options.asker)?;
                let policy = Policy::system()?;
                let platform = &platform;
                Ok(pull_trusted(&client, &self.images, &policy, reference, platform, &mut forward)?)
            };
            let pulled = pull();
            arrivals.over();
            let unpacked = match (unpacking, &pulled) {
                (Some(unpacking), _) => unpacking.and_then(|unpacking| unpacking.finish(progress)),
                // The registry has the same as before; whether it is unpacked is another question.
                (None, Ok(pulled)) => self.unpack(&pulled.image, progress),
                (None, Err(_)) => Ok(()),
            };
            (pulled, unpacked)
        })
    }

    /// Makes sure that every layer of `image` is unpacked.
    ///
    /// # Errors
    /// What chapter 3 says of a layer.
    pub fn unpack(&self, image: &Image, progress: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        std::thread::scope(|scope| {
            let source =
                |digest: &Digest| self.images.open_blob(digest).map_err(std::io::Error::other);
            self.begin(scope, image.layers.clone(), source)?.finish(progress)
        })
    }

    /// Begins to unpack `layers`, in threads of `scope`. `source` gives the compressed stream of each
    /// that is missing, and may let the reader wait.
    fn begin<'scope, 'env, R: Read + Send>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        layers: Vec<Layer>,
        source: impl Fn(&Digest) -> std::io::Result<R> + Send + Sync + 'scope,
    ) -> Result<Unpacking<'scope>> {
        let mut wanted = Vec::new();
        for layer in &layers {
            let compression = Compression::from_media_type(layer.descriptor.media_type.as_str())?;
            wanted.push(Wanted { diff_id: layer.diff_id.to_string().parse()?, compression });
        }
        let digests: Vec<Digest> =
            layers.iter().map(|layer| layer.descriptor.digest.clone()).collect();
        let at_once = std::thread::available_parallelism().map_or(1, usize::from);
        let (told, telling) = channel();
        let work = move || {
            // The sender is in each reader, and here: when this ends, the channel does.
            let open = |at: usize| {
                let missing = || std::io::Error::other("no such layer");
                let stream = source(digests.get(at).ok_or_else(missing)?)?;
                Ok(Counted { at, stream, done: 0, told: told.clone() })
            };
            self.layers.ensure_all(None, &wanted, at_once, open)?;
            Ok(())
        };
        let work = std::thread::Builder::new()
            .spawn_scoped(scope, work)
            .during("start a thread that unpacks")?;
        Ok(Unpacking { layers, telling, work })
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Layers(error) if error.is_refusal())
}

/// Layers that are being unpacked.
struct Unpacking<'scope> {
    layers: Vec<Layer>,
    telling: Receiver<(usize, u64)>,
    work: ScopedJoinHandle<'scope, Result<()>>,
}

impl Unpacking<'_> {
    /// Tells of progress so far, of those layers that are to be `shown`.
    fn tell(&self, progress: &mut dyn FnMut(Event<'_>), shown: impl Fn(&Digest) -> bool) {
        while let Ok(told) = self.telling.try_recv() {
            self.tell_one(told, progress, &shown);
        }
    }

    fn tell_one(
        &self,
        (at, done): (usize, u64),
        progress: &mut dyn FnMut(Event<'_>),
        shown: impl Fn(&Digest) -> bool,
    ) {
        let Some(layer) = self.layers.get(at) else { return };
        let (digest, size) = (&layer.descriptor.digest, layer.descriptor.size);
        if shown(digest) {
            progress(Event::Unpacking { digest, done, size });
        }
    }

    /// Waits for the end.
    fn finish(self, progress: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        while let Ok(told) = self.telling.recv() {
            self.tell_one(told, progress, |_| true);
        }
        self.work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        for layer in &self.layers {
            progress(Event::Unpacked { digest: &layer.descriptor.digest });
        }
        Ok(())
    }
}

/// Tells how much of a stream has been read.
struct Counted<R> {
    /// Which of the image's layers it is.
    at: usize,
    stream: R,
    done: u64,
    told: Sender<(usize, u64)>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.done += length as u64;
        // Nobody listens any more: the layer is read on all the same.
        let _ = self.told.send((self.at, self.done));
        Ok(length)
    }
}

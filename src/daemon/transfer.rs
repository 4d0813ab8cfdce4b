//! Images from and to registries and archives, with the lines that clients draw bars by.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use corten_builder::remote;
use corten_builder::run::Cancel;
use corten_daemon::backend::{Credentials, Import, Pull, Sink, Upload};
use corten_daemon::{Failure, Outcome};
use corten_registry::{
    Credentials as Login, Digest, Document, Event as Layer, Platform, Reference,
};
use serde_json::{Value, json};

use super::Api;
use super::failure::registry;
use crate::engine::Error;
use crate::engine::pull::{Asker, Event, PullOptions, client_for, log_in, tags};

/// How often a client is told of bytes.
const OFTEN: Duration = Duration::from_millis(100);

/// Whose credentials a request is made with.
pub(super) fn asker(given: &Credentials) -> Asker {
    Asker::Client(login(given))
}

/// Credentials, where there are some.
pub(super) fn login(given: &Credentials) -> Option<Login> {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    if let Some(token) = some(&given.registrytoken) {
        Some(Login::Token(token))
    } else if let Some(token) = some(&given.identitytoken) {
        Some(Login::Identity(token))
    } else {
        some(&given.username).map(|user| Login::Password { user, password: given.password.clone() })
    }
}

/// A name with a tag or digest beside it.
pub(super) fn named(repo: &str, tag: &str) -> Outcome<Reference> {
    let text = match tag {
        "" => repo.to_owned(),
        tag if tag.contains(':') => format!("{repo}@{tag}"),
        tag => {
            let reference = Reference::parse(repo).map_err(registry)?;
            return reference.with_tag(tag).map_err(registry);
        }
    };
    Reference::parse(&text).map_err(registry)
}

/// What a client is shown of layers.
struct Bars<'a> {
    sink: Sink<'a>,
    sizes: HashMap<String, u64>,
    told: HashMap<String, Instant>,
    up: bool,
}

impl<'a> Bars<'a> {
    fn new(sink: Sink<'a>, up: bool) -> Bars<'a> {
        Bars { sink, sizes: HashMap::new(), told: HashMap::new(), up }
    }

    fn line(&mut self, digest: &Digest, status: &str) {
        let line = json!({"status": status, "progressDetail": {}, "id": digest.short()});
        (self.sink)(line);
    }

    fn bytes(&mut self, digest: &Digest, status: &str, done: u64, size: u64) {
        let id = digest.short();
        let often = self.told.get(id).is_some_and(|when| when.elapsed() < OFTEN);
        if often && done < size {
            return;
        }
        self.told.insert(id.to_owned(), Instant::now());
        (self.sink)(json!({"status": status,
            "progressDetail": {"current": done, "total": size}, "id": id}));
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Pull(Layer::Layers(layers)) if !self.up => {
                for layer in layers {
                    self.line(&layer.descriptor.digest, "Pulling fs layer");
                }
            }
            Event::Pull(Layer::Layers(layers)) => {
                for layer in layers {
                    self.line(&layer.descriptor.digest, "Preparing");
                }
            }
            Event::Pull(Layer::LayerExists { digest, .. }) => {
                self.line(digest, if self.up { "Layer already exists" } else { "Already exists" });
            }
            Event::Pull(Layer::LayerMounted { digest }) => self.line(digest, "Mounted"),
            Event::Pull(Layer::LayerStart { digest, size }) => {
                self.sizes.insert(digest.to_string(), size);
            }
            Event::Pull(Layer::LayerBytes { digest, done }) => {
                let size = self.sizes.get(&digest.to_string()).copied().unwrap_or(0);
                self.bytes(digest, if self.up { "Pushing" } else { "Downloading" }, done, size);
            }
            Event::Pull(Layer::LayerDone { digest }) => {
                self.line(digest, if self.up { "Pushed" } else { "Download complete" });
            }
            Event::Unpacking { digest, done, size } => {
                self.bytes(digest, "Extracting", done, size);
            }
            Event::Unpacked { digest } => self.line(digest, "Pull complete"),
            Event::Warning(text) => (self.sink)(json!({"status": text})),
            Event::Pull(_) | Event::Created(_) => {}
        }
    }
}

impl Api {
    pub(super) fn fetch(&self, wanted: &Pull, sink: Sink<'_>) -> Outcome<()> {
        let platform = super::platform::read(&wanted.platform)?;
        let options = PullOptions { platform, insecure: false, asker: asker(&wanted.credentials) };
        let one = named(&wanted.image, &wanted.tag)?;
        // Without a tag all of them are meant.
        let all = wanted.tag.is_empty() && Reference::is_name_only(&wanted.image);
        let names = match all {
            true => tags(&one, false, &options.asker).map_err(|error| refused(&one, error))?,
            false => vec![one.clone()],
        };
        let mut newer = false;
        for name in &names {
            newer |= self.fetch_one(name, &options, sink)?;
        }
        let name = if all { one.familiar_name() } else { one.familiar() };
        sink(json!({"status": match newer {
            true => format!("Status: Downloaded newer image for {name}"),
            false => format!("Status: Image is up to date for {name}"),
        }}));
        Ok(())
    }

    /// Whether it was another image that was here.
    fn fetch_one(&self, name: &Reference, options: &PullOptions, sink: Sink<'_>) -> Outcome<bool> {
        // Whether the image is there at all is the answer's status, so nothing is told before.
        let mut begun = false;
        let mut bars = Bars::new(sink, false);
        let pulled = self.engine().pull(name, options, &mut |event| {
            if !begun && matches!(event, Event::Pull(Layer::Resolved(_) | Layer::Layers(_))) {
                begun = true;
                let status = format!("Pulling from {}", name.path());
                (bars.sink)(json!({"status": status, "id": name.selector()}));
            }
            bars.event(event);
        });
        let pulled = pulled.map_err(|error| refused(name, error))?;
        if !begun {
            let status = format!("Pulling from {}", name.path());
            sink(json!({"status": status, "id": name.selector()}));
        }
        sink(json!({"status": format!("Digest: {}", pulled.digest)}));
        Ok(!pulled.up_to_date)
    }

    pub(super) fn send(
        &self,
        name: &str,
        tag: &str,
        credentials: &Credentials,
        sink: Sink<'_>,
    ) -> Outcome<()> {
        let whole = named(name, tag)?;
        sink(json!({"status": format!("The push refers to repository [{}]", whole.name())}));
        let all = tag.is_empty() && Reference::is_name_only(name);
        let tags = if all { self.engine().tags_of(&whole)? } else { vec![whole.clone()] };
        let missing = || {
            let name = whole.familiar_name();
            Failure::missing(format!("An image does not exist locally with the tag: {name}"))
        };
        if tags.is_empty() {
            return Err(missing());
        }
        for to in tags {
            if self.engine().store().find(&to).map_err(Error::from)?.is_none() {
                return Err(missing());
            }
            let mut bars = Bars::new(sink, true);
            let source = to.to_string();
            let pushed =
                self.engine().push(&source, &to, false, &asker(credentials), &mut |event| {
                    bars.event(event);
                });
            let pushed = pushed.map_err(|error| unauthorised(credentials, error))?;
            let (tag, digest, size) = (to.selector(), pushed.digest.to_string(), pushed.size);
            sink(json!({"status": format!("{tag}: digest: {digest} size: {size}")}));
            let aux = json!({"Tag": tag, "Digest": digest, "Size": size});
            sink(json!({"progressDetail": {}, "aux": aux}));
        }
        Ok(())
    }

    pub(super) fn take_in(
        &self,
        wanted: &Import,
        mut archive: Upload<'_>,
        sink: Sink<'_>,
    ) -> Outcome<()> {
        let name = match wanted.repo.as_str() {
            "" => None,
            repo => Some(named(repo, &wanted.tag)?),
        };
        let changes: Vec<String> =
            wanted.changes.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
        let message = match wanted.message.as_str() {
            "" => format!("Imported from {}", wanted.source),
            message => message.to_owned(),
        };
        let (engine, platform) = (self.engine(), super::platform::read(&wanted.platform)?);
        let image = match wanted.source.as_str() {
            "-" => engine.import(&mut archive, name.as_ref(), &changes, &message, platform)?,
            source => {
                // dockerd takes a name without a scheme for one of HTTP.
                let url = match source.contains("://") {
                    true => source.to_owned(),
                    false => format!("http://{source}"),
                };
                if !(url.starts_with("http://") || url.starts_with("https://")) {
                    let why = "unsupported protocol scheme: write http:// or https://";
                    return Err(Failure::internal(format!("Get {url:?}: {why}")));
                }
                let fetched = Cancel::new().and_then(|cancel| remote::open(&url, &cancel));
                let mut fetched = fetched.map_err(|why| Failure::internal(why.to_string()))?;
                sink(json!({"status": format!("Downloading from {url}")}));
                engine.import(&mut fetched, name.as_ref(), &changes, &message, platform)?
            }
        };
        sink(json!({"status": image.id.to_string()}));
        Ok(())
    }

    /// What a registry has for a name.
    pub(super) fn look_up(&self, name: &str, credentials: &Credentials) -> Outcome<Value> {
        let reference = Reference::parse(name).map_err(registry)?;
        let client = client_for(&reference, false, &asker(credentials))?;
        let found = client.manifest(&reference).map_err(|error| denied(&reference, error))?;
        let shown = |platform: &Platform| {
            let mut shown = json!({"architecture": platform.architecture, "os": platform.os});
            if let Some(variant) = &platform.variant {
                shown["variant"] = json!(variant);
            }
            shown
        };
        let (kind, size, platforms) = match &found.document {
            Document::Index(index) => {
                let platforms = index.manifests.iter().filter_map(|one| one.platform.as_ref());
                let kind = index.media_type().as_str().to_owned();
                (kind, index.raw().len(), platforms.map(shown).collect())
            }
            Document::Manifest(manifest) => {
                let config = client.config(&reference, manifest).map_err(registry)?;
                let spec = config.spec();
                let platform = Platform::new(
                    &spec.os().to_string(),
                    &spec.architecture().to_string(),
                    spec.variant().as_deref(),
                );
                let kind = manifest.media_type().as_str().to_owned();
                (kind, manifest.raw().len(), vec![shown(&platform)])
            }
        };
        Ok(json!({
            "Descriptor": {"mediaType": kind, "digest": found.digest.to_string(), "size": size},
            "Platforms": platforms,
        }))
    }

    /// Tries credentials at a registry.
    pub(super) fn try_login(&self, credentials: &Credentials) -> Outcome<String> {
        let address = match credentials.serveraddress.as_str() {
            "" => "docker.io",
            text => text,
        };
        match log_in(address, &asker(credentials), false) {
            Ok(_) => Ok(String::new()),
            Err(Error::Registry(why)) => Err(match *why {
                corten_registry::Error::Refused(_) => Failure::new(
                    401,
                    format!("login attempt to {address} failed with status: 401 Unauthorized"),
                ),
                other => registry(other),
            }),
            Err(error) => Err(error.into()),
        }
    }
}

/// A registry's no to a push, as dockerd tells it.
fn unauthorised(credentials: &Credentials, error: Error) -> Failure {
    match &error {
        Error::Registry(refused) => match &**refused {
            corten_registry::Error::Refused(refusal) if refusal.status == 401 => Failure::new(
                401,
                match credentials.is_empty() {
                    true => "no basic auth credentials",
                    false => "unauthorized: authentication required",
                },
            ),
            _ => error.into(),
        },
        _ => error.into(),
    }
}

/// An engine's no to a pull, as dockerd tells it of a name.
fn refused(name: &Reference, error: Error) -> Failure {
    match error {
        Error::Registry(error) => denied(name, *error),
        other => other.into(),
    }
}

/// A registry's no, as dockerd tells it of a name.
fn denied(name: &Reference, error: corten_registry::Error) -> Failure {
    let shown = name.familiar_name();
    match &error {
        corten_registry::Error::Refused(refusal) => match refusal.status {
            401 | 403 => Failure::missing(format!(
                "pull access denied for {shown}, repository does not exist or may require 'docker \
                 login': denied: requested access to the resource is denied"
            )),
            404 => Failure::missing(format!(
                "manifest for {} not found: manifest unknown: manifest unknown",
                name.familiar()
            )),
            _ => registry(error),
        },
        _ => registry(error),
    }
}

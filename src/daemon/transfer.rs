//! Images from and to registries and archives, with the lines that clients draw bars by.

use corten_builder::remote;
use corten_builder::run::Cancel;
use corten_daemon::backend::{Credentials, Import, Pull, Sink, Upload};
use corten_daemon::{Failure, Outcome};
use corten_registry::{Credentials as Login, Document, Platform, Reference, notice};
use serde_json::{Value, json};

use super::Api;
use super::failure::registry;
use crate::engine::Error;
use crate::engine::notices::{self, Notices, Way};
use crate::engine::pull::{Asker, PullOptions, client_for, log_in, tags};

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

impl Api {
    pub(super) fn fetch(&self, wanted: &Pull, sink: Sink<'_>) -> Outcome<()> {
        let platform = super::platform::read(&wanted.platform)?;
        let options = PullOptions { platform, insecure: false, asker: asker(&wanted.credentials) };
        let one = named(&wanted.image, &wanted.tag)?;
        // Without a tag all of them are meant.
        let all = wanted.tag.is_empty() && Reference::is_name_only(&wanted.image);
        let names = match all {
            true => tags(&one, false, &options.asker).map_err(|error| unknown(&one, error))?,
            false => vec![one.clone()],
        };
        let mut newer = false;
        for name in &names {
            newer |= self.fetch_one(name, &options, sink)?;
        }
        let name = if all { one.familiar_name() } else { one.familiar() };
        sink(notices::status(newer, &name).document());
        Ok(())
    }

    /// Whether it was another image that was here.
    fn fetch_one(&self, name: &Reference, options: &PullOptions, sink: Sink<'_>) -> Outcome<bool> {
        // Whether the image is there at all is the answer's status, so nothing is told before.
        let mut notices = Notices::new(Way::Down);
        let pulled = self.engine().pull(name, options, &mut |event| {
            notices.tell(&event, &mut |notice| sink(notice.document()));
        });
        let pulled = pulled.map_err(|error| refused(name, error))?;
        sink(notices::digest(&pulled).document());
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
            let others = self.engine().tags_of(&whole).is_ok_and(|tags| !tags.is_empty());
            Failure::missing(match others {
                true => format!("tag does not exist: {}", whole.familiar()),
                false => {
                    let name = whole.familiar_name();
                    format!("An image does not exist locally with the tag: {name}")
                }
            })
        };
        if tags.is_empty() {
            return Err(missing());
        }
        for to in tags {
            if self.engine().store().find(&to).map_err(Error::from)?.is_none() {
                return Err(missing());
            }
            let mut notices = Notices::new(Way::Up);
            let source = to.to_string();
            let pushed =
                self.engine().push(&source, &to, false, &asker(credentials), &mut |event| {
                    notices.tell(&event, &mut |notice| sink(notice.document()));
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
        let found = client.manifest(&reference).map_err(|error| match &error {
            corten_registry::Error::Refused(refusal) if refusal.status == 404 => {
                Failure::missing("manifest unknown: manifest unknown")
            }
            _ => denied(&reference, error),
        })?;
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

/// The same of all tags of a repository.
fn unknown(name: &Reference, error: Error) -> Failure {
    if let Error::Registry(why) = &error
        && let corten_registry::Error::Refused(refusal) = &**why
        && refusal.status == 404
    {
        let name = name.familiar_name();
        let why = "name unknown: repository name not known to registry";
        return Failure::missing(format!("repository {name} not found: {why}"));
    }
    refused(name, error)
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
    notice::refusal(name, &error).map_or_else(|| registry(error), Failure::missing)
}

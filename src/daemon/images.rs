//! Images: listed, looked at, named, removed, made of containers.

use std::collections::{HashMap, HashSet};

use corten_daemon::backend::{
    Commit, Credentials, Download, Filters, Images, Import, Pull, Sink, Upload,
};
use corten_daemon::version::Version;
use corten_daemon::{Failure, Outcome};
use corten_registry::{Image, Reference};
use serde_json::{Value, json};

use super::failure::no_such_image;
use super::origin::{Origin, container_config};
use super::transfer::asker;
use super::watch::checked;
use super::{Api, create, platform};
use crate::engine::Error;
use crate::engine::choice::{Choice, KNOWN, created, labels};
use crate::engine::filter::{OF_PRUNE, no_truth, truth};
use crate::engine::image::Listed;
use crate::engine::options::Config;
use crate::engine::search::{self, Request};
use crate::engine::shape::image_config;

/// The version that has no `VirtualSize` any more.
const NO_VIRTUAL_SIZE: Version = Version(1, 44);

/// The version from which on a list tells how many containers use an image.
const COUNTED: Version = Version(1, 51);

/// The version from which on an image without a name has no names at all.
const NO_NONE: Version = Version(1, 43);

impl Api {
    /// All images, each once, with their sizes; the youngest first.
    fn all(&self) -> Outcome<Vec<(Image, u64)>> {
        let mut seen = HashSet::new();
        let listed = self.engine().images()?.into_iter();
        let mut all: Vec<(Image, u64)> = listed
            .filter(|one| seen.insert(one.image.id.clone()))
            .map(|Listed { image, size, .. }| (image, size))
            .collect();
        all.sort_by_key(|(image, _)| std::cmp::Reverse(created(image)));
        Ok(all)
    }

    /// How many containers there are of each image, by its id.
    fn counts(&self) -> Outcome<HashMap<String, usize>> {
        let mut counts = HashMap::new();
        for (record, _) in self.engine().containers().list()? {
            *counts.entry(record.image_id).or_default() += 1;
        }
        Ok(counts)
    }

    /// An image by a name or an id.
    pub(super) fn image(&self, name: &str) -> Outcome<Image> {
        self.engine().store().image(name).map_err(|error| match error {
            error if error.is_not_found() => no_such_image(name),
            error => super::failure::registry(error),
        })
    }
}

impl Images for Api {
    fn list_images(
        &self,
        _all: bool,
        _digests: bool,
        filters: &Filters,
        version: Version,
    ) -> Outcome<Vec<Value>> {
        let choice = Choice::new(checked(filters, &KNOWN)?, |name| self.image(name))?;
        let counts = if version < COUNTED { None } else { Some(self.counts()?) };
        let mut rows = Vec::new();
        for (image, size) in self.all()? {
            let tags: Vec<_> = image.tags().filter(|name| choice.name_fits(name)).collect();
            if !choice.fits(&image) || (choice.asks_for_names() && tags.is_empty()) {
                continue;
            }
            let mut row = row(&image, &tags, size, version);
            if let Some(counts) = &counts {
                row["Containers"] = json!(counts.get(&image.id.to_string()).unwrap_or(&0));
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn inspect_image(&self, name: &str, version: Version) -> Outcome<Value> {
        let image = self.image(name)?;
        let mut own = self.engine().inspect_image(&image)?;
        if version < NO_VIRTUAL_SIZE {
            own["VirtualSize"] = own["Size"].clone();
        }
        // Newer versions do without; programs that were written before look for them all the same.
        let last = image.history().into_iter().next();
        let container = last.and_then(|step| container_config(&step.created_by, &own["Config"]));
        own["ContainerConfig"] =
            container.unwrap_or_else(|| image_config(json!(Config::default())));
        if let Some(origin) = self.origin(&image.id.to_string()) {
            own["Parent"] = json!(origin.parent);
            own["Container"] = json!(origin.container);
            own["ContainerConfig"] = image_config(origin.container_config);
        }
        Ok(super::shape::image(own, version))
    }

    fn history(&self, name: &str) -> Outcome<Vec<Value>> {
        Ok(self.engine().history(&self.image(name)?)?)
    }

    fn pull(&self, wanted: &Pull, sink: Sink<'_>) -> Outcome<()> {
        self.fetch(wanted, sink)
    }

    fn import(&self, wanted: &Import, archive: Upload<'_>, sink: Sink<'_>) -> Outcome<()> {
        self.take_in(wanted, archive, sink)
    }

    fn push(&self, name: &str, tag: &str, by: &Credentials, sink: Sink<'_>) -> Outcome<()> {
        self.send(name, tag, by, sink)
    }

    fn tag(&self, name: &str, repo: &str, tag: &str) -> Outcome<()> {
        let to = super::transfer::named(repo, tag)?;
        if to.familiar_name() == "sha256" {
            let text = "refusing to create an ambiguous tag using digest algorithm as name";
            return Err(Failure::invalid(text));
        }
        let id = self.image(name)?.id.to_string();
        Ok(self.engine().tag(&id, &to)?)
    }

    fn remove_image(
        &self,
        name: &str,
        force: bool,
        _prune: bool,
        platforms: &[String],
    ) -> Outcome<Vec<Value>> {
        let image = self.image(name)?;
        platform::check(name, &image, &platform::decoded(platforms)?)?;
        let removed = self.engine().remove_image(name, force);
        let removed = removed.map_err(|error| self.of_removing(name, &image, error))?;
        removed.deleted.iter().for_each(|id| self.forget_origin(id));
        let untagged = removed.untagged.iter().map(|name| json!({"Untagged": name.familiar()}));
        let deleted = removed.deleted.iter().map(|id| json!({"Deleted": id}));
        Ok(untagged.chain(deleted).collect())
    }

    fn prune_images(&self, filters: &Filters) -> Outcome<(Vec<Value>, u64)> {
        let mut filters = filters.clone();
        // Of all images, and not of those without a name only.
        let all = match filters.remove("dangling").and_then(|mut texts| texts.pop()) {
            None => false,
            Some(text) => !truth(&text).ok_or_else(|| no_truth("dangling", &text))?,
        };
        let known = checked(&filters, &OF_PRUNE)?;
        let pruned = self.engine().prune_images_that(all, known)?;
        pruned.removed.deleted.iter().for_each(|id| self.forget_origin(id));
        let untagged =
            pruned.removed.untagged.iter().map(|name| json!({"Untagged": name.familiar()}));
        let deleted = pruned.removed.deleted.iter().map(|id| json!({"Deleted": id}));
        Ok((untagged.chain(deleted).collect(), pruned.freed))
    }

    fn search(&self, term: &str, limit: Option<i64>, filters: &Filters) -> Outcome<Vec<Value>> {
        Ok(search::search(&Request {
            term,
            limit,
            filters: &checked(filters, &search::KNOWN)?,
            asker: &asker(&Credentials::default()),
        })?)
    }

    fn save(&self, names: &[String], platforms: &[String]) -> Outcome<Download> {
        let platforms = platform::decoded(platforms)?;
        for name in names {
            self.image(name).map_err(|failure| match failure.status {
                404 => Failure::missing(format!("No such image: {name}")),
                _ => failure,
            })?;
            if !platforms.is_empty() {
                let actual = self.engine().store().platforms_of(name);
                platform::check_any(name, &actual.map_err(Error::from)?, &platforms)?;
            }
        }
        let (api, names) = (self.clone(), names.to_vec());
        Ok(Box::new(move |to| {
            let mut to = std::io::BufWriter::with_capacity(64 << 10, to);
            let saved = api.engine().store().save_for(&names, &platforms, &mut to);
            saved.map_err(super::failure::registry)?;
            std::io::Write::flush(&mut to).map_err(|why| Failure::internal(why.to_string()))
        }))
    }

    fn load(
        &self,
        archive: Upload<'_>,
        _quiet: bool,
        platforms: &[String],
        sink: Sink<'_>,
    ) -> Outcome<()> {
        let platforms = platform::decoded(platforms)?;
        let images = match self.engine().load(archive, &platforms) {
            Ok(images) => images,
            // dockerd has answered 200 before it looks at the archive.
            Err(error) => {
                let message = Failure::from(error).message;
                sink(json!({"errorDetail": {"message": message}, "error": message}));
                return Ok(());
            }
        };
        let mut told = Vec::new();
        for image in images {
            let mut lines: Vec<String> = image
                .names
                .iter()
                .map(|name| format!("Loaded image: {}\n", name.familiar()))
                .collect();
            if lines.is_empty() {
                lines.push(format!("Loaded image ID: {}\n", image.id));
            }
            for line in lines {
                // Several names of one image come with each of them.
                if !told.contains(&line) {
                    sink(json!({"stream": line}));
                    told.push(line);
                }
            }
        }
        Ok(())
    }

    fn commit(&self, wanted: &Commit) -> Outcome<String> {
        let container = super::networks::some_container(&wanted.container)?;
        let record = self.find(container)?;
        let name = match wanted.repo.as_str() {
            "" => None,
            repo => Some(super::transfer::named(repo, &wanted.tag)?),
        };
        let config = match &wanted.config {
            Value::Null => None,
            Value::Object(all) if all.is_empty() => None,
            other => {
                let mut config: Config = create::read(other.clone())?;
                config.merge(&record.config)?;
                Some(config)
            }
        };
        let commit = crate::engine::commit::Commit {
            name,
            author: wanted.author.clone(),
            message: wanted.comment.clone(),
            changes: wanted.changes.clone(),
            pause: wanted.pause,
            config,
        };
        let id = self.engine().commit(&record.id, &commit)?.id.to_string();
        let origin = Origin {
            parent: record.image_id.clone(),
            container: record.id.clone(),
            container_config: json!(record.config),
        };
        self.keep_origin(&id, &origin);
        Ok(id)
    }

    fn distribution(&self, name: &str, credentials: &Credentials) -> Outcome<Value> {
        self.look_up(name, credentials)
    }
}

impl Api {
    /// Why an image cannot be removed.
    fn of_removing(&self, name: &str, image: &Image, error: Error) -> Failure {
        let Error::ImageInUse { users, .. } = &error else { return error.into() };
        let (short, user) = (image.id.short(), users.first().cloned().unwrap_or_default());
        let runs = self
            .engine()
            .view(&user)
            .is_ok_and(|view| ["running", "paused", "restarting"].contains(&view.word()));
        let by_id =
            image.names.iter().all(|own| own.familiar() != name && own.familiar_name() != name);
        Failure::conflict(match (by_id, runs) {
            (true, true) => format!(
                "conflict: unable to delete {short} (cannot be forced) - image is being used by \
                 running container {user}"
            ),
            (true, false) => format!(
                "conflict: unable to delete {short} (must be forced) - image is being used by \
                 stopped container {user}"
            ),
            (false, _) => format!(
                "conflict: unable to remove repository reference \"{name}\" (must force) - container \
                 {user} is using its referenced image {short}"
            ),
        })
    }
}

/// A line of `images`, with those of its tags that were asked for.
fn row(image: &Image, tags: &[&Reference], size: u64, version: Version) -> Value {
    let mut tags: Vec<String> = tags.iter().map(|tag| tag.familiar()).collect();
    let mut digests: Vec<String> = image.repo_digests.iter().map(Reference::familiar).collect();
    if version < NO_NONE && tags.is_empty() {
        tags.push("<none>:<none>".to_owned());
        if digests.is_empty() {
            digests.push("<none>@<none>".to_owned());
        }
    }
    let digests = match digests.is_empty() && version < NO_NONE {
        true => Value::Null,
        false => json!(digests),
    };
    let labels = labels(image);
    let mut row = json!({
        "Containers": -1,
        "Created": created(image),
        "Id": image.id.to_string(),
        "Labels": if labels.is_empty() { Value::Null } else { json!(labels) },
        "ParentId": "",
        "RepoDigests": digests,
        "RepoTags": tags,
        "SharedSize": -1,
        "Size": size,
    });
    if version < NO_VIRTUAL_SIZE {
        row["VirtualSize"] = json!(size);
    }
    row
}

//! Images: taken from archives, sent to registries, listed, removed. How they come from registries is
//! [`super::pull`]'s business.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use corten_registry::store::{Removed, Untagged};
use corten_registry::{Digest, Image, ImportOptions, Platform, PushedImage, Reference, Store};
use corten_unionfs::{ChainId, DiffId};

use super::Engine;
use super::choice::Choice;
use super::error::{Error, Result};
use super::filter::Filters;
use super::pull::{Asker, Event, client_for};
use super::record::Record;
use super::state::{ImageLock, State};

/// One line of `corten images`.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The name; `None` where a newer image took it.
    pub name: Option<Reference>,
    /// The image.
    pub image: Image,
    /// The digest that the registry has for the name.
    pub source: Option<Digest>,
    /// Bytes of the unpacked layers together.
    pub size: u64,
}

/// What [`Engine::remove_image`] did.
#[derive(Debug, Clone, Default)]
pub struct RemovedImage {
    /// Names that are gone.
    pub untagged: Vec<Reference>,
    /// Image ids and layers that are gone.
    pub deleted: Vec<String>,
}

fn names(removed: Removed) -> Vec<Reference> {
    removed.untagged.into_iter().map(|untagged| untagged.name).collect()
}

/// What [`Engine::prune_images`] did.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// Names, ids and layers.
    pub removed: RemovedImage,
    /// Bytes of blobs and unpacked layers.
    pub freed: u64,
}

impl Engine {
    /// The names here that are tags of a repository.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn tags_of(&self, repository: &Reference) -> Result<Vec<Reference>> {
        let names = self.images.list()?.into_iter().filter_map(|entry| entry.name);
        let name = repository.name();
        Ok(names.filter(|own| own.name() == name && own.tag().is_some()).collect())
    }

    /// Sends an image to its registry.
    ///
    /// # Errors
    /// What the registry or the store says.
    pub fn push(
        &self,
        source: &str,
        to: &Reference,
        insecure: bool,
        asker: &Asker,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<PushedImage> {
        let _images = ImageLock::shared(&self.root)?;
        let client = client_for(to, insecure, asker)?;
        let mut forward = |event: corten_registry::Event<'_>| progress(Event::Pull(event));
        let pushed = corten_registry::push(&client, &self.images, source, to, &mut forward)?;
        self.note_image("push", &to.familiar(), &to.familiar_name());
        Ok(pushed)
    }

    /// Takes in the images of an archive that are for one of these platforms, or all of them, and unpacks
    /// them. Where one is refused, none has its name.
    ///
    /// # Errors
    /// What the archive has against it, or a layer.
    pub fn load(&self, archive: &mut dyn Read, platforms: &[Platform]) -> Result<Vec<Image>> {
        let _images = ImageLock::shared(&self.root)?;
        let images = self.images.unpack_archive_for(platforms, archive)?;
        for image in &images {
            if let Err(error) = self.unpack(image, &mut |_| {}) {
                for image in &images {
                    // One that was there twice is gone already.
                    let _ = self.images.remove(&image.id.to_string(), true);
                }
                return Err(error);
            }
            self.note_image("load", &image.id.to_string(), &image.id.to_string());
        }
        Ok(images)
    }

    /// The content store: for what only looks, or only changes names.
    pub fn store(&self) -> &Store {
        &self.images
    }

    /// Removes the images without a name, or with `all` every image, that no container uses.
    ///
    /// # Errors
    /// As for [`Engine::remove_image`].
    pub fn prune_images(&self, all: bool) -> Result<Pruned> {
        let _images = ImageLock::exclusive(&self.root)?;
        let mut used = HashSet::new();
        for (record, _) in self.containers.list()? {
            used.insert(record.image_id);
        }
        let removed = self.images.prune(all, &|id| used.contains(&id.to_string()))?;
        let mut freed = removed.freed;
        self.note_removed(&removed);
        let before: HashMap<ChainId, u64> =
            self.layers.list()?.into_iter().map(|layer| (layer.chain_id, layer.size)).collect();
        let mut deleted: Vec<_> = removed.images.iter().map(ToString::to_string).collect();
        for chain_id in self.sweep_layers()? {
            freed += before.get(&chain_id).copied().unwrap_or(0);
            deleted.push(chain_id.to_string());
        }
        let names = RemovedImage { untagged: names(removed), deleted };
        self.note_prune("image", freed);
        Ok(Pruned { removed: names, freed })
    }

    /// The same, of those that fit filters: `label`, `label!`, `until`.
    ///
    /// # Errors
    /// As [`Choice::new`] and [`Engine::remove_image`].
    pub fn prune_images_that(&self, all: bool, filters: Filters) -> Result<Pruned> {
        if filters.is_empty() {
            return self.prune_images(all);
        }
        let choice = Choice::new(filters, |name| Ok::<_, Error>(self.images.image(name)?))?;
        let containers = self.containers.list()?.into_iter();
        let used: HashSet<String> = containers.map(|(record, _)| record.image_id).collect();
        let listed = self.images()?;
        let mut pruned = Pruned::default();
        let mut seen = HashSet::new();
        for Listed { image, size, .. } in &listed {
            let id = image.id.to_string();
            let goes = (all || image.is_dangling()) && !used.contains(&id);
            if !goes || !choice.fits(image) || !seen.insert(&image.id) {
                continue;
            }
            let removed = self.remove_image(&id, true)?;
            pruned.removed.untagged.extend(removed.untagged);
            pruned.removed.deleted.extend(removed.deleted);
            pruned.freed += size;
        }
        self.note_prune("image", pruned.freed);
        Ok(pruned)
    }

    /// All images, as `corten images` lists them.
    ///
    /// # Errors
    /// Where the store is damaged.
    pub fn images(&self) -> Result<Vec<Listed>> {
        let list = self.images.list()?.into_iter().map(|entry| {
            let image = self.images.load(&entry.descriptor)?;
            let mut size = 0;
            for chain_id in chain(&image)? {
                size += self.layers.get(&chain_id)?.map_or(0, |layer| layer.size);
            }
            let source = if entry.lent { None } else { entry.source };
            Ok(Listed { name: entry.name, source, image, size })
        });
        list.collect()
    }

    /// Removes a name or an image, and the layers that nothing needs any more. An image that a
    /// container uses stays, unless `force`; the layers under that container stay in any case.
    ///
    /// # Errors
    /// [`Error::ImageInUse`], or what the store says.
    pub fn remove_image(&self, name_or_id: &str, force: bool) -> Result<RemovedImage> {
        let _images = ImageLock::exclusive(&self.root)?;
        self.check_unused(name_or_id, force)?;
        let removed = self.images.remove(name_or_id, force)?;
        self.note_removed(&removed);
        let mut deleted: Vec<_> = removed.images.iter().map(ToString::to_string).collect();
        if !removed.images.is_empty() {
            deleted.extend(self.sweep_layers()?.iter().map(ToString::to_string));
        }
        Ok(RemovedImage { untagged: names(removed), deleted })
    }

    /// As dockerd tells it: of an image, by its id, a name or the image itself is gone; but nothing of
    /// digests that go with a tag.
    fn note_removed(&self, removed: &Removed) {
        let all = &removed.untagged;
        let tagged = |name: &Reference| {
            let tags = all.iter().filter(|other| other.name.digest().is_none());
            tags.map(|other| other.name.name()).any(|repository| repository == name.name())
        };
        for Untagged { name, image } in all {
            if name.digest().is_some() && tagged(name) {
                continue;
            }
            let familiar = name.familiar();
            let id = image.as_ref().map_or_else(|| familiar.clone(), ToString::to_string);
            self.note_image("untag", &id, &familiar);
        }
        for id in &removed.images {
            self.note_image("delete", &id.to_string(), &id.to_string());
        }
    }

    /// Bytes of unpacked layers, by the chain id of each.
    pub fn layers_size(&self, layers: &[ChainId]) -> u64 {
        let size = |id: &ChainId| self.layers.get(id).ok().flatten().map_or(0, |layer| layer.size);
        layers.iter().map(size).sum()
    }

    /// Bytes that a container has written, and bytes of what lies below it.
    pub fn sizes(&self, record: &Record) -> (u64, u64) {
        let directory = self.containers.directory_of(&record.id);
        (super::volumes::usage::bytes(&directory.join("upper")), self.layers_size(&record.layers))
    }

    /// The name of the storage driver.
    pub fn driver_name(&self) -> &'static str {
        self.layers.driver().name()
    }

    /// Gives an image a further name.
    ///
    /// # Errors
    /// Where there is no such image.
    pub fn tag(&self, source: &str, name: &Reference) -> Result<()> {
        self.images.tag(source, name)?;
        let id = self.images.image(source).map_or(String::new(), |image| image.id.to_string());
        self.note_image("tag", &id, &name.familiar());
        Ok(())
    }

    /// That no container uses the image, where it would go with this name.
    fn check_unused(&self, name_or_id: &str, force: bool) -> Result<()> {
        // Of one that cannot be looked at the store says what is wrong; one that is damaged it removes.
        let Ok(image) = self.images.image(name_or_id) else { return Ok(()) };
        let id = image.id.to_string();
        let by_id = id.strip_prefix("sha256:").unwrap_or(&id).starts_with(name_or_id)
            || id.starts_with(name_or_id);
        let name = Reference::parse(name_or_id).ok().filter(|_| !by_id);
        if name.is_some_and(|name| image.has_other_names(&name)) {
            return Ok(());
        }
        let mut users = Vec::new();
        for (record, state) in self.containers.list()? {
            let runs = matches!(state, State::Running { .. });
            if record.image_id == id && (runs || !force) {
                users.push(record.short().to_owned());
            }
        }
        if users.is_empty() {
            return Ok(());
        }
        Err(Error::ImageInUse { image: name_or_id.to_owned(), users })
    }

    /// Removes the layers under a container that is gone, where its image is gone, too.
    pub(super) fn sweep_after(&self, image_id: &str) -> Result<()> {
        if self.images.image(image_id).is_ok() {
            return Ok(());
        }
        let _images = ImageLock::exclusive(&self.root)?;
        self.sweep_layers().map(drop)
    }

    /// Removes every layer that neither an image nor a container stands on. The caller holds
    /// [`ImageLock`] exclusively.
    pub(super) fn sweep_layers(&self) -> Result<Vec<ChainId>> {
        self.layers.collect(|| {
            let mut used = HashSet::new();
            for entry in self.images.list()? {
                used.extend(chain(&self.images.load(&entry.descriptor)?)?);
            }
            for (record, _) in self.containers.list()? {
                used.extend(record.layers);
            }
            used.extend(self.cached_layers()?);
            Ok(used)
        })
    }

    /// Makes an image of a tar archive, plain or gzip, and unpacks it.
    ///
    /// # Errors
    /// Where a change is wrong, or the archive is refused; nothing is left then.
    pub fn import(
        &self,
        archive: &mut dyn Read,
        name: Option<&Reference>,
        changes: &[String],
        message: &str,
        platform: Option<Platform>,
    ) -> Result<Image> {
        let mut config = corten_builder::config::Config::default();
        corten_builder::change::apply(&mut config, changes)?;
        let platform = platform.unwrap_or_else(Platform::host);
        let mut configuration = serde_json::Map::from_iter([
            ("os".to_owned(), platform.os.into()),
            ("architecture".to_owned(), platform.architecture.into()),
            ("created".to_owned(), super::clock::now().into()),
            ("config".to_owned(), serde_json::json!(config)),
        ]);
        if let Some(variant) = platform.variant {
            configuration.insert("variant".to_owned(), variant.into());
        }
        let _images = ImageLock::shared(&self.root)?;
        let options =
            ImportOptions { name: None, config: configuration, message: message.to_owned() };
        let image = self.images.import(archive, &options)?;
        let id = image.id.to_string();
        if let Err(error) = self.unpack(&image, &mut |_| {}) {
            self.images.remove(&id, true)?;
            return Err(error);
        }
        if let Some(name) = name {
            self.images.tag(&id, name)?;
        }
        self.note_image("import", &id, name.map_or(id.clone(), Reference::familiar).as_str());
        Ok(image)
    }
}

/// The chain ids of an image's layers, the lowest first.
///
/// # Errors
/// For a diff id that is not SHA-256.
pub(crate) fn chain(image: &Image) -> Result<Vec<ChainId>> {
    let diff_ids: std::result::Result<Vec<DiffId>, _> =
        image.layers.iter().map(|layer| layer.diff_id.to_string().parse()).collect();
    Ok(ChainId::chain(&diff_ids?))
}

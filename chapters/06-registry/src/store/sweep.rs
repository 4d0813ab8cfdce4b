//! Removal: first the name, then every blob that no name reaches any more.
//!
//! Mark and sweep under the store's lock. What is marked: everything that index.json reaches, and
//! everything that the lease of a living pull holds.

use std::collections::HashSet;
use std::fs;

use serde_json::Value;

use super::lock::{StoreLock, clear_dead};
use super::partial::Leftovers;
use super::{Entry, Store, layout, names};
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Error, Result};
use crate::manifest::Descriptor;
use crate::media::MediaType;
use crate::reference::Reference;

/// A name that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untagged {
    /// The name.
    pub name: Reference,
    /// The id of the image that it meant; `None` where the documents are damaged.
    pub image: Option<Digest>,
}

/// What [`Store::remove`] did.
#[derive(Debug, Clone, Default)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<Untagged>,
    /// Ids of images that are gone, because no name was left.
    pub images: Vec<Digest>,
    /// Blobs that were deleted.
    pub blobs: Vec<Digest>,
    /// Bytes that this freed.
    pub freed: u64,
}

impl Store {
    /// Removes a name, and with the last one the image; or, by its id, an image with its one tag and the
    /// digests that its repository has for it, or with all names by `force`. Blobs that nothing reaches any
    /// more are deleted.
    ///
    /// Whether a container uses the image is not known here: the caller asks that first.
    ///
    /// # Errors
    /// As for [`Store::image`], and [`Error::SeveralNames`].
    pub fn remove(&self, name_or_id: &str, force: bool) -> Result<Removed> {
        let own = self.own_dir();
        let alone = StoreLock::wait(&own, false)?;
        let (by_name, target) = self.entry_of(name_or_id)?;
        // Without an id the documents are damaged; then the name is still removed.
        let id = self.id_of(&target).ok();
        let same = |e: &Entry| match &id {
            Some(id) => self.id_of(e).is_ok_and(|other| other == *id),
            None => e.descriptor.digest == target.descriptor.digest,
        };
        let entries = self.list()?;
        let (kept, names) = match by_name {
            true => names::without_name(
                entries,
                &target,
                Reference::parse(name_or_id).ok().as_ref(),
                same,
            ),
            false => {
                let (gone, kept): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(same);
                let names = names::names_of(&gone);
                if !names::is_one_tag(&names) && !force {
                    let id = id.map_or_else(|| name_or_id.to_owned(), |id| id.short().to_owned());
                    let names = names.iter().map(Reference::familiar).collect();
                    return Err(Error::SeveralNames { id, names });
                }
                (kept, names)
            }
        };
        let last = !kept.iter().any(same);
        layout::write(self.root(), &own, &kept)?;
        let mut removed = self.sweep(&alone, Leftovers::Old)?;
        let untagged = |name| Untagged { name, image: id.clone() };
        removed.untagged = names.into_iter().map(untagged).collect();
        removed.images = id.into_iter().filter(|_| last).collect();
        Ok(removed)
    }

    /// Deletes every blob that nothing reaches, and what broken downloads left.
    ///
    /// # Errors
    /// Where a manifest that index.json names is damaged, for then it is not known what it needs.
    pub fn collect_garbage(&self) -> Result<Removed> {
        let alone = StoreLock::wait(&self.own_dir(), false)?;
        self.sweep(&alone, Leftovers::All)
    }

    /// The same, and leaves fresh downloads that can be resumed.
    pub(super) fn collect_unreached(&self) -> Result<Removed> {
        let alone = StoreLock::wait(&self.own_dir(), false)?;
        self.sweep(&alone, Leftovers::Old)
    }

    /// Removes the images without a tag; with `all`, every image; but none that `used` holds. Then
    /// what nothing reaches any more, and what broken downloads left.
    ///
    /// # Errors
    /// As for [`Store::collect_garbage`].
    pub fn prune(&self, all: bool, used: &dyn Fn(&Digest) -> bool) -> Result<Removed> {
        let own = self.own_dir();
        let alone = StoreLock::wait(&own, false)?;
        let (mut kept, mut gone, mut images) = (Vec::new(), Vec::new(), Vec::new());
        let entries = self.list()?;
        let tags = entries.iter().filter(|entry| entry.is_tag());
        let tagged: HashSet<Digest> = tags.filter_map(|entry| self.id_of(entry).ok()).collect();
        for entry in entries {
            // One that is damaged is of no use to anybody, and without a name to nobody at all.
            let id = self.id_of(&entry).ok();
            let wanted = entry.name.is_some() && id.as_ref().is_none_or(|id| tagged.contains(id));
            if (wanted && !all) || id.as_ref().is_some_and(used) {
                kept.push(entry);
            } else {
                images.extend(id);
                gone.push(entry);
            }
        }
        let known = names::names_of(&kept);
        let untagged = |entry: &Entry| {
            let names = names::names_of(std::slice::from_ref(entry)).into_iter();
            let id = self.id_of(entry).ok();
            names
                .filter(|name| !known.contains(name))
                .map(move |name| Untagged { name, image: id.clone() })
        };
        let mut untagged: Vec<Untagged> = gone.iter().flat_map(untagged).collect();
        // Several tags of a repository have one digest.
        let mut seen = HashSet::new();
        untagged.retain(|one| seen.insert(one.name.familiar()));
        layout::write(self.root(), &own, &kept)?;
        let kept: HashSet<Digest> = kept.iter().filter_map(|e| self.id_of(e).ok()).collect();
        images.retain(|id| !kept.contains(id));
        images.sort();
        images.dedup();
        let removed = self.sweep(&alone, Leftovers::All)?;
        Ok(Removed { untagged, images, ..removed })
    }

    fn sweep(&self, alone: &StoreLock, leftovers: Leftovers) -> Result<Removed> {
        let mut keep: HashSet<Digest> = clear_dead(&self.own_dir(), alone)?.into_iter().collect();
        self.mark(&mut keep)?;
        let freed = self.sweep_partial(leftovers)?;
        let mut removed = Removed { freed, ..Removed::default() };
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let dir = self.root().join("blobs").join(algorithm.name());
            for entry in fs::read_dir(&dir).at("read directory", &dir)? {
                let entry = entry.at("read directory", &dir)?;
                let name = entry.file_name();
                let digest = format!("{}:{}", algorithm.name(), name.to_string_lossy());
                // What is not named like a blob is not ours.
                let Ok(digest) = digest.parse::<Digest>() else { continue };
                if keep.contains(&digest) {
                    continue;
                }
                let path = entry.path();
                removed.freed += entry.metadata().at("stat", &path)?.len();
                fs::remove_file(&path).at("unlink", &path)?;
                removed.blobs.push(digest);
            }
        }
        self.sweep_signatures(&keep)?;
        removed.blobs.sort();
        Ok(removed)
    }

    // ANCHOR: mark
    /// Adds everything that index.json reaches.
    fn mark(&self, keep: &mut HashSet<Digest>) -> Result<()> {
        let entries = self.list()?;
        // What the registry has for the name, byte for byte: an index, or a Docker manifest.
        let sources = entries.iter().filter_map(|entry| entry.source.as_ref());
        keep.extend(sources.clone().cloned());
        // With what it names, as far as that is here: signatures are followed through it.
        let mut open: Vec<Descriptor> = sources.filter_map(|s| self.stored(s)).collect();
        open.extend(entries.into_iter().map(|e| e.descriptor));
        while let Some(blob) = open.pop() {
            // A lease may hold it too, and then its children must still be marked: so the set
            // `keep` cannot tell whether it was visited. Documents form no cycles: each would have
            // to contain its own digest.
            keep.insert(blob.digest.clone());
            let document = blob.media_type.compression().is_none() && !blob.media_type.is_config();
            // An index names manifests of other platforms, which need not be here.
            if !document || blob.size > layout::MAX_PARSED || !self.has_blob(&blob)? {
                continue;
            }
            let raw = self.read_blob(&blob, layout::MAX_PARSED)?;
            match serde_json::from_slice::<Value>(&raw) {
                Ok(value) => descriptors_in(&value, &mut open),
                Err(_) if matches!(blob.media_type, MediaType::Other(_)) => {}
                Err(e) => return Err(Error::malformed(format!("manifest {}", blob.digest), e)),
            }
        }
        self.mark_kept(keep)
    }
    // ANCHOR_END: mark
}

/// Collects whatever looks like a descriptor, at any depth: config, layers, manifests, subject, and
/// what later versions of the specification add.
fn descriptors_in(value: &Value, found: &mut Vec<Descriptor>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| descriptors_in(item, found)),
        Value::Object(fields) => {
            let text = |key| fields.get(key).and_then(Value::as_str);
            if let Some(digest) = text("digest").and_then(|d| d.parse::<Digest>().ok()) {
                let kind = MediaType::parse(text("mediaType").unwrap_or_default());
                let size = fields.get("size").and_then(Value::as_u64).unwrap_or(u64::MAX);
                found.push(Descriptor::new(kind, digest, size));
            }
            fields.values().for_each(|field| descriptors_in(field, found));
        }
        _ => {}
    }
}

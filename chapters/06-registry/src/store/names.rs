//! Names of images: given, moved, taken away.
//!
//! An image is known by tags, which people give it, and by the digests that registries have for it:
//! `REPOSITORY@DIGEST`. Such a digest is known with the tag that was pulled or pushed (the entry's `source`),
//! and gets an entry of its own where it was pulled by, or when the tag moves on to another image.

use super::{Entry, Image, Store};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::Descriptor;
use crate::reference::Reference;

impl Store {
    /// Gives the image `target` (a name or an id) the further name `name`, which it takes from
    /// whatever had it.
    ///
    /// # Errors
    /// As for [`Store::image`].
    pub fn tag(&self, target: &str, name: &Reference) -> Result<()> {
        let entry = self.entry_of(target)?.1;
        let mut entries = self.list()?;
        entries.retain(|other| other.descriptor.digest == entry.descriptor.digest);
        // A digest of the name's own repository; else any, so that a push sends what came.
        let own = entries.iter().find(|other| is_of(other.digest_name().as_ref(), name));
        let any = || entries.iter().find(|other| other.source.is_some());
        self.put(match own.or_else(any) {
            None => Entry::new(Some(name), &entry.descriptor, None),
            Some(other) => {
                let new = Entry::new(Some(name), &entry.descriptor, other.source.as_ref());
                if own.is_some() { new } else { new.lent() }
            }
        })
    }

    /// Takes a name away. The image stays, without a name where it was the last one, until
    /// [`Store::remove`] is given its id.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`].
    pub fn untag(&self, name: &Reference) -> Result<()> {
        self.change(|entries| {
            let gone: Vec<Entry> = entries.extract_if(.., |entry| entry.is(name)).collect();
            if gone.is_empty() {
                return Err(Error::NoSuchImage { name: name.familiar() });
            }
            gone.iter().for_each(|entry| keep_without_name(entries, entry));
            Ok(())
        })
    }

    /// Names an image whose blobs are all in the store. The entry that had the name before stays
    /// without one, or with the digest that its registry has for it.
    pub(crate) fn record(
        &self,
        name: Option<&Reference>,
        descriptor: &Descriptor,
        source: Option<&Digest>,
    ) -> Result<()> {
        self.put(Entry::new(name, descriptor, source))
    }

    fn put(&self, new: Entry) -> Result<()> {
        self.change(|entries| {
            let had: Vec<Entry> = entries
                .extract_if(.., |entry| entry.name.is_some() && entry.name == new.name)
                .collect();
            entries.retain(|e| e.name.is_some() || e.descriptor.digest != new.descriptor.digest);
            entries.push(new);
            had.iter().for_each(|entry| keep_moved(entries, entry));
            Ok(())
        })
    }

    /// Takes note that the registry of `name` has the image `of`, by this digest of one of its documents.
    pub(crate) fn note_served(
        &self,
        name: &Reference,
        of: &Descriptor,
        digest: &Digest,
    ) -> Result<()> {
        let fits = |entry: &Entry| {
            entry.name.as_ref() == Some(name) && entry.descriptor.digest == of.digest
        };
        let known = |entry: &Entry| !entry.lent && entry.source.as_ref() == Some(digest);
        if self.list()?.iter().any(|entry| fits(entry) && known(entry)) {
            return Ok(());
        }
        self.change(|entries| {
            // A push may be of an image that has another name here, or this one no more.
            if let Some(entry) = entries.iter_mut().find(|entry| fits(entry)) {
                *entry = Entry::new(Some(name), &entry.descriptor, Some(digest));
            }
            Ok(())
        })
    }
}

impl Image {
    /// Its tags: names that people gave it.
    pub fn tags(&self) -> impl Iterator<Item = &Reference> {
        self.names.iter().filter(|name| name.digest().is_none())
    }

    /// Whether it has no tag: nothing but the digest that some registry has for it, or not even that.
    pub fn is_dangling(&self) -> bool {
        self.tags().next().is_none()
    }

    /// Whether it has other names than this one and the digests that go with it.
    pub fn has_other_names(&self, name: &Reference) -> bool {
        let repository = name.name();
        let others = self.names.iter().filter(|other| *other != name);
        let mut others =
            others.filter(|other| other.digest().is_none() || other.name() != repository);
        others.next().is_some()
    }
}

/// The digests by which registries know the image of these entries, each once.
pub(super) fn digest_names(entries: &[Entry]) -> Vec<Reference> {
    let mut all = Vec::new();
    for name in entries.iter().filter_map(Entry::digest_name) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all.sort_by_key(Reference::familiar);
    all
}

/// Which entries stay when the user removes a name, and which names go. With the last tag of a repository
/// its digests of the image go, too; with a digest nothing but that.
pub(super) fn without_name(
    entries: Vec<Entry>,
    target: &Entry,
    wanted: Option<&Reference>,
    same: impl Fn(&Entry) -> bool,
) -> (Vec<Entry>, Vec<Reference>) {
    if let Some(digest) = wanted
        && target.digest_name().as_ref() == Some(digest)
    {
        let stays = |entry: Entry| match entry.digest_name().as_ref() == Some(digest) {
            true if entry.name.as_ref() == Some(digest) => None,
            true => Some(entry.lent()),
            false => Some(entry),
        };
        return (entries.into_iter().filter_map(stays).collect(), vec![digest.clone()]);
    }
    let (mut gone, mut kept): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| entry.name == target.name);
    let mut names: Vec<Reference> = target.name.iter().cloned().collect();
    if let Some(tag) = target.name.as_ref().filter(|_| target.is_tag()) {
        let near = |entry: &Entry| same(entry) && is_of(entry.name.as_ref(), tag);
        if kept.iter().any(|entry| near(entry) && entry.is_tag()) {
            gone.iter()
                .filter(|entry| entry.digest_name().is_some())
                .for_each(|entry| keep_moved(&mut kept, entry));
        } else {
            gone.extend(kept.extract_if(.., |entry| near(entry)));
            names.extend(digest_names(&gone));
        }
    }
    (kept, names)
}

/// All names of these entries, sorted: tags and digests.
pub(super) fn names_of(entries: &[Entry]) -> Vec<Reference> {
    let own = entries.iter().filter_map(|entry| entry.name.clone());
    let mut names: Vec<Reference> = own.chain(digest_names(entries)).collect();
    names.sort_by_key(Reference::familiar);
    names.dedup();
    names
}

/// Whether these are one tag, and digests of its repository.
pub(super) fn is_one_tag(names: &[Reference]) -> bool {
    let tags = names.iter().filter(|name| name.digest().is_none()).count();
    tags <= 1 && names.iter().all(|name| is_of(names.first(), name))
}

/// Whether that is a name in the repository of another.
fn is_of(name: Option<&Reference>, other: &Reference) -> bool {
    name.is_some_and(|name| name.name() == other.name())
}

/// Keeps an image in the store whose name another has now.
fn keep_moved(entries: &mut Vec<Entry>, had: &Entry) {
    match had.digest_name().filter(|name| !digest_names(entries).contains(name)) {
        Some(name) => entries.push(Entry::new(Some(&name), &had.descriptor, had.source.as_ref())),
        None => keep_without_name(entries, had),
    }
}

/// Keeps an image in the store whose name was taken, unless another entry does.
fn keep_without_name(entries: &mut Vec<Entry>, had: &Entry) {
    if entries.iter().all(|entry| entry.descriptor.digest != had.descriptor.digest) {
        entries.push(Entry::new(None, &had.descriptor, had.source.as_ref()));
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;

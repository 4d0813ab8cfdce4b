//! Images out of an archive: what `corten load` reads.
//!
//! The archive comes as a stream, in any order, from anybody. Its paths never become paths here:
//! each file is taken in as a blob under its own digest, and the paths are only keys of a map, in
//! which the documents at the end (`index.json`, or Docker's `manifest.json`) look their parts up.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::import::{Start, sniff};
use super::save::MAX_DOCUMENT;
use super::variants::Variants;
use super::{Entry, Image, Lease, Store, layout};
use crate::digest::{Digest, HashingWriter};
use crate::error::{At, Error, Result};
use crate::json;
use crate::manifest::{Descriptor, Document, ImageConfig, MAX_CONFIG, MAX_MANIFEST, Manifest};
use crate::media::{Compression, MediaType};
use crate::platform::Platform;
use crate::reference::Reference;

/// More files than any image has layers.
const MAX_FILES: usize = 10_000;
/// What the documents at the end say of the archive's errors.
const ARCHIVE: &str = "the archive";

/// What has been read of an archive.
#[derive(Default)]
struct Contents {
    /// Files that were taken in as blobs.
    blobs: HashMap<String, (Digest, u64)>,
    /// Links to other files, which `docker save` used to make for layers that were there twice.
    links: HashMap<String, String>,
    documents: HashMap<String, Vec<u8>>,
}

/// One image in Docker's manifest.json.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

impl Store {
    /// Takes in the images of an OCI or Docker archive, plain or compressed with gzip or zstd.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is no such archive or lacks a part; [`Error::WrongDigest`]; what
    /// the reader fails with. No name is written then.
    pub fn unpack_archive(&self, archive: &mut dyn Read) -> Result<Vec<Image>> {
        self.unpack_archive_for(&[], archive)
    }

    /// The same, of the images that are for one of these platforms; of all where there is none. Where an
    /// index has several of them, all are kept under its name, which means the one for this machine.
    ///
    /// # Errors
    /// As [`Store::unpack_archive`]; [`Error::NoPlatform`] where it has no image for any of them.
    pub fn unpack_archive_for(
        &self,
        platforms: &[Platform],
        archive: &mut dyn Read,
    ) -> Result<Vec<Image>> {
        let lease = self.lease()?;
        let result = self.images_of(&lease, platforms, archive);
        drop(lease);
        match result {
            Ok(images) => {
                // What the archive had beside its images.
                self.collect_unreached()?;
                Ok(images)
            }
            Err(error) => {
                // The error that is on its way says more than a failure to clean up would.
                let _ = self.collect_unreached();
                Err(error)
            }
        }
    }

    fn images_of(
        &self,
        lease: &Lease,
        platforms: &[Platform],
        archive: &mut dyn Read,
    ) -> Result<Vec<Image>> {
        let (start, whole) = sniff(archive, ARCHIVE)?;
        let contents = match start {
            Start::Gzip => self.take_in(lease, MultiGzDecoder::new(whole))?,
            Start::Zstd => self.take_in(lease, zstd_reader(whole)?)?,
            Start::Plain => self.take_in(lease, whole)?,
        };
        let entries = if let Some(index) = contents.documents.get("index.json") {
            self.entries_of_index(lease, index, platforms)?
        } else if let Some(manifest) = contents.documents.get("manifest.json") {
            let all = self.entries_of_docker(lease, manifest, &contents)?;
            self.for_platforms(lease, all, platforms)?
        } else {
            let why = "it has neither index.json nor manifest.json, so it is no archive of images \
                       (of a root file system, make an image with `corten import`)";
            return Err(Error::malformed(ARCHIVE, why));
        };
        for entry in &entries {
            self.record(entry.name.as_ref(), &entry.descriptor, None)?;
        }
        let mut images = Vec::new();
        for entry in &entries {
            let mut image = self.load(&entry.descriptor)?;
            // Other names that the image has here are not the archive's.
            let of_archive = entries.iter().filter(|other| other.descriptor == entry.descriptor);
            let names: Vec<_> = of_archive.filter_map(|entry| entry.name.clone()).collect();
            image.names.retain(|name| names.contains(name));
            images.push(image);
        }
        Ok(images)
    }

    fn take_in(&self, lease: &Lease, stream: impl Read) -> Result<Contents> {
        let at = Path::new(ARCHIVE);
        let mut archive = tar::Archive::new(stream);
        let mut contents = Contents::default();
        for (number, entry) in archive.entries().at("read", at)?.enumerate() {
            // What the kernel did not say is said of the archive's form.
            let mut entry = entry.map_err(|error| match error.raw_os_error() {
                Some(_) => Error::from_io(error, "read", at),
                None => {
                    Error::malformed(ARCHIVE, format!("it is no tar archive, or cut off: {error}"))
                }
            })?;
            if number >= MAX_FILES {
                return Err(Error::malformed(ARCHIVE, format!("more than {MAX_FILES} files")));
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = name.trim_start_matches("./").to_owned();
            let kind = entry.header().entry_type();
            if kind.is_symlink() || kind.is_hard_link() {
                let to = entry.link_name_bytes().unwrap_or_default();
                contents.links.insert(name, String::from_utf8_lossy(&to).into_owned());
            } else if kind.is_file() || kind.is_contiguous() {
                self.take_file(lease, &mut contents, name, &mut entry)?;
            }
        }
        Ok(contents)
    }

    // ANCHOR: take_file
    fn take_file<R: Read>(
        &self,
        lease: &Lease,
        contents: &mut Contents,
        name: String,
        entry: &mut tar::Entry<'_, R>,
    ) -> Result<()> {
        let size = entry.size();
        let file = name.rsplit('/').next().unwrap_or(&name);
        match name.as_str() {
            "index.json" | "manifest.json" | "oci-layout" => {
                if size > MAX_DOCUMENT {
                    let what = format!("{ARCHIVE}'s {name}");
                    return Err(Error::TooLarge { what, limit: MAX_DOCUMENT });
                }
                let mut text = Vec::new();
                entry.read_to_end(&mut text).at("read", Path::new(ARCHIVE))?;
                contents.documents.insert(name, text);
                return Ok(());
            }
            // What Docker wrote for versions before 1.10.
            _ if matches!(file, "VERSION" | "json" | "repositories") => return Ok(()),
            _ => {}
        }
        let digest = match blob_name(&name) {
            Some(digest) => {
                let kind = MediaType::Other(String::new());
                self.put_blob(lease, entry, &Descriptor::new(kind, digest.clone(), size))?;
                digest
            }
            None => {
                let source = Hashed { inner: entry, hash: HashingWriter::new(io::sink()) };
                self.receive(lease, source, "load", |source| {
                    let (_, digest, seen) = source.hash.finish();
                    if seen != size {
                        return Err(Error::malformed(ARCHIVE, format!("{name} is cut off")));
                    }
                    lease.hold([&digest])?;
                    Ok(digest)
                })?
            }
        };
        contents.blobs.insert(name, (digest, size));
        Ok(())
    }
    // ANCHOR_END: take_file

    /// The images of an OCI layout that are for these platforms, each complete.
    fn entries_of_index(
        &self,
        lease: &Lease,
        index: &[u8],
        platforms: &[Platform],
    ) -> Result<Vec<Entry>> {
        json::check(ARCHIVE, index)?;
        let all = layout::parse(&format!("{ARCHIVE}'s index.json"), index)?;
        let entries = self.for_platforms(lease, all, platforms)?;
        for entry in &entries {
            let image = self.load(&entry.descriptor).map_err(|e| Error::malformed(ARCHIVE, e))?;
            self.check_whole(&image.manifest)?;
        }
        Ok(entries)
    }

    fn check_whole(&self, manifest: &Manifest) -> Result<()> {
        for layer in &manifest.layers {
            if !self.has_blob(layer)? {
                let why = format!("layer {} is not in it", layer.digest);
                return Err(Error::malformed(ARCHIVE, why));
            }
        }
        Ok(())
    }

    /// Those that are for one of these platforms; all where there is none.
    fn for_platforms(
        &self,
        lease: &Lease,
        all: Vec<Entry>,
        platforms: &[Platform],
    ) -> Result<Vec<Entry>> {
        let Some(first) = platforms.first() else { return Ok(all) };
        let mut available = Vec::new();
        let mut chosen = Vec::new();
        for entry in all {
            let found = self.for_platform(lease, &entry, platforms, &mut available);
            chosen.extend(found.map_err(|why| Error::malformed(ARCHIVE, why))?);
        }
        if chosen.is_empty() {
            available.dedup();
            let (what, wanted) = (ARCHIVE.to_owned(), Box::new(first.clone()));
            return Err(Error::NoPlatform { what, wanted, available });
        }
        Ok(chosen)
    }

    /// What an entry has for these platforms: an image, or an index of several; takes note of all that it
    /// has.
    fn for_platform(
        &self,
        lease: &Lease,
        entry: &Entry,
        platforms: &[Platform],
        available: &mut Vec<Platform>,
    ) -> Result<Option<Entry>> {
        let what = format!("manifest {}", entry.descriptor.digest);
        let raw = self.read_blob(&entry.descriptor, MAX_MANIFEST)?;
        let index = match Document::parse(&what, &entry.descriptor.media_type, raw)? {
            Document::Manifest(manifest) => {
                let what = format!("configuration {}", manifest.config.digest);
                let raw = self.read_blob(&manifest.config, MAX_CONFIG)?;
                let own = ImageConfig::parse(&what, raw)?.platform();
                let fits = platforms.iter().any(|wanted| wanted.runs(&own));
                available.push(own);
                return Ok(fits.then(|| entry.clone()));
            }
            Document::Index(index) => index,
        };
        let all = self.variants_of(&index)?;
        available.extend(all.iter().map(|variant| variant.platform.clone()));
        let variants = Variants { index: Some(index), all };
        let Ok(chosen) = variants.chosen(&what, platforms) else { return Ok(None) };
        for variant in &chosen {
            self.check_whole(&variant.manifest)?;
            self.put_bytes(lease, MediaType::OciManifest, variant.manifest.raw())?;
        }
        let top = match chosen[..] {
            [only] => only.named(),
            _ => {
                let (index, raw) = variants.index_of(&chosen)?;
                self.put_bytes(lease, MediaType::OciIndex, &raw)?;
                index
            }
        };
        Ok(Some(Entry::new(entry.name.as_ref(), &top, None)))
    }

    /// The images of Docker's manifest.json, as OCI manifests of our own.
    fn entries_of_docker(
        &self,
        lease: &Lease,
        manifest: &[u8],
        contents: &Contents,
    ) -> Result<Vec<Entry>> {
        json::check(ARCHIVE, manifest)?;
        let images: Vec<Saved> = serde_json::from_slice(manifest)
            .map_err(|e| Error::malformed(format!("{ARCHIVE}'s manifest.json"), e))?;
        let mut entries = Vec::new();
        for image in images {
            let (digest, size) = contents.find(&image.config)?;
            let config = Descriptor::new(MediaType::OciConfig, digest.clone(), size);
            let raw = self.read_blob(&config, MAX_CONFIG)?;
            let parsed = ImageConfig::parse(&image.config, raw)?;
            let mut layers = Vec::new();
            for path in &image.layers {
                let (digest, size) = contents.find(path)?;
                let compression = self.compression_of(&digest)?;
                layers.push(Descriptor::new(MediaType::OciLayer(compression), digest, size));
            }
            let manifest = Manifest::build(config, layers)?;
            let pairs = super::pair_layers(&manifest, &parsed)?;
            for layer in pairs
                .iter()
                .filter(|l| l.descriptor.media_type == MediaType::OciLayer(Compression::None))
            {
                // A compressed layer is checked when it is unpacked.
                if layer.descriptor.digest != layer.diff_id {
                    let (expected, got) = (layer.diff_id.clone(), layer.descriptor.digest.clone());
                    return Err(Error::WrongDigest { what: ARCHIVE.to_owned(), expected, got });
                }
            }
            let mut descriptor = self.put_bytes(lease, MediaType::OciManifest, manifest.raw())?;
            descriptor.platform = Some(parsed.platform());
            let names = image.repo_tags.unwrap_or_default();
            let names = names.iter().map(|n| Reference::parse(n)).collect::<Result<Vec<_>>>()?;
            if names.is_empty() {
                entries.push(Entry::new(None, &descriptor, None));
            }
            entries.extend(names.iter().map(|name| Entry::new(Some(name), &descriptor, None)));
        }
        Ok(entries)
    }

    fn compression_of(&self, digest: &Digest) -> Result<Compression> {
        let what = format!("layer {digest}");
        let mut file = self.open_blob(digest)?;
        Ok(match sniff(&mut file, &what)?.0 {
            Start::Gzip => Compression::Gzip,
            Start::Zstd => Compression::Zstd,
            Start::Plain => Compression::None,
        })
    }
}

impl Contents {
    /// The blob of a path, by way of one link.
    fn find(&self, path: &str) -> Result<(Digest, u64)> {
        let path = path.trim_start_matches("./");
        let through = self.links.get(path).map(|to| join(path, to));
        let found = self.blobs.get(through.as_deref().unwrap_or(path));
        found.cloned().ok_or_else(|| {
            let shown: String = path.chars().filter(|c| !c.is_control()).take(200).collect();
            Error::malformed(ARCHIVE, format!("manifest.json names {shown:?}, which is not in it"))
        })
    }
}

/// Resolves a link's target against the directory of the link. Only a key comes of it.
fn join(link: &str, target: &str) -> String {
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The digest in `blobs/sha256/HEX`.
fn blob_name(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// Decompresses zstd with at most 32 MiB of window, as chapter 3 does when it unpacks.
pub(super) fn zstd_reader<R: Read>(inner: R) -> Result<impl Read> {
    let at = Path::new("zstd");
    let mut decoder = zstd::Decoder::new(inner).at("begin", at)?;
    decoder.window_log_max(25).at("set up", at)?;
    Ok(decoder)
}

/// Hashes what passes.
struct Hashed<R> {
    inner: R,
    hash: HashingWriter<io::Sink>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::io::Write as _;
        let n = self.inner.read(buffer)?;
        self.hash.write_all(&buffer[..n])?;
        Ok(n)
    }
}

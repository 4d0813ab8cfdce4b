//! An image from one tar archive: what `corten import` does.

use std::io::{self, Read, Write as _};

use flate2::write::MultiGzDecoder;
use serde_json::{Map, Value, json};

use super::load::zstd_reader;
use super::{Image, Lease, Store};
use crate::digest::{Digest, HashingWriter};
use crate::error::{At, Error, Result};
use crate::manifest::{Descriptor, Manifest};
use crate::media::{Compression, MediaType};
use crate::reference::Reference;

/// What [`Store::import`] shall make of a layer.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The name of the new image.
    pub name: Option<Reference>,
    /// Platform, creation time, Env, Cmd and so on, which may be more than the specification has;
    /// `rootfs` and `history` are replaced.
    pub config: Map<String, Value>,
    /// The history's comment.
    pub message: String,
}

impl Store {
    /// Makes an image of one layer: a tar archive, plain or compressed with gzip or zstd, which is
    /// stored as it is. Its digest and that of the plain archive are computed while it streams in.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another compression, [`Error::Malformed`] for broken gzip, whatever
    /// the reader fails with, or an errno of the store.
    pub fn import(&self, tar: &mut dyn Read, options: &ImportOptions) -> Result<Image> {
        let lease = self.lease()?;
        let result = self.import_held(&lease, tar, options);
        drop(lease);
        if result.is_err() {
            // The error that is on its way says more than a failure to clean up would.
            let _ = self.collect_unreached();
        }
        result
    }

    fn import_held(
        &self,
        lease: &Lease,
        tar: &mut dyn Read,
        options: &ImportOptions,
    ) -> Result<Image> {
        let (layer, diff_id) = self.take_layer(lease, tar)?;
        let mut config = options.config.clone();
        let rootfs = json!({"type": "layers", "diff_ids": [diff_id.to_string()]});
        config.insert("rootfs".to_owned(), rootfs);
        let mut entry = json!({"comment": options.message});
        if let Some(created) = config.get("created") {
            entry["created"] = created.clone();
        }
        config.insert("history".to_owned(), json!([entry]));
        let config =
            self.put_bytes(lease, MediaType::OciConfig, &to_bytes("configuration", &config)?)?;

        let manifest = Manifest::build(config, vec![layer])?;
        let manifest = self.put_bytes(lease, MediaType::OciManifest, manifest.raw())?;
        self.record(options.name.as_ref(), &manifest, None)?;
        self.load(&manifest)
    }

    /// Takes a layer in as it is: its blob, and the digest of the plain archive.
    pub(super) fn take_layer(
        &self,
        lease: &Lease,
        tar: &mut dyn Read,
    ) -> Result<(Descriptor, Digest)> {
        let (start, whole) = sniff(tar, "the tar archive")?;
        let compression = match start {
            Start::Plain => Compression::None,
            Start::Gzip => Compression::Gzip,
            Start::Zstd => Compression::Zstd,
        };
        let mut layer = LayerReader::new(whole, compression);
        let mut seen = None;
        let digest = self.receive(lease, &mut layer, "import", |layer| {
            let (blob, diff_id, size) = layer.finish()?;
            lease.hold([&blob])?;
            seen = Some((diff_id, size));
            Ok(blob)
        })?;
        if let Some((diff_id, _)) = &mut seen
            && compression == Compression::Zstd
        {
            // The decoder that is fed cannot tell a stream that is cut off; the one that reads can.
            *diff_id = self.zstd_diff_id(&digest)?;
        }
        let Some((diff_id, size)) = seen else {
            return Err(Error::malformed("import", "the layer was not read"));
        };
        Ok((Descriptor::new(MediaType::OciLayer(compression), digest, size), diff_id))
    }

    fn zstd_diff_id(&self, digest: &Digest) -> Result<Digest> {
        let mut plain = HashingWriter::new(io::sink());
        io::copy(&mut zstd_reader(self.open_blob(digest)?)?, &mut plain)
            .map_err(|e| Error::malformed("the tar archive", format!("broken zstd: {e}")))?;
        Ok(plain.finish().1)
    }
}

/// What a stream turns out to be by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Plain,
    Gzip,
    Zstd,
}

/// Looks at the first bytes of a stream and gives the stream with them.
pub(super) fn sniff<'a>(
    stream: &'a mut dyn Read,
    what: &str,
) -> Result<(Start, impl Read + use<'a>)> {
    let mut start = [0; 4];
    let filled = read_start(stream, &mut start).at("read", what.as_ref())?;
    let other = |name: &str| Error::Unsupported {
        what: what.to_owned(),
        why: format!("it is compressed with {name}; decompress it first, or use gzip or zstd"),
    };
    let kind = match &start[..filled] {
        [0x1f, 0x8b, ..] => Start::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Start::Zstd,
        [b'B', b'Z', b'h', ..] => return Err(other("bzip2")),
        [0xfd, b'7', b'z', b'X'] => return Err(other("xz")),
        _ => Start::Plain,
    };
    Ok((kind, io::Cursor::new(start).take(filled as u64).chain(stream)))
}

/// Serialised by way of a Value, whose maps are sorted: the same image has the same id each time.
pub(super) fn to_bytes(what: &str, value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_value(value)
        .and_then(|value| serde_json::to_vec(&value))
        .map_err(|e| Error::malformed(what, e))
}

/// Reads until `start` is full or the input ends.
fn read_start(reader: &mut dyn Read, start: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < start.len() {
        match reader.read(&mut start[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// Passes a layer on and computes both of its digests.
struct LayerReader<R> {
    inner: R,
    blob: HashingWriter<io::Sink>,
    plain: Plain,
}

enum Plain {
    /// The layer is plain: both digests are one.
    Same,
    Gzip(Box<MultiGzDecoder<HashingWriter<io::Sink>>>),
}

impl<R: Read> LayerReader<R> {
    fn new(inner: R, compression: Compression) -> Self {
        let sink = || HashingWriter::new(io::sink());
        let plain = match compression {
            Compression::Gzip => Plain::Gzip(Box::new(MultiGzDecoder::new(sink()))),
            Compression::None | Compression::Zstd => Plain::Same,
        };
        LayerReader { inner, blob: sink(), plain }
    }

    /// The digest of the blob, of the plain archive, and the blob's size.
    fn finish(&mut self) -> Result<(Digest, Digest, u64)> {
        let sink = || HashingWriter::new(io::sink());
        let (_, blob, size) = std::mem::replace(&mut self.blob, sink()).finish();
        let diff_id = match std::mem::replace(&mut self.plain, Plain::Same) {
            Plain::Same => blob.clone(),
            Plain::Gzip(decoder) => decoder.finish().map_err(bad_gzip)?.finish().1,
        };
        Ok((blob, diff_id, size))
    }
}

fn bad_gzip(error: io::Error) -> Error {
    Error::malformed("the tar archive", format!("broken gzip: {error}"))
}

impl<R: Read> Read for LayerReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.blob.write_all(&buffer[..n])?;
        if let Plain::Gzip(decoder) = &mut self.plain {
            decoder.write_all(&buffer[..n]).map_err(bad_gzip)?;
        }
        Ok(n)
    }
}

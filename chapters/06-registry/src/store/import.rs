//! An image from one tar archive: what `corten import` does.

use std::io::{self, Read, Write as _};

use flate2::write::MultiGzDecoder;
use oci_spec::image as oci;

use super::{Image, Store};
use crate::digest::HashingWriter;
use crate::error::{At, Error, Result};
use crate::manifest::{Descriptor, Manifest};
use crate::media::{Compression, MediaType};
use crate::reference::Reference;

/// What [`Store::import`] shall make of a layer.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The name of the new image.
    pub name: Option<Reference>,
    /// Platform, creation time, Env, Cmd and so on; `rootfs` and `history` are replaced.
    pub config: oci::ImageConfiguration,
    /// The history's comment.
    pub message: String,
}

impl Store {
    /// Makes an image of one layer: a tar archive, plain or compressed with gzip, which is stored as
    /// it is. Its digest and that of the plain archive are computed while it streams in.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another compression, [`Error::Malformed`] for broken gzip, whatever
    /// the reader fails with, or an errno of the store.
    pub fn import(&self, tar: &mut dyn Read, options: &ImportOptions) -> Result<Image> {
        let lease = self.lease()?;
        let mut start = [0; 4];
        let filled = read_start(tar, &mut start).at("read", "the tar archive".as_ref())?;
        let compression = match &start[..filled] {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => return Err(other_compression("zstd")),
            [b'B', b'Z', b'h', ..] => return Err(other_compression("bzip2")),
            [0xfd, b'7', b'z', b'X'] => return Err(other_compression("xz")),
            _ => Compression::None,
        };
        let whole = (&start[..filled]).chain(tar);
        let mut layer = LayerReader::new(whole, compression);
        let mut seen = None;
        let digest = self.receive(&lease, &mut layer, "import", |layer| {
            let (blob, diff_id, size) = layer.finish()?;
            lease.hold([&blob])?;
            seen = Some((diff_id, size));
            Ok(blob)
        })?;
        let Some((diff_id, size)) = seen else {
            return Err(Error::malformed("import", "the layer was not read"));
        };
        let layer = Descriptor::new(MediaType::OciLayer(compression), digest, size);

        let mut config = options.config.clone();
        let mut rootfs = oci::RootFs::default();
        rootfs.set_diff_ids(vec![diff_id.to_string()]);
        let mut history = oci::History::default();
        history.set_created(config.created().clone());
        history.set_comment(Some(options.message.clone()));
        config.set_rootfs(rootfs).set_history(Some(vec![history]));
        let config =
            self.put_bytes(&lease, MediaType::OciConfig, &json("configuration", &config)?)?;

        let manifest = Manifest::build(config, vec![layer])?;
        let manifest = self.put_bytes(&lease, MediaType::OciManifest, manifest.raw())?;
        self.record(options.name.as_ref(), &manifest, None)?;
        self.load(&manifest)
    }
}

fn other_compression(name: &str) -> Error {
    Error::Unsupported {
        what: "the tar archive".to_owned(),
        why: format!("it is compressed with {name}; decompress it first, or use gzip"),
    }
}

/// Serialised by way of a Value, whose maps are sorted: the same image has the same id each time.
fn json(what: &str, value: &impl serde::Serialize) -> Result<Vec<u8>> {
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
    fn finish(&mut self) -> Result<(crate::Digest, crate::Digest, u64)> {
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

//! How a layer is compressed, told by its media type or by its first bytes.

use std::io::{self, BufRead, Read};

use crate::error::{Error, Result};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Told by the first bytes of the stream.
    Detect,
    /// A plain tar stream.
    None,
    /// RFC 1952; several members in a row are one stream.
    Gzip,
    /// RFC 8878; several frames in a row are one stream.
    Zstd,
}

impl Compression {
    /// The compression that a layer descriptor's media type names: OCI
    /// (`application/vnd.oci.image.layer.v1.tar+gzip`, also `nondistributable`) and Docker
    /// (`application/vnd.docker.image.rootfs.diff.tar.gzip`). Docker's types without a suffix and
    /// `…diff.tar` were used for both, so they are detected.
    ///
    /// # Errors
    /// [`Error::MediaType`] for everything that is not a layer of tar.
    pub fn from_media_type(media_type: &str) -> Result<Compression> {
        let kind = media_type.split(';').next().unwrap_or_default().trim();
        let suffix = [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ]
        .iter()
        .find_map(|prefix| kind.strip_prefix(prefix));
        match suffix {
            Some("") => Ok(Compression::Detect),
            Some("+gzip" | ".gzip") => Ok(Compression::Gzip),
            Some("+zstd" | ".zstd") => Ok(Compression::Zstd),
            _ => Err(Error::MediaType { media_type: media_type.to_owned() }),
        }
    }

    /// The compression whose magic number `start` begins with: `1f 8b` for gzip, `28 b5 2f fd` or
    /// a skippable frame (`50..5f 2a 4d 18`) for zstd, otherwise none.
    pub fn of_magic(start: &[u8]) -> Compression {
        match start {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// The plain stream of `stream`.
    ///
    /// # Errors
    /// Where the first bytes cannot be read, or memory for the decompressor is lacking.
    pub fn decode<'a>(self, stream: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        let mut stream = stream;
        let (compression, start) = match self {
            Compression::Detect => {
                let start = first_bytes(&mut stream)?;
                (Compression::of_magic(&start), start)
            }
            told => (told, Vec::new()),
        };
        let stream = io::Cursor::new(start).chain(stream);
        Ok(match compression {
            Compression::Detect | Compression::None => Box::new(stream),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(stream)),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(stream)?;
                // A frame may ask for a window of 2 GiB; RFC 8878 asks decoders for 8 MiB, the zstd
                // program and containerd go to 128 MiB.
                decoder.window_log_max(27)?;
                Box::new(decoder)
            }
        })
    }
}

/// Takes up to four bytes, fewer only at the end of the stream.
fn first_bytes(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(4);
    stream.take(4).read_to_end(&mut start)?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn decoded(compression: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        compression.decode(bytes)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_first_bytes_tell_the_compression() {
        let zstd = zstd::encode_all(&b"plain"[..], 1).unwrap();
        for bytes in [b"plain".to_vec(), gzip(b"plain"), zstd] {
            assert_eq!(decoded(Compression::Detect, &bytes).unwrap(), b"plain");
        }
        assert_eq!(decoded(Compression::Detect, b"").unwrap(), b"");
        assert_eq!(decoded(Compression::Detect, b"\x1f").unwrap(), b"\x1f");
    }

    #[test]
    fn media_types_of_oci_and_docker_name_the_compression() {
        let of = |text| Compression::from_media_type(text).ok();
        assert_eq!(of("application/vnd.oci.image.layer.v1.tar"), Some(Compression::Detect));
        assert_eq!(of("application/vnd.oci.image.layer.v1.tar+zstd"), Some(Compression::Zstd));
        let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        assert_eq!(of(docker), Some(Compression::Gzip));
        assert_eq!(of("application/vnd.oci.image.config.v1+json"), None);
        assert_eq!(of("application/vnd.oci.image.layer.v1.tar+encrypted"), None);
    }

    #[test]
    fn members_in_a_row_are_one_stream_and_garbage_after_them_is_an_error() {
        let mut bytes = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(decoded(Compression::Gzip, &bytes).unwrap(), b"one two");
        bytes.extend_from_slice(b"garbage");
        assert!(decoded(Compression::Gzip, &bytes).is_err());
    }
}

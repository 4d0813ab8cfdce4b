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
                decoder.window_log_max(WINDOW_LOG)?;
                Box::new(Windowed(decoder))
            }
        })
    }
}

// ANCHOR: window
/// The binary logarithm of the largest window: 32 MiB.
///
/// The window is what a decoder must keep of the plain stream in memory, and each frame says how much
/// that is: up to 2 GiB by the reference implementation. RFC 8878 (3.1.1.1.2) recommends decoders to
/// support at least 8 MiB, and encoders not to ask for more. The encoder of containerd, BuildKit and
/// Podman asks for 4 to 32 MiB, by its level. Less than 32 would refuse layers that they make; more
/// comes only from the zstd program with `--ultra` or `--long`.
const WINDOW_LOG: u32 = 25;

/// A frame asks for a larger window.
#[derive(Debug, thiserror::Error)]
#[error("a zstd frame asks for a window of more than {} MiB", 1u32 << (WINDOW_LOG - 20))]
pub(crate) struct HugeWindow;
// ANCHOR_END: window

/// A decoder that says so when the window is what it refuses.
struct Windowed<R>(R);

impl<R: Read> Read for Windowed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The library's only way to tell its errors apart.
        const TOO_LARGE: &str = "Frame requires too much memory for decoding";
        self.0.read(buffer).map_err(|error| match error.to_string().as_str() {
            TOO_LARGE => io::Error::other(HugeWindow),
            _ => error,
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
    fn a_window_is_32_mib_at_most() {
        let asks_for = |log| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(b"plain").unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(decoded(Compression::Zstd, &asks_for(25)).unwrap(), b"plain");
        let error = decoded(Compression::Detect, &asks_for(26)).unwrap_err();
        assert_eq!(error.to_string(), "a zstd frame asks for a window of more than 32 MiB");
        // A later frame may as well ask for more.
        let frames = [asks_for(10), asks_for(27)].concat();
        assert!(decoded(Compression::Zstd, &frames).unwrap_err().to_string().contains("32 MiB"));
    }

    #[test]
    fn members_in_a_row_are_one_stream_and_garbage_after_them_is_an_error() {
        let mut bytes = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(decoded(Compression::Gzip, &bytes).unwrap(), b"one two");
        bytes.extend_from_slice(b"garbage");
        assert!(decoded(Compression::Gzip, &bytes).is_err());
    }
}

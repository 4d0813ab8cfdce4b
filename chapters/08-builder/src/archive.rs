//! Archives that `ADD` unpacks: tar, plain or compressed with gzip, bzip2, xz or zstd. What an archive
//! is is told by its content, not by its name.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::Path;

use corten_namespaces::Root;

use crate::error::{At, Result};

/// How many bytes of an archive's plain stream are looked at: one header of tar.
const HEADER: usize = 512;

/// The plain or still compressed stream of the archive at `path`, for chapter 3 to unpack; `None` where
/// it is no archive.
///
/// # Errors
/// Where the file cannot be read.
pub fn open(root: &Root, path: &Path) -> Result<Option<Box<dyn Read + Send>>> {
    let handle = root.resolve(path)?;
    let stat = nix::sys::stat::fstat(&handle).at("stat", path)?;
    if stat.st_mode & nix::libc::S_IFMT != nix::libc::S_IFREG {
        return Ok(None);
    }
    // The handle is of this very file, so the magic link opens no other.
    let file = File::open(format!("/proc/thread-self/fd/{}", handle.as_raw_fd()));
    stream(file.at("open", path)?).at("read", path)
}

/// The stream of an archive, decompressed.
///
/// # Errors
/// Where it cannot be read.
pub fn stream(mut file: File) -> io::Result<Option<Box<dyn Read + Send>>> {
    let mut header = [0; HEADER];
    let filled = fill(&mut plain(file.try_clone()?)?, &mut header);
    file.seek(SeekFrom::Start(0))?;
    match filled {
        Ok(HEADER) if is_header(&header) => plain(file).map(Some),
        // Broken compression is no archive either: it is copied as it is.
        _ => Ok(None),
    }
}

/// A stream without its compression.
///
/// # Errors
/// Where it cannot be read.
pub fn plain<'a>(mut file: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut start = [0; 6];
    let filled = fill(&mut file, &mut start)?;
    let whole = io::Cursor::new(start).take(filled as u64).chain(file);
    Ok(match start.get(..filled).unwrap_or_default() {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(whole)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(lzma_rust2::XzReader::new(whole, true)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::new(whole)?),
        _ => Box::new(whole),
    })
}

fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether an archive begins with these bytes.
pub fn is_archive(start: &[u8]) -> bool {
    start.first_chunk().is_some_and(is_header)
}

/// Whether a block is a header of tar, by its checksum.
fn is_header(block: &[u8; HEADER]) -> bool {
    let field = block.get(148..156).unwrap_or_default();
    let text = String::from_utf8_lossy(field);
    let Ok(stored) = u32::from_str_radix(text.trim_matches(['\0', ' ']), 8) else { return false };
    let blank = field.len() as u32 * u32::from(b' ');
    let all: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = field.iter().map(|byte| u32::from(*byte)).sum();
    stored == all - own + blank
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn archive() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        tar.append_data(&mut header, "x", &b"hi"[..]).unwrap();
        tar.into_inner().unwrap()
    }

    fn opened(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        stream(file).unwrap().map(|mut stream| {
            let mut plain = Vec::new();
            stream.read_to_end(&mut plain).unwrap();
            plain
        })
    }

    #[test]
    fn an_archive_is_told_by_its_content() {
        let plain = archive();
        assert_eq!(opened(&plain).as_deref(), Some(plain.as_slice()));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        assert_eq!(opened(&gzip.finish().unwrap()).as_deref(), Some(plain.as_slice()));
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&plain).unwrap();
        assert_eq!(opened(&bzip2.finish().unwrap()).as_deref(), Some(plain.as_slice()));
        let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
        assert_eq!(opened(&zstd).as_deref(), Some(plain.as_slice()));
        for none in [&b""[..], b"text", &[0; 2048], b"\x1f\x8bbroken"] {
            assert_eq!(opened(none), None);
        }
    }
}

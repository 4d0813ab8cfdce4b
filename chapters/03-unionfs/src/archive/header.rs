//! One block of 512 bytes: the header as V7, POSIX ustar and GNU write it.
//!
//! The layout comes from the tar crate; the numbers are read here, strictly, because archive
//! readers that disagree about a number let one archive mean two things.

use super::Time;
use super::sparse::{Segment, Sparse};

/// Bytes of a block; everything in a tar archive comes in whole blocks.
pub(super) const BLOCK: u64 = 512;

/// The fields of a header block, as numbers and bytes.
pub(super) struct Fields {
    pub(super) typeflag: u8,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) size: u64,
    pub(super) mode: u64,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: Time,
    pub(super) device: (u64, u64),
    /// GNU's sparse header: the pieces, the file's size, and whether more blocks of pieces follow.
    pub(super) sparse: Option<(Sparse, bool)>,
}

/// Reads a header block.
///
/// # Errors
/// The reason, where the checksum is wrong or a field is no number.
pub(super) fn parse(block: &[u8; 512]) -> Result<Fields, String> {
    let header = tar::Header::from_byte_slice(block);
    let old = header.as_old();
    if number(&old.cksum)? != checksum(block) {
        return Err("this is no tar header (wrong checksum)".into());
    }
    let mut device = (0, 0);
    let mut sparse = None;
    let majors = match (header.as_gnu(), header.as_ustar()) {
        (Some(gnu), _) => Some((&gnu.dev_major, &gnu.dev_minor)),
        (None, Some(ustar)) => Some((&ustar.dev_major, &ustar.dev_minor)),
        (None, None) => None,
    };
    let typeflag = old.linkflag[0];
    if let (b'3' | b'4', Some((major, minor))) = (typeflag, majors) {
        device = (number(major)?, number(minor)?);
    }
    if typeflag == b'S' {
        let gnu = header.as_gnu().ok_or("a GNU sparse file without a GNU header")?;
        let mut segments = Vec::new();
        pieces(&gnu.sparse, &mut segments)?;
        let size = number(&gnu.realsize)?;
        sparse = Some((Sparse { size, segments }, gnu.isextended[0] == 1));
    }
    Ok(Fields {
        typeflag,
        path: header.path_bytes().into_owned(),
        link: header.link_name_bytes().map(Into::into).unwrap_or_default(),
        size: number(&old.size)?,
        mode: number(&old.mode)?,
        uid: number(&old.uid)?,
        gid: number(&old.gid)?,
        mtime: Time { seconds: signed(&old.mtime)?, nanoseconds: 0 },
        device,
        sparse,
    })
}

/// Reads one more block of pieces of a GNU sparse file; tells whether yet another follows.
pub(super) fn more_pieces(block: &[u8; 512], into: &mut Vec<Segment>) -> Result<bool, String> {
    // 21 pairs of twelve bytes, then the flag (GNU tar manual, "Basic Tar Format").
    for pair in block[..504].chunks_exact(24) {
        piece(&pair[..12], &pair[12..], into)?;
    }
    Ok(block[504] == 1)
}

fn pieces(pairs: &[tar::GnuSparseHeader], into: &mut Vec<Segment>) -> Result<(), String> {
    pairs.iter().try_for_each(|pair| piece(&pair.offset, &pair.numbytes, into))
}

fn piece(offset: &[u8], length: &[u8], into: &mut Vec<Segment>) -> Result<(), String> {
    // A pair that is not used is all NUL.
    if length[0] != 0 {
        into.push(Segment { offset: number(offset)?, length: number(length)? });
    }
    Ok(())
}

/// The sum of all bytes, with the checksum's own field taken as blanks.
fn checksum(block: &[u8; 512]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    sum(&block[..148]) + 8 * u64::from(b' ') + sum(&block[156..])
}

/// A number that must not be negative.
fn number(field: &[u8]) -> Result<u64, String> {
    u64::try_from(signed(field)?).map_err(|_| "a field of the header is negative".to_owned())
}

/// Octal digits between blanks and NULs or, with the first bit set, a big-endian two's complement
/// number (GNU's and star's "base-256", for what has no room in octal).
fn signed(field: &[u8]) -> Result<i64, String> {
    let bad = || format!("a field of the header is no number: {}", field.escape_ascii());
    if field[0] & 0x80 != 0 {
        // Bit 6 of the first byte is the sign; extend it over the marker bit.
        let mut value = i128::from(((field[0] << 1) as i8) >> 1);
        for &byte in &field[1..] {
            value = value.checked_mul(256).ok_or_else(bad)? | i128::from(byte);
        }
        return i64::try_from(value).map_err(|_| bad());
    }
    let blank = |byte: &&u8| matches!(byte, b' ' | 0);
    let start = field.iter().take_while(blank).count();
    let end =
        field[start..].iter().position(|byte| blank(&byte)).map_or(field.len(), |n| n + start);
    if !field[end..].iter().all(|byte| blank(&byte)) {
        return Err(bad());
    }
    field[start..end].iter().try_fold(0i64, |value, &byte| match byte {
        b'0'..=b'7' => value.checked_mul(8).map(|v| v + i64::from(byte - b'0')).ok_or_else(bad),
        _ => Err(bad()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(signed(b"0000644\0"), Ok(0o644));
        assert_eq!(signed(b"   644 \0"), Ok(0o644));
        assert_eq!(signed(b"\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(signed(b"\x80\0\0\0\x7f\xff\xff\xff"), Ok(0x7fff_ffff));
        assert_eq!(signed(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Ok(-2));
        for bad in
            [&b"12x4"[..], b"9", b"1 1", b"-1", b"\x8f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert!(signed(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(number(b"\xff\xff").is_err());
    }
}

//! Sparse files in their four tar forms: GNU's old header, and GNU's PAX records in the versions
//! 0.0, 0.1 and 1.0 (GNU tar manual, "Storing Sparse Files").

use super::pax::{self, Record};
use super::stream::{Source, Stream};
use crate::error::Result;

/// A piece of data in a file; between the pieces are holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it lies in the file.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
}

/// The map of a sparse file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sparse {
    /// The file's size with its holes.
    pub(super) size: u64,
    pub(super) segments: Vec<Segment>,
}

impl Sparse {
    /// Checks that the segments are in order, inside the file, and as long as the data.
    pub(super) fn check(self, data: u64) -> Result<Sparse, String> {
        let (mut end, mut sum) = (0u64, 0u64);
        for segment in &self.segments {
            if segment.offset < end {
                return Err("the pieces of a sparse file overlap or are out of order".into());
            }
            let beyond = "a piece of a sparse file lies beyond the file's end";
            end = segment.offset.checked_add(segment.length).ok_or(beyond)?;
            // No piece ends beyond the size, which is a u64, so their sum does not overflow either.
            if end > self.size {
                return Err(beyond.into());
            }
            sum += segment.length;
        }
        if sum != data {
            return Err(format!("a sparse file's map has {sum} bytes, the archive {data}"));
        }
        Ok(self)
    }
}

/// What the PAX records say about a sparse file.
pub(super) enum PaxSparse {
    /// Versions 0.0 and 0.1: the map is in the records.
    Map(Sparse),
    /// Version 1.0: the map stands before the data; this is the file's size.
    InData(u64),
}

/// Reads the `GNU.sparse.*` records, where there are any.
pub(super) fn of_records(records: &[Record]) -> Result<Option<PaxSparse>, String> {
    let mut size = None;
    let mut major = None;
    let mut offset = None;
    let mut segments = Vec::new();
    let mut sparse = false;
    for (key, value) in records {
        let Some(key) = key.strip_prefix(b"GNU.sparse.") else { continue };
        sparse = true;
        let number = || pax::number(value).ok_or("a sparse file's record is not a number");
        match key {
            b"major" => major = Some(number()?),
            b"size" | b"realsize" => size = Some(number()?),
            b"offset" => offset = Some(number()?),
            b"numbytes" => {
                let offset = offset.take().ok_or("a sparse file's length without an offset")?;
                segments.push(Segment { offset, length: number()? });
            }
            b"map" => segments = map(value)?,
            // numblocks says how many pieces there are; name is read with the paths.
            _ => {}
        }
    }
    if !sparse {
        return Ok(None);
    }
    let size = size.ok_or("a sparse file without its size")?;
    match major {
        Some(1) => Ok(Some(PaxSparse::InData(size))),
        None | Some(0) => Ok(Some(PaxSparse::Map(Sparse { size, segments }))),
        Some(other) => Err(format!("sparse files of version {other} are not known")),
    }
}

/// Version 0.1: `offset,length,offset,length…`.
fn map(value: &[u8]) -> Result<Vec<Segment>, String> {
    let bad = || "malformed map of a sparse file".to_owned();
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Option<Vec<u64>> = value.split(|&byte| byte == b',').map(pax::number).collect();
    let numbers = numbers.filter(|numbers| numbers.len() % 2 == 0).ok_or_else(bad)?;
    Ok(numbers.chunks_exact(2).map(|n| Segment { offset: n[0], length: n[1] }).collect())
}

/// Version 1.0: in front of the data, in whole blocks, one decimal number per line: how many
/// pieces, then offset and length of each. Returns the map and how many bytes it took.
pub(super) fn in_data<S: Source>(
    stream: &mut Stream<S>,
    available: u64,
    max: usize,
) -> Result<(Vec<Segment>, u64)> {
    let mut text = Vec::new();
    let mut lines = 0;
    let mut wanted: Option<u64> = None;
    let mut taken = 0;
    while wanted.is_none_or(|wanted| lines < wanted) {
        if taken + 512 > available || text.len() + 512 > max {
            return Err(stream.malformed("the map of a sparse file has no end"));
        }
        let block = stream.bytes(512)?;
        taken += 512;
        lines += block.iter().filter(|&&byte| byte == b'\n').count() as u64;
        text.extend_from_slice(&block);
        if wanted.is_none() && lines > 0 {
            let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let pieces = pax::number(first).filter(|&pieces| pieces < max as u64);
            let pieces = pieces.ok_or_else(|| stream.malformed("malformed sparse map"))?;
            wanted = Some(1 + 2 * pieces);
        }
    }
    let pairs = wanted.unwrap_or(1) - 1;
    let numbers: Option<Vec<u64>> =
        text.split(|&byte| byte == b'\n').skip(1).take(pairs as usize).map(pax::number).collect();
    let numbers = numbers.ok_or_else(|| stream.malformed("malformed sparse map"))?;
    let segment = |n: &[u64]| Segment { offset: n[0], length: n[1] };
    Ok((numbers.chunks_exact(2).map(segment).collect(), taken))
}

//! moby's `local` driver, byte for byte (daemon/logger/local, api/types/plugins/logdriver).
//!
//! ```text
//! length (4 bytes, the greatest first) │ LogEntry │ length again
//!
//! message LogEntry {
//!   string source = 1;  int64 time_nano = 2;  bytes line = 3;  bool partial = 4;
//!   PartialLogEntryMetadata partial_log_metadata = 5;
//! }
//! message PartialLogEntryMetadata { bool last = 1;  string id = 2;  int32 ordinal = 3; }
//! ```
//!
//! With the length on both sides the file can be read in both directions. The line is without its
//! newline and as the program wrote it, whatever its bytes are. Each message begins with the byte 10
//! (field 1, a string), which is the newline: no line holds that, so a container cannot write what
//! looks like a message within one, and a reader that begins anywhere finds its way. Two messages of eight fields are
//! written here by hand: a library for protocol buffers brings more code than these take.

use super::format::Found;
use super::lines::Piece;
use crate::reader::{Entry, Stream};

/// No entry is longer (moby's maxMsgLen): what says so is damaged.
const LONGEST: usize = 1_000_000;

/// The first field of every entry: its source.
pub(crate) const SOURCE: u8 = 0x0a;

// ANCHOR: encode
/// Appends one entry.
pub(super) fn encode(to: &mut Vec<u8>, piece: &Piece<'_>, time: u64) {
    let begin = to.len();
    to.extend_from_slice(&[0; 4]);
    field(to, SOURCE, if piece.stderr { b"stderr" } else { b"stdout" });
    to.push(0x10);
    varint(to, time);
    if !piece.line.is_empty() {
        field(to, 0x1a, piece.line);
    }
    if let Some(part) = &piece.part {
        to.extend_from_slice(&[0x20, 1]);
        let mut about = Vec::with_capacity(80);
        if part.last {
            about.extend_from_slice(&[0x08, 1]);
        }
        field(&mut about, 0x12, part.id.as_bytes());
        about.push(0x18);
        varint(&mut about, u64::from(part.ordinal));
        field(to, 0x2a, &about);
    }
    let length = u32::try_from(to.len() - begin - 4).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(head) = to.get_mut(begin..begin + 4) {
        head.copy_from_slice(&length);
    }
    to.extend_from_slice(&length);
}
// ANCHOR_END: encode

fn field(to: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    to.push(tag);
    varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Looks at the beginning of `bytes`.
pub(super) fn first(bytes: &[u8]) -> Found {
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else { return Found::Short };
    let length = u32::from_be_bytes(*head) as usize;
    if length == 0 || length > LONGEST || rest.first().is_some_and(|tag| *tag != SOURCE) {
        return Found::Damaged;
    }
    match rest.get(length..length + 4) {
        None => Found::Short,
        Some(tail) if tail == head => Found::Whole(length + 8),
        Some(_) => Found::Damaged,
    }
}

/// Reads one entry, with its lengths; `None` where it is none.
pub(super) fn decode(entry: &[u8]) -> Option<Entry> {
    let mut rest = entry.get(4..entry.len().checked_sub(4)?)?;
    let (mut stream, mut time, mut line) = (Stream::Stdout, 0, &[][..]);
    let (mut partial, mut last) = (false, false);
    while !rest.is_empty() {
        let (tag, value) = next(&mut rest)?;
        match (tag, value) {
            (1, Value::Bytes(source)) if source == b"stderr" => stream = Stream::Stderr,
            (2, Value::Number(number)) => time = number,
            (3, Value::Bytes(bytes)) => line = bytes,
            (4, Value::Number(number)) => partial = number != 0,
            (5, Value::Bytes(mut about)) => {
                while !about.is_empty() {
                    if let (1, Value::Number(number)) = next(&mut about)? {
                        last = number != 0;
                    }
                }
            }
            // Of a newer version.
            _ => {}
        }
    }
    let newline: &[u8] = if !partial || last { b"\n" } else { b"" };
    let log = [line, newline].concat();
    Some(Entry { log, stream, time, attributes: Default::default() })
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Takes the next field from `bytes`: its number and its value.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = number(bytes)?;
    let value = match tag & 7 {
        0 => Value::Number(number(bytes)?),
        1 => Value::Bytes(take(bytes, 8)?),
        2 => {
            let length = number(bytes)?;
            Value::Bytes(take(bytes, length)?)
        }
        5 => Value::Bytes(take(bytes, 4)?),
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::lines::Part;
    use super::*;

    fn encoded(line: &[u8], part: Option<Part<'_>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes, &Piece { stderr: true, line, part }, 1_795_000_000_123_456_789);
        bytes
    }

    #[test]
    fn an_entry_is_a_message_between_its_lengths() {
        let expected =
            b"\x00\x00\x00\x15\x0a\x06stderr\x10\x95\xb6\xea\xb8\xc2\xcb\x83\xf5\x18\x1a\x01x";
        let found = encoded(b"x", None);
        assert_eq!(found[..4], expected[..4]);
        assert_eq!(found[4..13], expected[4..13]);
        assert_eq!(found[found.len() - 7..], *b"\x1a\x01x\x00\x00\x00\x15");
        assert_eq!(first(&found), Found::Whole(found.len()));
        assert_eq!(first(&found[..found.len() - 1]), Found::Short);
        assert_eq!(first(&[&found[..found.len() - 1], b"\x16"].concat()), Found::Damaged);
        assert_eq!(first(&[0; 100]), Found::Damaged);
        let entry = decode(&found).unwrap();
        assert_eq!(entry.log, b"x\n");
        assert_eq!((entry.stream, entry.time), (Stream::Stderr, 1_795_000_000_123_456_789));
    }

    #[test]
    fn only_the_last_part_of_a_line_ends_it() {
        let part = Part { id: "id", ordinal: 300, last: false, time: 1 };
        assert_eq!(decode(&encoded(b"x", Some(part))).unwrap().log, b"x");
        let part = Part { last: true, ..part };
        let found = encoded(b"", Some(part));
        assert_eq!(decode(&found).unwrap().log, b"\n");
        assert!(found.ends_with(b"\x20\x01\x2a\x09\x08\x01\x12\x02id\x18\xac\x02\x00\x00\x00\x1f"));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_written_is_read(line: Vec<u8>) {
            let bytes = encoded(&line, None);
            assert_eq!(first(&bytes), Found::Whole(bytes.len()));
            assert_eq!(decode(&bytes).unwrap().log, [&line[..], b"\n"].concat());
        }

        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            let _ = first(&bytes);
            let _ = decode(&bytes);
        }
    }
}

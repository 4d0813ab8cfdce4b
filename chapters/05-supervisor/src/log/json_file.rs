//! Docker's `json-file`, byte for byte (moby, daemon/logger/jsonfilelog/jsonlog).
//!
//! ```text
//! {"log":"a line\n","stream":"stdout","attrs":{"tag":"x"},"time":"2026-11-25T18:00:00.123456789Z"}
//! ```
//!
//! Bytes that are no UTF-8 become U+FFFD: the format cannot hold them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::stamp;
use crate::reader::{Entry, Stream};

/// What follows the text of every entry of a stream that is written at the same time.
pub(super) fn tail(stderr: bool, attributes: &[u8], time: &str) -> Vec<u8> {
    let stream: &[u8] = if stderr { b"stderr" } else { b"stdout" };
    let parts: [&[u8]; 6] =
        [b"\",\"stream\":\"", stream, b"\",", attributes, b"\"time\":\"", time.as_bytes()];
    [&parts.concat()[..], b"\"}\n"].concat()
}

/// The attributes of all entries, as Go's json.Marshal writes a map; nothing where there are none.
pub(super) fn attributes(all: &BTreeMap<String, String>) -> Vec<u8> {
    if all.is_empty() {
        return Vec::new();
    }
    let mut text = b"\"attrs\":{".to_vec();
    for (name, value) in all {
        for (part, after) in [(name, b':'), (value, b',')] {
            text.push(b'"');
            // Here, and not in lines, Go knows the tabulator by its letter.
            let mut pieces = part.split('\t');
            escape(&mut text, pieces.next().unwrap_or_default().as_bytes());
            for piece in pieces {
                text.extend_from_slice(b"\\t");
                escape(&mut text, piece.as_bytes());
            }
            text.extend_from_slice(&[b'"', after]);
        }
    }
    text.pop();
    text.extend_from_slice(b"},");
    text
}

// ANCHOR: encode
/// Appends one document.
pub(super) fn encode(to: &mut Vec<u8>, line: &[u8], ends: bool, tail: &[u8]) {
    to.extend_from_slice(b"{\"log\":\"");
    escape(to, line);
    if ends {
        to.extend_from_slice(b"\\n");
    }
    to.extend_from_slice(tail);
}

/// Whether a byte cannot stand for itself: as Go's encoder has it, also what means something in
/// HTML; and what may be no UTF-8. Without a branch, so that the compiler looks at many at once.
fn is_special(byte: u8) -> bool {
    !(0x20..0x80).contains(&byte)
        | (byte == b'"')
        | (byte == b'\\')
        | (byte == b'<')
        | (byte == b'>')
        | (byte == b'&')
}

/// How many bytes at the beginning stand for themselves.
fn plain(bytes: &[u8]) -> usize {
    let mut length = 0;
    for block in bytes.chunks_exact(32) {
        if block.iter().fold(false, |any, byte| any | is_special(*byte)) {
            break;
        }
        length += block.len();
    }
    let rest = bytes.get(length..).unwrap_or_default();
    length + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len())
}

/// Appends text, escaped.
fn escape(to: &mut Vec<u8>, mut text: &[u8]) {
    loop {
        let (themselves, rest) = text.split_at(plain(text));
        to.extend_from_slice(themselves);
        let Some((&byte, after)) = rest.split_first() else { return };
        text = after;
        match byte {
            b'"' | b'\\' => to.extend_from_slice(&[b'\\', byte]),
            b'\n' => to.extend_from_slice(b"\\n"),
            b'\r' => to.extend_from_slice(b"\\r"),
            0x80.. => {
                let end = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
                let (foreign, after) = rest.split_at(end);
                escape_foreign(to, foreign);
                text = after;
            }
            _ => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
                to.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]);
            }
        }
    }
}
// ANCHOR_END: encode

/// Appends bytes none of which is ASCII: characters, and what is none.
fn escape_foreign(to: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        // The line separators of Unicode end a line of JavaScript, but not one of JSON.
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(['\u{2028}', '\u{2029}']) {
            to.extend_from_slice(rest.get(..at).unwrap_or_default().as_bytes());
            let after = rest.get(at..).unwrap_or_default();
            let first = after.starts_with('\u{2028}');
            to.extend_from_slice(if first { b"\\u2028" } else { b"\\u2029" });
            rest = after.get(3..).unwrap_or_default();
        }
        to.extend_from_slice(rest.as_bytes());
        // Go writes one for each byte.
        for _ in chunk.invalid() {
            to.extend_from_slice(b"\\ufffd");
        }
    }
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(default, borrow)]
    log: Cow<'a, str>,
    #[serde(default, borrow)]
    stream: Cow<'a, str>,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Reads one document; `None` where it is none: somebody else has written into the file.
pub(super) fn decode(line: &[u8]) -> Option<Entry> {
    let document: Document<'_> = serde_json::from_slice(line).ok()?;
    let stream = if document.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
    let time = stamp::parse(&document.time)?;
    let log = document.log.into_owned().into_bytes();
    Some(Entry { log, stream, time, attributes: document.attrs })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-25T18:00:00.5Z";

    fn encoded(line: &[u8]) -> String {
        let mut buffer = Vec::new();
        encode(&mut buffer, line, true, &tail(false, b"", TIME));
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_line_is_escaped_as_moby_escapes_it() {
        let line = "a \"b\" \\ <c> & \t\r\u{1} \u{2028}\u{2029} é";
        let expected = r#"{"log":"a \"b\" \\ \u003cc\u003e \u0026 \u0009\r\u0001 \u2028\u2029 é\n","stream":"stdout","time":"2026-11-25T18:00:00.5Z"}"#;
        assert_eq!(encoded(line.as_bytes()), format!("{expected}\n"));
        assert!(encoded(b"\xff\xfe x").contains(r"\ufffd\ufffd x"));
        assert!(encoded(b"\xe2\x82 \xed\xa0\x80").contains(r"\ufffd\ufffd \ufffd\ufffd\ufffd"));
    }

    #[test]
    fn attributes_are_go_s() {
        let all = [("b", "<1>\t"), ("a", "\"")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let text = attributes(&all.into_iter().collect());
        assert_eq!(text, br#""attrs":{"a":"\"","b":"\u003c1\u003e\t"},"#);
        let mut buffer = Vec::new();
        encode(&mut buffer, b"x", false, &tail(true, &text, TIME));
        let entry = decode(&buffer).unwrap();
        assert_eq!((entry.log, entry.stream), (b"x".to_vec(), Stream::Stderr));
        assert_eq!(entry.attributes["b"], "<1>\t");
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_written_is_read(line: String, bytes: Vec<u8>) {
            let text = line.replace('\n', " ");
            let entry = decode(encoded(text.as_bytes()).as_bytes()).unwrap();
            assert_eq!(entry.log, format!("{text}\n").as_bytes());
            assert_eq!(stamp::rfc3339(entry.time), TIME);
            let bytes: Vec<u8> = bytes.into_iter().filter(|byte| *byte != b'\n').collect();
            let found = decode(encoded(&bytes).as_bytes()).unwrap();
            let count = |text: &[u8]| text.utf8_chunks().fold(0, |n, c| n + c.invalid().len());
            let marks = String::from_utf8(found.log).unwrap().matches('\u{fffd}').count();
            assert!(marks >= count(&bytes));
        }

        #[test]
        fn the_length_of_what_is_plain_is_exact(bytes: Vec<u8>, quiet in 0usize..100) {
            let bytes = [vec![b'x'; quiet], bytes].concat();
            let expected = bytes.iter().take_while(|byte| !is_special(**byte)).count();
            assert_eq!(plain(&bytes), expected);
        }
    }
}

//! The container's log: Docker's `json-file`.
//!
//! One JSON document per line of output, each ended by a newline:
//!
//! ```text
//! {"log":"a line\n","stream":"stdout","time":"2026-11-25T18:00:00.123456789Z"}
//! ```
//!
//! A line of more than 16 KiB is several documents, of which only the last one's `log` ends with a
//! newline; so is one that the program has not ended yet when the container ends. Bytes that are no
//! UTF-8 become U+FFFD, as Go's encoder has it: the format cannot hold them.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::protocol::Event;
use crate::settings::Log;

/// Longer lines are cut (moby, daemon/logger/copier.go).
const LONGEST_LINE: usize = 16 << 10;

/// Where the container's output goes.
#[derive(Debug)]
pub(crate) struct Output {
    log: Option<JsonFile>,
}

#[derive(Debug)]
struct JsonFile {
    path: PathBuf,
    file: File,
    size: u64,
    limits: Limits,
    /// Lines that are not ended yet: of standard output, of standard error.
    open: [Vec<u8>; 2],
    /// What is written at once.
    buffer: Vec<u8>,
    /// Whether the last write failed; that it does is told once.
    failing: bool,
}

/// How large the log may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    /// Bytes of one file.
    size: Option<u64>,
    /// Files, the one that is written among them.
    files: u32,
}

impl Output {
    /// Opens the log; a line that a crash has cut off is cut off whole.
    ///
    /// # Errors
    /// An option that is not known; where the file cannot be opened.
    pub(crate) fn open(log: Option<&Log>) -> Result<Output> {
        let Some(log) = log else { return Ok(Output { log: None }) };
        if log.driver != "json-file" {
            let what = format!("log driver `{}`", log.driver);
            return Err(Error::invalid(what, "is not there: json-file and none are"));
        }
        let limits = Limits::parse(log)?;
        let (file, size) = open(&log.path)?;
        let open = [Vec::new(), Vec::new()];
        let (path, buffer) = (log.path.clone(), Vec::new());
        Ok(Output {
            log: Some(JsonFile { path, file, size, limits, open, buffer, failing: false }),
        })
    }

    /// Takes in output. A log that cannot be written is told once; the container goes on.
    pub(crate) fn write(&mut self, stderr: bool, bytes: &[u8]) -> Option<Event> {
        self.log.as_mut()?.take(stderr, bytes)
    }

    /// The program has ended: what it has not ended is a line, too.
    pub(crate) fn end(&mut self) {
        if let Some(log) = &mut self.log {
            for stderr in [false, true] {
                let rest = std::mem::take(&mut log.open[usize::from(stderr)]);
                if !rest.is_empty() {
                    encode(&mut log.buffer, &rest, stderr, &now());
                }
            }
            log.flush();
            let _ = log.file.sync_data();
        }
    }
}

impl Limits {
    fn parse(log: &Log) -> Result<Limits> {
        let mut limits = Limits { size: None, files: 1 };
        for (name, value) in &log.options {
            let bad = |why: &str| Error::invalid(format!("log option {name}={value}"), why);
            match name.as_str() {
                "max-size" if value == "-1" => {}
                "max-size" => {
                    let size = size(value).filter(|size| *size > 0);
                    limits.size = Some(size.ok_or_else(|| bad("must be a size, as in 10m"))?);
                }
                "max-file" => {
                    let files = value.parse().ok().filter(|files| *files > 0);
                    limits.files = files.ok_or_else(|| bad("must be a number above 0"))?;
                }
                _ => return Err(bad("is not known: max-size and max-file are")),
            }
        }
        if limits.files > 1 && limits.size.is_none() {
            let why = "needs max-size: without, there is one file only";
            return Err(Error::invalid("log option max-file", why));
        }
        Ok(limits)
    }
}

/// `10m`, `1g`, `512k`, `100`: powers of 1024, as Docker counts here.
fn size(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let (digits, factor) = match text.char_indices().next_back()? {
        (at, 'k') => (text.get(..at)?, 1 << 10),
        (at, 'm') => (text.get(..at)?, 1 << 20),
        (at, 'g') => (text.get(..at)?, 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Opens a log for appending, without the half of a line at its end that a crash has left.
fn open(path: &Path) -> Result<(File, u64)> {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    let mut options = OpenOptions::new();
    let opened = options.read(true).append(true).create(true).mode(0o640).open(path);
    let file = opened.map_err(|error| Error::path("open", path, error))?;
    let look = || {
        let mut end = file.metadata()?.len();
        let mut block = [0; 4096];
        while end > 0 {
            let begin = end.saturating_sub(block.len() as u64);
            let piece = &mut block[..(end - begin) as usize];
            file.read_exact_at(piece, begin)?;
            if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
                end = begin + at as u64 + 1;
                break;
            }
            end = begin;
        }
        if end != file.metadata()?.len() {
            file.set_len(end)?;
        }
        std::io::Result::Ok(end)
    };
    let size = look().map_err(|error| Error::path("read", path, error))?;
    Ok((file, size))
}

impl JsonFile {
    // ANCHOR: take
    fn take(&mut self, stderr: bool, bytes: &[u8]) -> Option<Event> {
        let time = now();
        let mut rest = bytes;
        while !rest.is_empty() {
            let open = &mut self.open[usize::from(stderr)];
            let room = LONGEST_LINE - open.len();
            let piece = rest.get(..room.min(rest.len())).unwrap_or(rest);
            let (line, ends) = match memchr::memchr(b'\n', piece) {
                Some(at) => (piece.get(..=at).unwrap_or(piece), true),
                None => (piece, piece.len() == room),
            };
            rest = rest.get(line.len()..).unwrap_or_default();
            if !ends {
                open.extend_from_slice(line);
            } else if open.is_empty() {
                encode(&mut self.buffer, line, stderr, &time);
            } else {
                open.extend_from_slice(line);
                encode(&mut self.buffer, open, stderr, &time);
                open.clear();
            }
        }
        self.flush()
    }
    // ANCHOR_END: take

    /// Writes what is encoded, at once. What cannot be written is lost, and the next try is made
    /// with what comes next.
    fn flush(&mut self) -> Option<Event> {
        if self.buffer.is_empty() {
            return None;
        }
        let written = self.rotate().and_then(|()| self.file.write_all(&self.buffer));
        let told = match written {
            Ok(()) => {
                self.size += self.buffer.len() as u64;
                self.failing = false;
                None
            }
            Err(error) => {
                // Not half a line: the next one would be part of it.
                let _ = self.file.set_len(self.size);
                let first = !std::mem::replace(&mut self.failing, true);
                let (path, why) = (self.path.clone(), error.to_string());
                first.then_some(Event::LogFailed { path, why })
            }
        };
        self.buffer.clear();
        // A flood has made it large.
        self.buffer.shrink_to(64 << 10);
        told
    }

    /// Begins a new file where the present one is full: `.1` is the one before it. A crash between
    /// two renames leaves a gap in the numbers, never one file twice.
    fn rotate(&mut self) -> std::io::Result<()> {
        let Some(limit) = self.limits.size else { return Ok(()) };
        if self.size == 0 || self.size + self.buffer.len() as u64 <= limit {
            return Ok(());
        }
        for number in (1..self.limits.files).rev() {
            let from = match number {
                1 => self.path.clone(),
                _ => numbered(&self.path, number - 1),
            };
            match std::fs::rename(&from, numbered(&self.path, number)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.limits.files == 1 {
            self.file.set_len(0)?;
        } else if let Ok((file, _)) = open(&self.path) {
            self.file = file;
        }
        self.size = 0;
        Ok(())
    }
}

/// The older file with this number.
pub(crate) fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Now, as Go's RFC3339Nano has it.
fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

// ANCHOR: encode
/// Appends one document.
fn encode(to: &mut Vec<u8>, line: &[u8], stderr: bool, time: &str) {
    to.extend_from_slice(b"{\"log\":\"");
    for chunk in line.utf8_chunks() {
        escape(to, chunk.valid());
        // Go writes one for each byte.
        for _ in chunk.invalid() {
            to.extend_from_slice(b"\\ufffd");
        }
    }
    let stream = if stderr { "stderr" } else { "stdout" };
    to.extend_from_slice(b"\",\"stream\":\"");
    to.extend_from_slice(stream.as_bytes());
    to.extend_from_slice(b"\",\"time\":\"");
    to.extend_from_slice(time.as_bytes());
    to.extend_from_slice(b"\"}\n");
}

/// As Go's encoder escapes: also what means something in HTML.
fn escape(to: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let separator =
            byte == 0xe2 && matches!(bytes.get(at..at + 3), Some([_, 0x80, 0xa8 | 0xa9]));
        if byte >= 0x20 && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&') && !separator {
            continue;
        }
        to.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        from = at + 1;
        match byte {
            b'"' | b'\\' => to.extend_from_slice(&[b'\\', byte]),
            b'\n' => to.extend_from_slice(b"\\n"),
            b'\r' => to.extend_from_slice(b"\\r"),
            b'\t' => to.extend_from_slice(b"\\t"),
            0xe2 => {
                from = at + 3;
                let last = if bytes.get(at + 2) == Some(&0xa8) { b'8' } else { b'9' };
                to.extend_from_slice(&[b'\\', b'u', b'2', b'0', b'2', last]);
            }
            _ => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
                to.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]);
            }
        }
    }
    to.extend_from_slice(bytes.get(from..).unwrap_or_default());
}
// ANCHOR_END: encode

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(line: &[u8]) -> String {
        let mut buffer = Vec::new();
        encode(&mut buffer, line, false, "T");
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_line_is_escaped_as_go_escapes_it() {
        let line = "a \"b\" \\ <c> & \t\r\u{1} \u{2028}\u{2029} é\n";
        let expected = r#"{"log":"a \"b\" \\ \u003cc\u003e \u0026 \t\r\u0001 \u2028\u2029 é\n","stream":"stdout","time":"T"}"#;
        assert_eq!(encoded(line.as_bytes()), format!("{expected}\n"));
        assert!(encoded(b"\xff\xfe x").contains(r"\ufffd\ufffd x"));
        for text in [line, "", "\u{7f}", "\u{2026}"] {
            let value: serde_json::Value = serde_json::from_str(&encoded(text.as_bytes())).unwrap();
            assert_eq!(value["log"], text);
        }
    }

    fn lines(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let log = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["log"].as_str().unwrap().to_owned()
        };
        text.lines().map(log).collect()
    }

    fn options(path: &Path, options: &[(&str, &str)]) -> Log {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Log { driver: "json-file".into(), path: path.to_path_buf(), options }
    }

    #[test]
    fn output_becomes_lines_however_it_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut output = Output::open(Some(&options(&path, &[]))).unwrap();
        let long = "x".repeat(LONGEST_LINE + 10);
        let text = format!("one\n\ntwo\n{long}\nrest");
        for piece in text.as_bytes().chunks(7) {
            assert!(output.write(false, piece).is_none());
        }
        output.write(true, b"err");
        output.end();
        let found = lines(&path);
        let first = "x".repeat(LONGEST_LINE);
        assert_eq!(found, ["one\n", "\n", "two\n", &first, "xxxxxxxxxx\n", "rest", "err"]);
        assert_eq!(found.concat(), format!("{text}err"));
    }

    #[test]
    fn half_a_line_of_a_crash_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let whole = encoded(b"whole\n");
        for cut in 1..whole.len() {
            std::fs::write(&path, format!("{whole}{}", &whole[..cut])).unwrap();
            let mut output = Output::open(Some(&options(&path, &[]))).unwrap();
            output.write(false, b"next\n");
            assert_eq!(lines(&path), ["whole\n", "next\n"], "{cut}");
        }
    }

    #[test]
    fn files_change_places_when_they_are_full() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let limits = options(&path, &[("max-size", "1k"), ("max-file", "3")]);
        let mut output = Output::open(Some(&limits)).unwrap();
        for number in 0..100 {
            output.write(false, format!("line {number}\n").as_bytes());
        }
        let mut all = Vec::new();
        for file in [numbered(&path, 2), numbered(&path, 1), path.clone()] {
            assert!(std::fs::metadata(&file).unwrap().len() <= 1024);
            all.extend(lines(&file));
        }
        assert!(!numbered(&path, 3).exists());
        let expected: Vec<_> =
            (100 - all.len()..100).map(|number| format!("line {number}\n")).collect();
        assert_eq!(all, expected, "the newest, in order, none twice");
    }

    #[test]
    fn options_are_checked() {
        let path = Path::new("/nonexistent/log");
        for bad in [
            &[("max-size", "x")][..],
            &[("max-size", "0")],
            &[("max-file", "2")],
            &[("max-file", "0"), ("max-size", "1m")],
            &[("colour", "red")],
        ] {
            assert!(Limits::parse(&options(path, bad)).is_err(), "{bad:?}");
        }
        assert_eq!(size("10m"), Some(10 << 20));
        assert_eq!(size("1GB"), Some(1 << 30));
    }
}

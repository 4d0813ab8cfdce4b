//! Exercise 9.1: a body that comes in chunks.
//!
//! `printf '4\r\nWiki\r\n0\r\n\r\n' | cargo run -p corten-daemon --example chunked`
#![deny(unsafe_code)]

use std::io::{self, Read, Write};
use std::process::ExitCode;

// ANCHOR: chunked
/// The longest line that a chunk may begin with.
const LONGEST_LINE: usize = 256;

/// What is wrong with a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A line that gives no length, or a chunk that does not end where it should.
    Malformed,
    /// More than is taken.
    TooLarge,
}

/// Where the next byte belongs.
#[derive(Debug)]
enum State {
    /// To the line with a chunk's length.
    Length,
    /// To a chunk, of which so many are missing.
    Data(usize),
    /// To the line end behind a chunk.
    After,
    /// To the trailers: lines up to an empty one.
    Trailers,
    /// To whatever follows the body.
    Done,
}

/// Takes a body apart that comes in pieces, wherever they are cut (RFC 9112, section 7.1).
#[derive(Debug)]
pub struct Chunked {
    state: State,
    line: Vec<u8>,
    left: usize,
}

impl Chunked {
    /// For a body of at most `most` bytes.
    pub fn new(most: usize) -> Chunked {
        Chunked { state: State::Length, line: Vec::new(), left: most }
    }

    /// Reads a piece: appends what is in it to `body`, and says how many bytes of it were the body's.
    /// The rest is the next request's.
    ///
    /// # Errors
    /// For what is no such body, and for one that is too large: as soon as its length is read.
    pub fn read(&mut self, piece: &[u8], body: &mut Vec<u8>) -> Result<usize, Wrong> {
        let mut at = 0;
        while at < piece.len() {
            match self.state {
                State::Done => break,
                State::Data(missing) => {
                    let end = piece.len().min(at.saturating_add(missing));
                    body.extend_from_slice(&piece[at..end]);
                    let missing = missing - (end - at);
                    at = end;
                    self.state = if missing == 0 { State::After } else { State::Data(missing) };
                }
                State::Length | State::After | State::Trailers => {
                    self.line.push(piece[at]);
                    at += 1;
                    if self.line.ends_with(b"\r\n") {
                        self.end_of_line()?;
                    } else if self.line.len() > LONGEST_LINE || self.line.contains(&b'\n') {
                        return Err(Wrong::Malformed);
                    }
                }
            }
        }
        Ok(at)
    }

    /// Whether all of it was read.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn end_of_line(&mut self) -> Result<(), Wrong> {
        let line = std::mem::take(&mut self.line);
        let line = &line[..line.len() - 2];
        self.state = match self.state {
            State::Length => match length(line)? {
                0 => State::Trailers,
                length => {
                    self.left = self.left.checked_sub(length).ok_or(Wrong::TooLarge)?;
                    State::Data(length)
                }
            },
            State::After if line.is_empty() => State::Length,
            State::Trailers if line.is_empty() => State::Done,
            State::Trailers => State::Trailers,
            _ => return Err(Wrong::Malformed),
        };
        Ok(())
    }
}

/// Hexadecimal digits and nothing else, before a semicolon or the end.
fn length(line: &[u8]) -> Result<usize, Wrong> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Wrong::Malformed);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Wrong::Malformed)?;
    usize::from_str_radix(text, 16).map_err(|_| Wrong::TooLarge)
}
// ANCHOR_END: chunked

fn main() -> io::Result<ExitCode> {
    let (mut text, mut body) = (Vec::new(), Vec::new());
    io::stdin().read_to_end(&mut text)?;
    let mut chunked = Chunked::new(1 << 20);
    let read = chunked.read(&text, &mut body);
    io::stdout().write_all(&body)?;
    Ok(match read {
        Ok(_) if chunked.is_done() => ExitCode::SUCCESS,
        other => {
            eprintln!("chunked: {other:?}");
            ExitCode::FAILURE
        }
    })
}

//! Detach keys: a sequence that a person types at a container's terminal to leave it running.
//!
//! Docker writes it as `ctrl-p,ctrl-q`: keys by commas, each a character or `ctrl-` and one of
//! `a` to `z`, `@`, `[`, `\`, `]`, `^`, `_`.

use crate::error::{Error, Result};

/// Docker's default: control-p, control-q.
pub const DEFAULT: [u8; 2] = [16, 17];

/// Reads a sequence of keys.
///
/// # Errors
/// [`Error::Invalid`] with the key.
pub fn parse(text: &str) -> Result<Vec<u8>> {
    text.split(',').map(key).collect()
}

fn key(text: &str) -> Result<u8> {
    let invalid = || {
        let why = "is no key: a character, or ctrl- and one of a to z, @, [, \\, ], ^, _";
        Error::invalid(format!("detach keys: `{text}`"), why)
    };
    match (text.strip_prefix("ctrl-").map(str::as_bytes), text.as_bytes()) {
        (Some([letter @ b'a'..=b'z']), _) => Ok(letter - b'a' + 1),
        (Some(b"@"), _) => Ok(0),
        (Some([sign @ b'['..=b'_']), _) => Ok(sign - b'[' + 27),
        (None, [byte]) => Ok(*byte),
        _ => Err(invalid()),
    }
}

/// Looks for the sequence in what is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanner {
    keys: Vec<u8>,
    matched: usize,
}

/// What a piece of input comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scanned {
    /// All of this is for the container.
    Input(Vec<u8>),
    /// This is for the container, and then the client leaves.
    Detach(Vec<u8>),
}

impl Scanner {
    /// Looks for `keys`; an empty sequence is never found.
    pub fn new(keys: Vec<u8>) -> Scanner {
        Scanner { keys, matched: 0 }
    }

    // ANCHOR: scan
    /// Takes in what was typed. Keys of a sequence that has only begun are held back, and given on
    /// when it goes on otherwise.
    pub fn scan(&mut self, typed: &[u8]) -> Scanned {
        let mut input = Vec::with_capacity(typed.len());
        for &byte in typed {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return Scanned::Detach(input);
                }
                continue;
            }
            input.extend(self.keys.iter().take(self.matched));
            // What does not go on the sequence may begin it.
            self.matched = usize::from(self.keys.first() == Some(&byte));
            if self.matched == 0 || self.keys.len() == 1 {
                input.push(byte);
            }
        }
        Scanned::Input(input)
    }
    // ANCHOR_END: scan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_docker_writes_them() {
        assert_eq!(parse("ctrl-p,ctrl-q").unwrap(), DEFAULT);
        assert_eq!(parse("a,ctrl-@,ctrl-[,ctrl-_").unwrap(), [b'a', 0, 27, 31]);
        for bad in ["", "ctrl-", "ctrl-A", "ab", "a,,b", "ctrl-ä"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_sequence_is_found_across_pieces_and_false_starts_are_given_on() {
        let mut scanner = Scanner::new(DEFAULT.to_vec());
        assert_eq!(scanner.scan(b"ls\x10"), Scanned::Input(b"ls".to_vec()));
        assert_eq!(scanner.scan(b"x"), Scanned::Input(b"\x10x".to_vec()));
        assert_eq!(scanner.scan(b"a\x10\x10"), Scanned::Input(b"a\x10".to_vec()));
        assert_eq!(scanner.scan(b"\x11rest"), Scanned::Detach(Vec::new()));
        assert_eq!(scanner.scan(b"\x11"), Scanned::Input(b"\x11".to_vec()));
    }

    #[test]
    fn a_sequence_may_be_one_key_or_none() {
        assert_eq!(Scanner::new(Vec::new()).scan(b"abc"), Scanned::Input(b"abc".to_vec()));
        assert_eq!(Scanner::new(vec![b'q']).scan(b"abq"), Scanned::Detach(b"ab".to_vec()));
    }
}

//! Digests: the names of content.
//!
//! A digest such as `sha256:9f86d0…` names bytes by their hash (OCI image-spec, descriptor.md,
//! "Digests"). What a registry sends is believed only after its hash was computed here; so every
//! byte that enters the store goes through [`VerifyingReader`], which also counts them: a body that
//! never ends is cut off one byte after the size that its descriptor promised.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use sha2::Digest as _;

use crate::error::{Error, Result};

/// The hash functions that OCI registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, which everybody uses.
    Sha256,
    /// SHA-512, which the specification allows beside it.
    Sha512,
}

impl Algorithm {
    /// The name before the colon, and the directory below `blobs/`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// The number of hexadecimal digits.
    pub fn hex_len(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }

    /// A hasher without input yet.
    pub fn hasher(self) -> Hasher {
        match self {
            Algorithm::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(sha2::Sha512::new()),
        }
    }
}

/// A checked digest: a registered algorithm, a colon, and the right number of lower-case
/// hexadecimal digits. So it can be used as a file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Digest {
        let mut hasher = Algorithm::Sha256.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digits after the colon.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve digits, as `docker images` shows an id.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Digest> {
        let bad = |why: String| Error::invalid("digest", text, why);
        let (name, hex) = text
            .split_once(':')
            .ok_or_else(|| bad("expected ALGORITHM:HEX, such as sha256:9f86d0…".to_owned()))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            other => return Err(bad(format!("algorithm {other:?} is neither sha256 nor sha512"))),
        };
        let want = algorithm.hex_len();
        if hex.len() != want {
            return Err(bad(format!("{name} has {want} hexadecimal digits, not {}", hex.len())));
        }
        if !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(bad("the digits must be 0-9 and a-f, in lower case".to_owned()));
        }
        Ok(Digest { algorithm, hex: hex.into() })
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Digest> {
        text.parse()
    }
}

/// A running hash.
#[derive(Debug, Clone)]
pub enum Hasher {
    /// SHA-256.
    Sha256(sha2::Sha256),
    /// SHA-512.
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of everything that was added.
    pub fn finish(self) -> Digest {
        match self {
            Hasher::Sha256(h) => {
                Digest { algorithm: Algorithm::Sha256, hex: hex(&h.finalize()).into() }
            }
            Hasher::Sha512(h) => {
                Digest { algorithm: Algorithm::Sha512, hex: hex(&h.finalize()).into() }
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Passes bytes on from a reader and, at its end, checks that they were the expected number and
/// have the expected digest.
///
/// The end is reported (`Ok(0)`) only after both checks; before that come errors that wrap
/// [`Error::WrongSize`] or [`Error::WrongDigest`]. At most one byte more than the expected size is
/// ever read.
#[derive(Debug)]
pub struct VerifyingReader<R> {
    inner: R,
    what: String,
    expected: Digest,
    size: u64,
    seen: u64,
    /// Taken when the end was reached and checked.
    hasher: Option<Hasher>,
}

impl<R: Read> VerifyingReader<R> {
    /// `what` names the content in errors.
    pub fn new(inner: R, what: impl Into<String>, expected: &Digest, size: u64) -> Self {
        let hasher = Some(expected.algorithm().hasher());
        Self { inner, what: what.into(), expected: expected.clone(), size, seen: 0, hasher }
    }

    /// The same where the first `seen` bytes were read elsewhere, and `hasher` has seen them.
    pub fn resumed(
        inner: R,
        what: impl Into<String>,
        expected: &Digest,
        size: u64,
        hasher: Hasher,
        seen: u64,
    ) -> Self {
        let (what, expected) = (what.into(), expected.clone());
        Self { inner, what, expected, size, seen, hasher: Some(hasher) }
    }

    fn wrong_size(&self, got: String) -> io::Error {
        Error::WrongSize { what: self.what.clone(), expected: self.size, got }.into()
    }

    fn check_end(&mut self) -> io::Result<usize> {
        if self.seen < self.size {
            return Err(self.wrong_size(format!("ended after {} bytes", self.seen)));
        }
        let Some(hasher) = self.hasher.take() else { return Ok(0) };
        let got = hasher.finish();
        if got == self.expected {
            return Ok(0);
        }
        let (what, expected) = (self.what.clone(), self.expected.clone());
        Err(Error::WrongDigest { what, expected, got }.into())
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.hasher.is_none() {
            return Ok(0);
        }
        let n = self.inner.read(buffer)?;
        if n == 0 {
            return self.check_end();
        }
        self.seen += n as u64;
        if self.seen > self.size {
            return Err(self.wrong_size(format!("more than {} bytes", self.size)));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..n]);
        }
        Ok(n)
    }
}

/// Passes bytes on to a writer, hashing and counting them.
#[derive(Debug)]
pub struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
    written: u64,
}

impl<W: Write> HashingWriter<W> {
    /// A writer that computes a SHA-256 digest of what passes.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Algorithm::Sha256.hasher(), written: 0 }
    }

    /// The writer, the digest of everything written, and its size.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.written)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(Digest::sha256(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::sha256(b""));
    }

    #[test]
    fn what_could_be_a_path_or_another_spelling_is_refused() {
        for bad in [
            "sha256",
            "sha256:",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:../../../../../../../../../../../../../../../../../../../../etc/passwd",
            &EMPTY.to_uppercase(),
            &EMPTY.replace("e3b0", "E3B0"),
            &EMPTY[..70],
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    fn verify(bytes: &[u8], digest: &Digest, size: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        VerifyingReader::new(bytes, "x", digest, size).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn verifying_reader_takes_exactly_the_promised_bytes() {
        let digest = Digest::sha256(b"rust");
        assert_eq!(verify(b"rust", &digest, 4).unwrap(), b"rust");
        let text = |r: io::Result<_>| r.unwrap_err().to_string();
        assert!(text(verify(b"dust", &digest, 4)).contains("the content's digest is"));
        assert!(text(verify(b"rus", &digest, 4)).contains("ended after 3 bytes"));
        assert!(text(verify(b"rusty", &digest, 4)).contains("more than 4 bytes"));
    }

    #[test]
    fn an_endless_body_is_cut_off_at_the_promised_size() {
        let mut reader = VerifyingReader::new(io::repeat(b'x'), "x", &Digest::sha256(b""), 10);
        let mut buffer = [0; 4];
        let mut read = 0;
        while let Ok(n) = reader.read(&mut buffer) {
            read += n;
        }
        assert_eq!(read, 8);
    }
}

//! Writing a tar archive whose bytes depend on its content alone.
//!
//! Headers are ustar's; what has no room in them goes to a PAX header in front, its records sorted.
//! Names of users, access times and the like are left out, because they differ between machines.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Kind, Segment, Time, padding};
use crate::digest::DiffId;
use crate::node::Attributes;

/// The largest numbers that fit a header's octal fields.
const MAX_ID: u32 = 0o7777777;
const MAX_SIZE: u64 = 0o77777777777;
const MAX_TIME: i64 = 0o77777777777;

type Records = Vec<(String, Vec<u8>)>;

/// Counts and hashes what goes by.
struct Hashed<W> {
    to: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.to.write(bytes)?;
        self.hash.update(&bytes[..length]);
        self.bytes += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// An archive that is being written.
pub(crate) struct Writer<W: Write> {
    tar: tar::Builder<Hashed<W>>,
    entries: u64,
}

/// The content of a file that is being written.
pub(crate) struct Content<'a, W: Write> {
    to: &'a mut Hashed<W>,
    left: u64,
    padding: u64,
}

impl<W: Write> Content<'_, W> {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::other("a file has become longer while it was packed"))?;
        self.to.write_all(bytes)
    }

    pub(crate) fn end(self) -> io::Result<()> {
        debug_assert_eq!(self.left, 0);
        self.to.write_all(&[0; 512][..self.padding as usize])
    }
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(to: W) -> Writer<W> {
        let to = Hashed { to, hash: Sha256::new(), bytes: 0 };
        Writer { tar: tar::Builder::new(to), entries: 0 }
    }

    /// An entry without content.
    pub(crate) fn entry(
        &mut self,
        path: &Path,
        kind: &Kind,
        attributes: &Attributes,
    ) -> io::Result<()> {
        let mut name = path.as_os_str().as_bytes().to_vec();
        let (typeflag, link, device) = match kind {
            Kind::Directory => {
                if name.is_empty() {
                    name.push(b'.');
                }
                if name != b"/" {
                    name.push(b'/');
                }
                (b'5', OsStr::new(""), None)
            }
            Kind::File { .. } => (b'0', OsStr::new(""), None),
            Kind::Symlink(target) => (b'2', target.as_os_str(), None),
            Kind::HardLink(target) => (b'1', target.as_path().as_os_str(), None),
            Kind::Char(device) => (b'3', OsStr::new(""), Some(device)),
            Kind::Block(device) => (b'4', OsStr::new(""), Some(device)),
            Kind::Fifo => (b'6', OsStr::new(""), None),
            Kind::Socket => return Err(io::Error::other("a layer cannot hold a socket")),
        };
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(typeflag));
        let mut records = Records::new();
        long(&mut records, "linkpath", link.as_bytes());
        if let Some(fields) = header.as_ustar_mut() {
            fill(&mut fields.linkname, link.as_bytes());
        }
        if let Some(device) = device {
            header.set_device_major(device.major)?;
            header.set_device_minor(device.minor)?;
        }
        // What a link is, its first name says.
        let xattrs = !matches!(kind, Kind::HardLink(_));
        self.header(header, &name, 0, attributes, xattrs, records)
    }

    /// A mark: an empty file whose name is all it says.
    pub(crate) fn mark(&mut self, path: &Path) -> io::Result<()> {
        let attributes =
            Attributes { uid: 0, gid: 0, mode: 0o644, mtime: Time::default(), xattrs: Vec::new() };
        self.entry(path, &Kind::File { size: 0 }, &attributes)
    }

    /// A file of `size` bytes, of which the pieces `map` hold data. With holes between them, in
    /// GNU's sparse format 1.0, which Go's and Python's readers know too.
    pub(crate) fn file(
        &mut self,
        path: &Path,
        size: u64,
        map: &[Segment],
        attributes: &Attributes,
    ) -> io::Result<Content<'_, W>> {
        let data: u64 = map.iter().map(|segment| segment.length).sum();
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        let name = path.as_os_str().as_bytes();
        let mut records = Records::new();
        if data == size {
            self.header(header, name, size, attributes, true, records)?;
            let padding = padding(size);
            return Ok(Content { to: self.tar.get_mut(), left: data, padding });
        }
        let mut text = format!("{}\n", map.len());
        for segment in map {
            text.push_str(&format!("{}\n{}\n", segment.offset, segment.length));
        }
        text.extend(std::iter::repeat_n('\0', padding(text.len() as u64) as usize));
        for (key, value) in
            [("major", "1".into()), ("minor", "0".into()), ("realsize", size.to_string())]
        {
            records.push((format!("GNU.sparse.{key}"), value.into_bytes()));
        }
        records.push(("GNU.sparse.name".into(), name.to_vec()));
        let stored = text.len() as u64 + data;
        // The name that a reader without an idea of all this would give the file.
        let place = path.parent().unwrap_or(Path::new("")).join("GNUSparseFile.0");
        let place = place.join(path.file_name().unwrap_or_default());
        self.header(header, place.as_os_str().as_bytes(), stored, attributes, true, records)?;
        let to = self.tar.get_mut();
        to.write_all(text.as_bytes())?;
        Ok(Content { to, left: data, padding: padding(stored) })
    }

    fn header(
        &mut self,
        mut header: tar::Header,
        name: &[u8],
        size: u64,
        attributes: &Attributes,
        xattrs: bool,
        mut records: Records,
    ) -> io::Result<()> {
        long(&mut records, "path", name);
        for (key, id) in [("uid", attributes.uid), ("gid", attributes.gid)] {
            if id > MAX_ID {
                records.push((key.into(), id.to_string().into_bytes()));
            }
        }
        if size > MAX_SIZE {
            records.push(("size".into(), size.to_string().into_bytes()));
        }
        let time = attributes.mtime;
        if time.nanoseconds != 0 || !(0..=MAX_TIME).contains(&time.seconds) {
            records.push(("mtime".into(), decimal(time).into_bytes()));
        }
        for (name, value) in attributes.xattrs.iter().filter(|_| xattrs) {
            // A name that is no UTF-8 has no record's key; the kernel makes none.
            let name = name.to_string_lossy();
            records.push((format!("SCHILY.xattr.{name}"), value.clone()));
        }
        records.sort_unstable();
        if !records.is_empty() {
            self.pax(name, &records)?;
        }
        if let Some(fields) = header.as_ustar_mut() {
            fill(&mut fields.name, name);
        }
        header.set_mode(attributes.mode);
        header.set_uid(attributes.uid.min(MAX_ID).into());
        header.set_gid(attributes.gid.min(MAX_ID).into());
        header.set_mtime(time.seconds.clamp(0, MAX_TIME).unsigned_abs());
        header.set_size(if size > MAX_SIZE { 0 } else { size });
        header.set_cksum();
        self.entries += 1;
        self.tar.get_mut().write_all(header.as_bytes())
    }

    /// A PAX header. It has a name, as Go's writer gives it one: busybox takes a header without for the
    /// archive's end.
    fn pax(&mut self, of: &[u8], records: &Records) -> io::Result<()> {
        let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        let base = of.split(|byte| *byte == b'/').rfind(|part| !part.is_empty()).unwrap_or(b".");
        let name = [b"PaxHeaders.0/".as_slice(), base].concat();
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        if let Some(fields) = header.as_ustar_mut() {
            fill(&mut fields.name, &name);
        }
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(body.len() as u64);
        header.set_cksum();
        let to = self.tar.get_mut();
        to.write_all(header.as_bytes())?;
        to.write_all(&body)?;
        to.write_all(&[0; 512][..padding(body.len() as u64) as usize])
    }

    /// Ends the archive: its destination, the hash, the entries and the bytes.
    pub(crate) fn finish(self) -> io::Result<(W, DiffId, u64, u64)> {
        let entries = self.entries;
        let mut hashed = self.tar.into_inner()?;
        hashed.flush()?;
        Ok((hashed.to, DiffId::from_bytes(hashed.hash.finalize().into()), entries, hashed.bytes))
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + " =\n".len();
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn long(records: &mut Records, key: &str, value: &[u8]) {
    if value.len() > 100 {
        records.push((key.into(), value.to_vec()));
    }
}

fn fill(field: &mut [u8], bytes: &[u8]) {
    let length = field.len().min(bytes.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// A time as PAX writes it: seconds with a fraction, the sign in front of both.
fn decimal(time: Time) -> String {
    let (mut whole, mut nanoseconds) = (time.seconds, time.nanoseconds);
    let mut sign = "";
    if whole < 0 {
        sign = "-";
        if nanoseconds > 0 {
            whole += 1;
            nanoseconds = 1_000_000_000 - nanoseconds;
        }
    }
    let text = format!("{sign}{}.{nanoseconds:09}", whole.unsigned_abs());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        assert_eq!(record("path", b"x"), b"9 path=x\n");
        assert_eq!(record("a", &[b'b'; 93]).len(), 99);
        let longer = record("a", &[b'b'; 94]);
        assert!(longer.starts_with(b"101 a=b") && longer.len() == 101);
    }

    #[test]
    fn times_before_1970_have_their_sign_in_front() {
        let of = |seconds, nanoseconds| decimal(Time { seconds, nanoseconds });
        assert_eq!(of(1, 500_000_000), "1.5");
        assert_eq!(of(-12346, 500_000_000), "-12345.5");
        assert_eq!(of(-1, 999_999_999), "-0.000000001");
        assert_eq!(of(-7, 0), "-7");
        assert_eq!(of(1 << 40, 0), "1099511627776");
    }
}

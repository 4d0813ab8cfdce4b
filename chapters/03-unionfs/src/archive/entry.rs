//! An entry of a layer, checked: what to make, and with which attributes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::header::Fields;
use super::pax::{self, Record};
use crate::apply::Limits;
use crate::error::{Error, Result};
use crate::path::{EntryPath, show};
use crate::whiteout::is_own_xattr;

/// The kernel keeps twelve bits of a device's major number and twenty of its minor one.
const MAX_MAJOR: u64 = 0xfff;
const MAX_MINOR: u64 = 0xf_ffff;
/// Symbolic links hold less than a page (`PATH_MAX`, NUL included).
const MAX_SYMLINK: usize = 4095;

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Since 1970, also negative.
    pub seconds: i64,
    /// 0 to 999 999 999, always forward from `seconds`.
    pub nanoseconds: u32,
}

/// The number of a device, in the kernel's range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// The driver.
    pub major: u32,
    /// The device of that driver.
    pub minor: u32,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its bytes, holes included.
        size: u64,
    },
    /// A symbolic link; the target is any string.
    Symlink(OsString),
    /// One more name for an earlier entry.
    HardLink(EntryPath),
    /// A character device.
    Char(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Fifo,
    /// A Unix socket: never in an archive, only on disk.
    Socket,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the layer.
    pub path: EntryPath,
    /// What it is.
    pub kind: Kind,
    /// The twelve permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When its content changed.
    pub mtime: Time,
    /// Extended attributes, in the archive's order.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
    /// Content that belongs to nothing: an old form of directory may have some.
    pub(super) skip: u64,
}

/// Whether a record is there and says something: an empty value takes an earlier one back.
pub(super) fn has(records: &[Record], key: &[u8]) -> bool {
    value(records, key).is_some()
}

fn value<'a>(records: &'a [Record], key: &[u8]) -> Option<&'a [u8]> {
    let last = records.iter().rev().find(|(found, _)| found == key)?;
    (!last.1.is_empty()).then_some(&last.1)
}

/// Folds the extended header into the fields and checks the whole.
pub(super) fn build(
    fields: Fields,
    records: &[Record],
    limits: &Limits,
    absolute: bool,
) -> Result<Entry> {
    // GNU's sparse files have a made-up name in the header and in `path`.
    let name = value(records, b"GNU.sparse.name").or(value(records, b"path"));
    let name = name.unwrap_or(&fields.path);
    let refused = |why: String| Error::Refused { entry: show(name), why };
    let path = if absolute { EntryPath::of_any } else { EntryPath::of_entry };
    let path = path(name, limits.max_path).map_err(refused)?;
    let trailing_slash = name.ends_with(b"/");

    let number = |key: &str, otherwise: u64| match value(records, key.as_bytes()) {
        None => Ok(otherwise),
        Some(text) => pax::number(text).ok_or_else(|| refused(format!("its {key} is no number"))),
    };
    let size = number("size", fields.size)?;
    if i64::try_from(size).is_err() {
        return Err(refused("its size is out of the kernel's range".into()));
    }
    let mtime = match value(records, b"mtime") {
        None => fields.mtime,
        Some(text) => pax::time(text).ok_or_else(|| refused("its mtime is no time".into()))?,
    };
    let link = value(records, b"linkpath").unwrap_or(&fields.link);
    let is_file = matches!(fields.typeflag, 0 | b'0' | b'7' | b'S');
    let kind = if is_file && trailing_slash {
        Kind::Directory
    } else {
        kind(&fields, link, size, limits).map_err(refused)?
    };
    if path.is_root() && kind != Kind::Directory {
        return Err(refused("the layer's root can only be a directory".into()));
    }
    Ok(Entry {
        skip: if is_file && trailing_slash { size } else { 0 },
        path,
        kind,
        mode: (fields.mode & 0o7777) as u32,
        uid: owner(number("uid", fields.uid)?).map_err(refused)?,
        gid: owner(number("gid", fields.gid)?).map_err(refused)?,
        mtime,
        xattrs: xattrs(records).map_err(refused)?,
    })
}

/// The size of everything but files is taken as 0, whatever the header says, as Go's archive/tar
/// does: two readers must not disagree about where the next header is.
fn kind(fields: &Fields, link: &[u8], size: u64, limits: &Limits) -> Result<Kind, String> {
    Ok(match fields.typeflag {
        0 | b'0' | b'7' | b'S' => Kind::File { size },
        b'1' => Kind::HardLink(EntryPath::of_link(link, limits.max_path)?),
        b'2' => match link.len() {
            0 => return Err("a symbolic link to nothing".into()),
            1..=MAX_SYMLINK if !link.contains(&0) => {
                Kind::Symlink(OsString::from_vec(link.to_vec()))
            }
            _ => return Err("the target of the symbolic link is too long or has a NUL".into()),
        },
        b'3' => Kind::Char(device(fields.device)?),
        b'4' => Kind::Block(device(fields.device)?),
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => return Err(format!("entries of type {:?} are not known", char::from(other))),
    })
}

fn device((major, minor): (u64, u64)) -> Result<Device, String> {
    if major > MAX_MAJOR || minor > MAX_MINOR {
        return Err(format!(
            "device {major}:{minor} is out of the kernel's range (4095:1048575 at most)"
        ));
    }
    Ok(Device { major: major as u32, minor: minor as u32 })
}

/// The highest number means "leave it" to chown(2), so it is nobody's.
fn owner(id: u64) -> Result<u32, String> {
    u32::try_from(id)
        .ok()
        .filter(|&id| id != u32::MAX)
        .ok_or_else(|| format!("owner {id} is out of the kernel's range"))
}

/// Xattrs that mean something only where the image was made: the labels that the kernel put there.
const LEFT_OUT: [&[u8]; 2] = [b"security.selinux", b"system.nfs4_acl"];

fn xattrs(records: &[Record]) -> Result<Vec<(OsString, Vec<u8>)>, String> {
    let mut xattrs = Vec::new();
    for (key, value) in records {
        let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else { continue };
        let left_out = LEFT_OUT.iter().any(|prefix| name.starts_with(prefix));
        if left_out || is_own_xattr(name) {
            continue;
        }
        if name.is_empty() || name.len() > 255 || name.contains(&0) {
            return Err(format!("{} is no name of an xattr", show(name)));
        }
        xattrs.push((OsString::from_vec(name.to_vec()), value.clone()));
    }
    Ok(xattrs)
}

//! The image `busybox`, made on the spot from Debian's busybox-static.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tar::{Builder, EntryType, Header};

use crate::error::{Error, OnPath, Result};
use crate::setup::{self, Purpose, apt};
use crate::{process, say, workspace};

/// The PATH of the image.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The directories of the image beside those of the applets, with their modes.
const DIRECTORIES: [(&str, u32); 15] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var", 0o755),
];

const FILES: [(&str, &str); 2] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
];

/// A statically linked busybox of this machine; it is installed where there is none, or only
/// downloaded where that cannot be done without a password.
///
/// # Errors
/// Where it can neither be installed nor downloaded.
pub fn busybox() -> Result<PathBuf> {
    let unpacked = workspace::scratch("busybox-static")?;
    let find = || {
        [Path::new("/"), &unpacked]
            .iter()
            .flat_map(|base| ["bin/busybox", "usr/bin/busybox"].map(|path| base.join(path)))
            .find(|path| fs::read(path).is_ok_and(|content| is_static(&content)))
    };
    if let Some(path) = find() {
        return Ok(path);
    }
    if apt::present() && apt::Privilege::here() == apt::Privilege::None {
        say!("downloading busybox-static to target/ (installing it would need root)");
        apt::unpack("busybox-static", &unpacked)?;
    } else {
        setup::ensure(&[Purpose::Run])?;
    }
    find().ok_or_else(|| {
        Error::failed("no statically linked busybox is in /bin or /usr/bin: install busybox-static")
    })
}

/// Whether an ELF file names no dynamic linker (PT_INTERP, elf(5)).
fn is_static(content: &[u8]) -> bool {
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = content.get(at..at.checked_add(size)?)?;
        bytes
            .iter()
            .rev()
            .try_fold(0usize, |sum, byte| sum.checked_mul(256).map(|sum| sum + usize::from(*byte)))
    };
    // 64 bits, least significant byte first: every machine that Debian's cloud kernels run on.
    if !content.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let (Some(start), Some(size), Some(count)) =
        (number(0x20, 8), number(0x36, 2), number(0x38, 2))
    else {
        return false;
    };
    const PT_INTERP: usize = 3;
    (0..count).all(|i| number(start.saturating_add(i * size), 4).is_some_and(|t| t != PT_INTERP))
}

/// The layer of the image as an uncompressed tar archive: the same bytes for the same busybox.
///
/// # Errors
/// Where busybox cannot be read or does not list its applets.
pub fn layer(busybox: &Path) -> Result<Vec<u8>> {
    let program = fs::read(busybox).on("read", busybox)?;
    let applets = process::read(Command::new(busybox).arg("--list-full"))?;
    archive(&program, &applets).on("archive", busybox)
}

fn archive(program: &[u8], applets: &str) -> std::io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (path, mode) in DIRECTORIES {
        let mut header = header(EntryType::Directory, mode);
        tar.append_data(&mut header, format!("{path}/"), std::io::empty())?;
    }
    for (path, content) in FILES {
        let mut header = header(EntryType::Regular, 0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_bytes())?;
    }
    let mut file = header(EntryType::Regular, 0o755);
    file.set_size(program.len() as u64);
    tar.append_data(&mut file, "bin/busybox", program)?;
    let mut links: Vec<&str> = applets.lines().map(|line| line.trim_matches('/')).collect();
    links.sort_unstable();
    links.dedup();
    for link in links {
        let in_place = ["bin/", "sbin/", "usr/bin/", "usr/sbin/"]
            .iter()
            .any(|dir| link.strip_prefix(dir).is_some_and(|name| !name.contains('/')));
        if in_place && link != "bin/busybox" {
            tar.append_link(&mut header(EntryType::Symlink, 0o777), link, "/bin/busybox")?;
        }
    }
    tar.into_inner()
}

/// Owned by root and without a date, so that the archive depends on its content only.
fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

/// Unpacks the layer as the caller, for a container without root or a measurement, and gives the
/// directory. What is there already from the same bytes is kept.
///
/// # Errors
/// Where it cannot be written.
pub fn unpacked(layer: &[u8]) -> Result<PathBuf> {
    let base = workspace::scratch("busybox-rootfs")?;
    let (root, stamp) = (base.join("root"), base.join("layer.tar"));
    if fs::read(&stamp).is_ok_and(|old| old == layer) && root.is_dir() {
        return Ok(root);
    }
    if root.exists() {
        fs::remove_dir_all(&root).on("remove", &root)?;
    }
    let mut archive = tar::Archive::new(layer);
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(false);
    archive.unpack(&root).on("unpack to", &root)?;
    fs::write(&stamp, layer).on("write", &stamp)?;
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_is_the_same_every_time_and_holds_the_applets() {
        let applets = "usr/bin/awk\nbin/sh\nbin/sh\nlinuxrc\nbin/busybox\nbin/../../evil\n";
        let first = archive(b"ELF", applets).unwrap();
        assert_eq!(first, archive(b"ELF", applets).unwrap());
        let mut archive = tar::Archive::new(first.as_slice());
        let mut paths = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            paths.push(entry.path().unwrap().display().to_string());
        }
        assert_eq!(paths.iter().filter(|path| *path == "bin/sh").count(), 1);
        assert!(paths.contains(&"usr/bin/awk".to_owned()));
        assert!(!paths.iter().any(|path| path.contains("linuxrc") || path.contains("evil")));
    }

    #[test]
    fn a_test_binary_is_not_static_and_text_is_no_program() {
        let own = fs::read("/proc/self/exe").unwrap();
        assert_eq!(is_static(&own), cfg!(target_feature = "crt-static"));
        assert!(!is_static(b"#!/bin/sh\n"));
    }
}

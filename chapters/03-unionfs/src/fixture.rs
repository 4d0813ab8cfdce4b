//! Images to test with: layers written entry by entry, honest and hostile, and OCI layouts of them.
//!
//! Behind the feature `fixtures`, because tests of other crates and of the whole engine use it too.
//! It panics where it fails: it is only ever called by tests.
#![allow(missing_docs, clippy::unwrap_used, reason = "a language for tests, read at its uses")]

pub mod tree;

use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::Compression;

/// A layer that is being written.
pub struct LayerBuilder {
    tar: tar::Builder<Vec<u8>>,
    uid: u64,
    gid: u64,
    mtime: String,
    records: Vec<(String, Vec<u8>)>,
}

impl Default for LayerBuilder {
    fn default() -> Self {
        LayerBuilder::new()
    }
}

impl LayerBuilder {
    pub fn new() -> Self {
        let tar = tar::Builder::new(Vec::new());
        LayerBuilder { tar, uid: 0, gid: 0, mtime: "1700000000".into(), records: Vec::new() }
    }

    /// The owner of the next entries.
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// The time of the next entries, with a fraction.
    pub fn mtime(mut self, mtime: &str) -> Self {
        self.mtime = mtime.into();
        self
    }

    /// A record of the next entry's extended header.
    pub fn record(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.records.push((key.into(), value.as_ref().to_vec()));
        self
    }

    /// An xattr of the next entry.
    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.record(&format!("SCHILY.xattr.{name}"), value)
    }

    pub fn dir(self, path: impl AsRef<[u8]>, mode: u32) -> Self {
        let mut path = path.as_ref().to_vec();
        path.push(b'/');
        self.entry(b'5', path, b"", mode, (0, 0), b"")
    }

    pub fn file(self, path: impl AsRef<[u8]>, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(b'0', path, b"", mode, (0, 0), content.as_ref())
    }

    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(b'2', path, target.as_ref(), 0o777, (0, 0), b"")
    }

    pub fn hard_link(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(b'1', path, target.as_ref(), 0o644, (0, 0), b"")
    }

    /// The machine's busybox as `bin/busybox`, and these of its applets beside it.
    pub fn busybox(self, applets: &str) -> Self {
        let busybox = std::fs::read("/bin/busybox").expect("busybox (package busybox-static)");
        let layer = self.dir("bin", 0o755).file("bin/busybox", 0o755, busybox);
        let link = |layer: Self, applet: &str| layer.symlink(format!("bin/{applet}"), "busybox");
        applets.split_whitespace().fold(layer, link)
    }

    pub fn char_device(self, path: impl AsRef<[u8]>, mode: u32, device: (u32, u32)) -> Self {
        self.entry(b'3', path, b"", mode, device, b"")
    }

    pub fn block_device(self, path: impl AsRef<[u8]>, mode: u32, device: (u32, u32)) -> Self {
        self.entry(b'4', path, b"", mode, device, b"")
    }

    pub fn fifo(self, path: impl AsRef<[u8]>, mode: u32) -> Self {
        self.entry(b'6', path, b"", mode, (0, 0), b"")
    }

    /// A whiteout: `dir/.wh.name`, or `dir/.wh..wh..opq`.
    pub fn whiteout(self, path: impl AsRef<[u8]>) -> Self {
        self.file(path, 0o644, b"")
    }

    /// Any entry, written as it stands. What has no room in a header goes to an extended one.
    pub fn entry(
        mut self,
        typeflag: u8,
        path: impl AsRef<[u8]>,
        link: &[u8],
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> Self {
        let path = path.as_ref();
        let mut records = std::mem::take(&mut self.records);
        if path.len() > 100 {
            records.push(("path".into(), path.to_vec()));
        }
        if link.len() > 100 {
            records.push(("linkpath".into(), link.to_vec()));
        }
        if self.mtime.contains('.') || self.mtime.starts_with('-') {
            records.push(("mtime".into(), self.mtime.clone().into_bytes()));
        }
        for (key, id) in [("uid", self.uid), ("gid", self.gid)] {
            if id > 0o7777777 {
                records.push((key.into(), id.to_string().into_bytes()));
            }
        }
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        self.tar.append_pax_extensions(records).unwrap();
        let mut header = tar::Header::new_ustar();
        // Directly, because the crate's own setters refuse what a hostile layer has.
        let fields = header.as_ustar_mut().unwrap();
        copy(&mut fields.name, path);
        copy(&mut fields.linkname, link);
        fields.typeflag = [typeflag];
        header.set_mode(mode);
        header.set_uid(self.uid.min(0o7777777));
        header.set_gid(self.gid.min(0o7777777));
        header.set_mtime(self.mtime.split('.').next().unwrap().parse().unwrap_or(0));
        header.set_size(content.len() as u64);
        header.set_device_major(device.0).unwrap();
        header.set_device_minor(device.1).unwrap();
        header.set_cksum();
        self.tar.append(&header, content).unwrap();
        self
    }

    /// A header as it stands, and its content.
    pub fn raw(mut self, header: &tar::Header, content: &[u8]) -> Self {
        self.tar.append(header, content).unwrap();
        self
    }

    /// The plain stream.
    pub fn build(self) -> Vec<u8> {
        self.tar.into_inner().unwrap()
    }
}

fn copy(field: &mut [u8], bytes: &[u8]) {
    let length = field.len().min(bytes.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// `plain`, compressed.
pub fn compress(plain: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::Detect | Compression::None => plain.to_vec(),
        Compression::Gzip => {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            to.write_all(plain).unwrap();
            to.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(plain, 1).unwrap(),
    }
}

/// The SHA-256 of `bytes`, as an image writes it.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Writes an OCI image layout (image-spec, image-layout.md) with one image, called `tag`, of the
/// `layers` (plain, bottom first), compressed with gzip. `config` becomes the config's `config`.
pub fn oci_layout(dir: &Path, tag: &str, layers: &[Vec<u8>], config: serde_json::Value) {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |media_type: &str, bytes: &[u8]| {
        let digest = digest(bytes);
        std::fs::write(blobs.join(&digest[7..]), bytes).unwrap();
        serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    };
    let mut descriptors = Vec::new();
    for layer in layers {
        let bytes = compress(layer, Compression::Gzip);
        descriptors.push(put("application/vnd.oci.image.layer.v1.tar+gzip", &bytes));
    }
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let diff_ids: Vec<_> = layers.iter().map(|layer| digest(layer)).collect();
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": descriptors,
    });
    let mut descriptor = put(manifest_type, manifest.to_string().as_bytes());
    descriptor["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": tag});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [descriptor]});
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// `security.capability` with `cap_net_raw` permitted and effective (capabilities(7), version 2).
pub const CAP_NET_RAW: &[u8] = b"\x01\x00\x00\x02\x00\x20\x00\x00\0\0\0\0\0\0\0\0\0\0\0\0";

/// A POSIX ACL that adds user 10, whose number is a newline: `user::rw-,user:10:r--,group::r--,
/// mask::r--,other::r--` (acl(5), linux/posix_acl_xattr.h).
pub fn acl_of_user_10() -> Vec<u8> {
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in
        [(1u16, 6u16, u32::MAX), (2, 4, 10), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 4, u32::MAX)]
    {
        acl.extend(tag.to_le_bytes());
        acl.extend(perm.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}

/// The layers, bottom first, of an image that has one of everything.
pub fn image_of_everything() -> Vec<Vec<u8>> {
    let long = "long-name-".repeat(20);
    let deep = "a-directory-name/".repeat(20);
    let mut bottom = LayerBuilder::new().mtime("1600000000.123456789").dir(".", 0o755);
    for (at, _) in deep.match_indices('/') {
        bottom = bottom.dir(&deep[..at], 0o755);
    }
    let bottom = bottom
        .dir("etc", 0o755)
        .file("etc/hosts", 0o644, "127.0.0.1 localhost\n")
        .file("etc/gone", 0o644, "deleted above")
        .file("etc/passwd", 0o644, "root:x:0:0:root:/:/bin/sh\n")
        .dir("tmp", 0o1777)
        .dir("bin", 0o755)
        .file("bin/su", 0o4755, "setuid")
        .file("bin/wall", 0o2755, "setgid")
        .xattr("security.capability", CAP_NET_RAW)
        .file("bin/ping", 0o755, "capable")
        .hard_link("bin/ping6", "bin/ping")
        .symlink("bin/sh", "busybox")
        .hard_link("bin/ash", "./bin/sh")
        .symlink("absolute", "/etc/hosts")
        .symlink("out", "../../../../etc/shadow")
        .owner(1000, 4_000_000_000)
        .mtime("1600000001.000000001")
        .dir("home", 0o750)
        .xattr("user.note", "has = and\nnewline\0nul")
        .file("home/noted", 0o600, "x")
        .xattr("system.posix_acl_access", acl_of_user_10())
        .file("home/shared", 0o644, "acl")
        .owner(0, 0)
        .xattr("trusted.overlay.redirect", "/etc")
        .dir("dropped-xattr", 0o755)
        .dir("dev", 0o755)
        .char_device("dev/null", 0o666, (1, 3))
        .block_device("dev/vda", 0o660, (254, 1_000_000))
        .fifo("dev/initctl", 0o600)
        .file(&long, 0o644, "long")
        .file(format!("{deep}file"), 0o644, "deep")
        .symlink("long-link", &deep)
        .file("grüße-☃", 0o644, "utf-8")
        .file(b"latin-\xe4\xff", 0o644, "not utf-8")
        .file("new\nline", 0o644, "newline")
        .file("empty", 0o644, "")
        .file("big", 0o644, vec![7u8; 700_001])
        .file("dup", 0o644, "first")
        .dir("dup-dir", 0o755)
        .file("dup-dir/inside", 0o644, "x")
        .file("dup", 0o600, "second")
        .file("dup-dir", 0o644, "now a file")
        .dir("opaque", 0o755)
        .file("opaque/below", 0o644, "hidden")
        .dir("opaque/dir", 0o755)
        .file("opaque/dir/below", 0o644, "hidden")
        .dir("replaced", 0o755)
        .file("replaced/below", 0o644, "hidden")
        .dir("file-now", 0o755)
        .file("file-now/below", 0o644, "hidden")
        .dir("merged", 0o711)
        .file("merged/lower", 0o644, "lower")
        .mtime("-12345.5")
        .file("before-1970", 0o644, "old")
        .build();
    let middle = LayerBuilder::new()
        .mtime("1650000000.5")
        // No entry for etc or tmp themselves: they keep what they have.
        .whiteout("etc/.wh.gone")
        .file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\n")
        .file("tmp/new", 0o644, "in an unlisted directory")
        .dir("opaque", 0o700)
        .file("opaque/above", 0o644, "seen")
        .whiteout("opaque/.wh..wh..opq")
        .whiteout(".wh.replaced")
        .dir("replaced", 0o755)
        .file("replaced/above", 0o644, "seen")
        .whiteout(".wh.empty")
        .dir("merged", 0o755)
        .file("merged/upper", 0o644, "upper")
        .file("file-now", 0o644, "was a directory")
        .whiteout(".wh.not-there")
        .build();
    let top = LayerBuilder::new()
        .mtime("1690000000.25")
        .file("etc/gone", 0o640, "back again")
        .dir("opaque", 0o755)
        .file("opaque/top", 0o644, "seen")
        .dir("file-now", 0o755)
        .file("file-now/top", 0o644, "a directory again")
        .whiteout("home/.wh.noted")
        .whiteout(".wh..wh.plnk")
        .build();
    vec![bottom, middle, top]
}

/// The processes of fuse-overlayfs that have something open below `dir`.
pub fn fuse_programs(dir: &Path) -> Vec<PathBuf> {
    let serves = |process: &PathBuf| {
        let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
        name == "fuse-overlayfs\n" && open_files(process).iter().any(|path| path.starts_with(dir))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes.filter(serves).collect()
}

/// What a process, a directory of /proc, has open.
pub fn open_files(process: &Path) -> Vec<PathBuf> {
    let open = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect()
}

//! An image of busybox, made on the spot: an OCI image layout in an archive, with the file that
//! `docker load` looks for beside it.

use std::fs::{self, File};
use std::path::Path;

use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The image's name. Its host is this machine, so nothing ever asks elsewhere for it.
pub const NAME: &str = "localhost/busybox:latest";

/// Writes the archive.
pub fn write(archive: &Path) {
    let layer = layer();
    let diff = digest(&layer);
    let config = json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff}")] },
        "history": [{ "created_by": "corten" }],
    })
    .to_string();
    let oci = |kind: &str| format!("application/vnd.oci.image.{kind}");
    let blob = |kind: &str, data: &[u8]| {
        let digest = format!("sha256:{}", digest(data));
        json!({ "mediaType": oci(kind), "digest": digest, "size": data.len() })
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": oci("manifest.v1+json"),
        "config": blob("config.v1+json", config.as_bytes()),
        "layers": [blob("layer.v1.tar", &layer)],
    })
    .to_string();
    let mut entry = blob("manifest.v1+json", manifest.as_bytes());
    entry["annotations"] = json!({
        "org.opencontainers.image.ref.name": "latest",
        "io.containerd.image.name": NAME,
    });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let path = |data: &[u8]| format!("blobs/sha256/{}", digest(data));
    let docker = json!([{
        "Config": path(config.as_bytes()), "RepoTags": [NAME], "Layers": [path(&layer)],
    }])
    .to_string();
    let mut tar = tar::Builder::new(File::create(archive).unwrap());
    for (name, data) in [
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice()),
        ("index.json".to_owned(), index.as_bytes()),
        ("manifest.json".to_owned(), docker.as_bytes()),
        (path(&layer), &layer),
        (path(config.as_bytes()), config.as_bytes()),
        (path(manifest.as_bytes()), manifest.as_bytes()),
    ] {
        append(&mut tar, &name, 0o644, data);
    }
    tar.finish().unwrap();
}

fn layer() -> Vec<u8> {
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
    let busybox = busybox.expect("the package busybox-static");
    let mut tar = tar::Builder::new(Vec::new());
    for directory in ["bin", "proc", "dev", "sys", "tmp", "etc", "root"] {
        let mut header = header(tar::EntryType::Directory, 0o755);
        tar.append_data(&mut header, directory, std::io::empty()).unwrap();
    }
    append(&mut tar, "bin/busybox", 0o755, &fs::read(busybox).unwrap());
    let listing = std::process::Command::new(busybox).arg("--list").output().unwrap();
    for applet in String::from_utf8(listing.stdout).unwrap().lines().filter(|n| *n != "busybox") {
        let mut header = header(tar::EntryType::Symlink, 0o777);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    append(&mut tar, "etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    append(&mut tar, "etc/group", 0o644, b"root:x:0:\n");
    tar.into_inner().unwrap()
}

fn append<W: std::io::Write>(tar: &mut tar::Builder<W>, name: &str, mode: u32, data: &[u8]) {
    let mut header = header(tar::EntryType::Regular, mode);
    header.set_size(data.len() as u64);
    tar.append_data(&mut header, name, data).unwrap();
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header
}

fn digest(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}
